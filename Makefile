# Everything that a fresh checkout needs: `make run` starts the product, `make test` proves it.
# Nothing is needed but GNU make and a Python >= 3.11 with the venv module.

VENV := .venv
BIN := $(VENV)/bin
# Client libraries for integration/ alone: the product and its tests run without them.
CLIENTS := .venv-integration
# Tools whose pins fit no other environment.
TOOLS := .venv-tools
SUPERSET := .venv-superset
INSTALL := python -m pip --disable-pip-version-check --quiet --no-input
PIP := $(BIN)/$(INSTALL)
# Only wheels, and only those that the lock file has a hash of: no compiler, no surprise.
INSTALL_LOCKED := $(PIP) install --require-hashes --only-binary=:all: -r
INSTALL_PROJECT := $(PIP) install --no-deps --no-build-isolation --no-index --editable .

# PYTHON=/path/to/python chooses another one.
PYTHON ?= python3.13 python3.12 python3.11 python3
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

# More arguments for pytest, serve or the benchmarks: make test ARGS="-k settings -n 2"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run pages ui test simulate soak faults truth integration integration-docker integration-kubernetes integration-long dist lint format bench lock reference clean
.DELETE_ON_ERROR:

help: ## show what make can do
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

run: $(VENV)/run.stamp pages ## install what is missing and start pondflight (Ctrl-C stops it)
	@exec $(BIN)/pondflight serve $(ARGS)

ui: $(VENV)/run.stamp ## build the pages (again), and fail if that fails
	@$(BIN)/python web/build.py

test: $(VENV)/dev.stamp ## install what is missing and run the tests, on all cores
	@$(BIN)/pytest --numprocesses auto --durations 10 $(ARGS)

SEEDS ?= 1000
simulate: $(VENV)/dev.stamp ## run the pool in a simulation of everything that breaks: SEEDS=10000, ARGS=--large
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(ARGS)

MINUTES ?= 10
USERS ?= 30
soak: $(VENV)/dev.stamp $(CLIENTS)/integration.stamp ## let users cycle while things break: MINUTES=10 USERS=30
	@MINUTES=$(MINUTES) USERS=$(USERS) PATH="$(CURDIR)/$(CLIENTS)/bin:$$PATH" $(CLIENTS)/bin/pytest integration/soak -s $(ARGS)

CUTS ?= 112
SIGTERMS ?= 100
faults: $(VENV)/dev.stamp $(CLIENTS)/integration.stamp ## break connections 1,000 times, end the server 100 times: CUTS=112 SIGTERMS=100
	@CUTS=$(CUTS) SIGTERMS=$(SIGTERMS) $(BIN)/pytest tests/faults --timeout 36000 --durations 10 $(ARGS)
	@[ "$$(id -u)" != 0 ] || PATH="$(CURDIR)/$(CLIENTS)/bin:$$PATH" $(CLIENTS)/bin/python -m integration.faults

# One of them: make integration SUITE=integration/http
SUITE ?= integration --ignore integration/docker --ignore integration/kubernetes --ignore integration/long --ignore integration/pods
integration: $(VENV)/dev.stamp $(CLIENTS)/integration.stamp $(TOOLS)/tools.stamp pages ## run the suites that need real servers and clients
	@PATH="$(CURDIR)/$(CLIENTS)/bin:$$PATH" $(CLIENTS)/bin/pytest $(SUITE) $(ARGS)

integration-long: $(VENV)/dev.stamp $(CLIENTS)/integration.stamp $(TOOLS)/tools.stamp $(SUPERSET)/superset.stamp ## run what takes too long for every change: all of dbt's suite, Superset, 2,000 failing loads
	@PATH="$(CURDIR)/$(CLIENTS)/bin:$$PATH" $(CLIENTS)/bin/pytest integration/long $(ARGS)

truth: $(VENV)/dev.stamp $(CLIENTS)/integration.stamp ## ask databases, DuckDB and pondflight the same: ARGS="--statements 5000"
	@PATH="$(CURDIR)/$(CLIENTS)/bin:$$PATH" $(CLIENTS)/bin/python -m integration.truth $(ARGS)

# Beside a Docker engine of our own, which leaves nothing behind; as root. Pods only where Kubernetes has been built.
integration-docker: $(VENV)/dev.stamp $(CLIENTS)/integration.stamp ## run the suites that need a Docker engine
	@PATH="$(CURDIR)/$(CLIENTS)/bin:$$PATH" $(CLIENTS)/bin/python -m integration.docker.engine --install -- \
		$(CLIENTS)/bin/pytest integration/docker integration/pods integration/bundle/test_compose.py \
		integration/bundle/test_migration.py integration/bundle/test_scale.py integration/bundle/test_scenarios.py $(ARGS)

# Beside a Kubernetes control plane of our own, which is built from Go modules when it is first needed.
integration-kubernetes: $(VENV)/dev.stamp $(CLIENTS)/integration.stamp ## run the suites that need a Kubernetes API server
	@PATH="$(CURDIR)/$(CLIENTS)/bin:$$PATH" $(CLIENTS)/bin/python -m integration.kubernetes.build >/dev/null
	@PATH="$(CURDIR)/$(CLIENTS)/bin:$$PATH" $(CLIENTS)/bin/pytest integration/kubernetes $(ARGS)

# The same sources give the same bytes.
dist: $(VENV)/dev.stamp ## build wheel and sdist into dist/, with their SBOM
	@rm -rf dist
	@$(BIN)/python -m hatchling build -d dist
	@$(BIN)/cyclonedx-py requirements requirements/image.txt --pyproject pyproject.toml --output-reproducible --output-file dist/pondflight.cdx.json
	@ls -l dist

lint: $(VENV)/dev.stamp ## ruff, ruff format, mypy --strict, and which room may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/dev.stamp ## measure, and print the figures side by side
	@$(BIN)/python -m benchmarks $(ARGS)

# Keeps the versions that are locked already; make lock ARGS=--upgrade takes the newest.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --custom-compile-command "make lock" $(ARGS)
SAME := --constraint requirements/run.txt
lock: $(VENV)/dev.stamp ## write requirements/*.txt anew from pyproject.toml
	$(LOCK) pyproject.toml --group build --group client --group caddy \
		--output-file requirements/run.txt
	$(LOCK) pyproject.toml --group dev $(SAME) --output-file requirements/dev.txt
	$(LOCK) pyproject.toml --group integration --constraint requirements/dev.txt \
		--output-file requirements/integration.txt
	# ibis-gizmosql asks for DuckDB 1.4 on Python 3.11, and works with the one that dbt-gizmosql needs.
	echo 'duckdb>=1.5' | $(LOCK) --group pyproject.toml:tools --override /dev/stdin --output-file requirements/tools.txt
	# Two of Superset's dependencies come as source archives alone, which are built with what stands in the first file.
	$(LOCK) --group pyproject.toml:superset --no-emit-package odfpy --no-emit-package wtforms-json \
		--output-file requirements/superset.txt
	printf 'odfpy\nwtforms-json\n' | $(LOCK) - --no-deps --no-annotate --output-file requirements/archives.txt
	$(LOCK) pyproject.toml --extra ecs --extra kubernetes --extra otel --extra redis $(SAME) --output-file requirements/image.txt
	$(LOCK) --group pyproject.toml:build $(SAME) --output-file requirements/build.txt

reference: $(VENV)/dev.stamp ## write what is made from the code: the example configuration, docs
	$(BIN)/python -m pondflight.settings.reference > config.example.yaml.new
	mv config.example.yaml.new config.example.yaml
	$(BIN)/python -m pondflight.settings.manual > docs/configuration.md.new
	mv docs/configuration.md.new docs/configuration.md
	$(BIN)/python -m pondflight.flightsql.reference > docs/errors.md.new
	mv docs/errors.md.new docs/errors.md

# The product runs without its pages, and says on them what to do; so a failure only warns.
pages: $(VENV)/run.stamp
	@$(BIN)/python web/build.py --if-changed || \
	  echo "the pages could not be built (see above); everything else works" >&2

clean: ## remove .venv and everything that a tool left behind
	rm -rf $(VENV) $(CLIENTS) $(TOOLS) $(SUPERSET) integration/node/node_modules web/node_modules pondflight/web/static
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is younger than what it was made from, and is written last: an interrupted step runs again.

$(VENV)/made.stamp:
	@for python in $(PYTHON); do \
	  if $$python -c '$(USABLE)' >/dev/null 2>&1; then \
	    echo "creating $(VENV) with $$($$python --version)"; \
	    $$python -m venv --clear $(VENV) && touch $@ && exit 0; \
	    exit 1; \
	  fi; \
	done; \
	echo "pondflight needs Python 3.11 or newer with its venv module; tried: $(PYTHON)." >&2; \
	echo "On Debian or Ubuntu: apt-get install python3 python3-venv" >&2; \
	echo "Elsewhere: make PYTHON=/path/to/python3.12 run" >&2; \
	exit 1

$(VENV)/run.stamp: requirements/run.txt pyproject.toml $(VENV)/made.stamp
	@echo "installing requirements/run.txt into $(VENV)"
	@$(INSTALL_LOCKED) requirements/run.txt
	@$(INSTALL_PROJECT)
	@touch $@

# The development lock has the same versions and more, so it serves `make run` too.
$(VENV)/dev.stamp: requirements/dev.txt requirements/run.txt pyproject.toml $(VENV)/made.stamp
	@echo "installing requirements/dev.txt into $(VENV)"
	@$(INSTALL_LOCKED) requirements/dev.txt
	@$(INSTALL_PROJECT)
	@touch $(VENV)/run.stamp $@

$(CLIENTS)/integration.stamp: requirements/integration.txt requirements/compose.txt requirements/chinook.txt pyproject.toml $(VENV)/dev.stamp
	@echo "installing requirements/integration.txt into $(CLIENTS)"
	@$(BIN)/python -m venv --clear $(CLIENTS)
	@$(CLIENTS)/bin/$(INSTALL) install --require-hashes --only-binary=:all: -r requirements/integration.txt
	@$(CLIENTS)/bin/$(INSTALL) install --require-hashes --no-build-isolation -r requirements/compose.txt
	@$(CLIENTS)/bin/$(INSTALL) install --require-hashes --no-deps --no-build-isolation -r requirements/chinook.txt
	@$(CLIENTS)/bin/$(INSTALL) install --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(TOOLS)/tools.stamp: requirements/tools.txt $(VENV)/made.stamp
	@echo "installing requirements/tools.txt into $(TOOLS)"
	@$(BIN)/python -m venv --clear $(TOOLS)
	@$(TOOLS)/bin/$(INSTALL) install --require-hashes --no-deps --only-binary=:all: -r requirements/tools.txt
	@touch $@

$(SUPERSET)/superset.stamp: requirements/superset.txt requirements/archives.txt pyproject.toml $(VENV)/made.stamp
	@echo "installing requirements/superset.txt into $(SUPERSET)"
	@$(BIN)/python -m venv --clear $(SUPERSET)
	@$(SUPERSET)/bin/$(INSTALL) install --require-hashes --no-deps --only-binary=:all: -r requirements/superset.txt
	@$(SUPERSET)/bin/$(INSTALL) install --require-hashes --no-deps --no-build-isolation -r requirements/archives.txt
	@$(SUPERSET)/bin/$(INSTALL) install --no-deps --no-build-isolation --no-index --editable .
	@touch $@
