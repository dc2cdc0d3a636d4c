from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PINNED = re.compile(r"^([a-z0-9-]+)==([^ ;\\]+)", re.MULTILINE)


def locked(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text("utf-8")
    return dict(PINNED.findall(text))


def test_development_lock_has_the_very_versions_that_run() -> None:
    run, dev = locked("run.txt"), locked("dev.txt")
    assert {name: dev.get(name) for name in run} == run


def test_integration_lock_has_the_very_versions_of_development() -> None:
    dev, integration = locked("dev.txt"), locked("integration.txt")
    assert {name: integration.get(name) for name in dev} == dev


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {re.split(r"[\[=<>]", line)[0] for line in project["dependencies"]}
    assert names <= locked("run.txt").keys()


def test_duckdb_and_its_extensions_are_of_one_version() -> None:
    versions = {version for name, version in locked("run.txt").items() if "duckdb" in name}
    assert len(versions) == 1


@pytest.mark.parametrize(
    "name", ["run.txt", "dev.txt", "integration.txt", "superset.txt", "archives.txt"]
)
def test_lock_names_no_registry_and_no_machine(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text("utf-8")
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|file:", text)
    assert all(
        len(re.findall("--hash=sha256:", block)) > 0
        for block in re.split(r"\n(?=[a-z])", text)
        if PINNED.match(block)
    )


def imported(folder: str) -> set[str]:
    """The top-level modules that the files in ``folder`` import."""
    nodes = [
        node
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    ]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module and not n.level]
    return {name.partition(".")[0] for name in names}


# Superset loads our module, and not the other way round.
HOSTS = {"superset"}


def test_every_import_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = chain(project["dependencies"], *project["optional-dependencies"].values())
    declared = {re.split(r"[\[=<>]", line)[0] for line in lines}
    modules = importlib.metadata.packages_distributions()
    undeclared = {
        module: modules.get(module)
        for module in imported("pondflight") - sys.stdlib_module_names - HOSTS - {"pondflight"}
        # An extra that is not installed here is known by the name of its module.
        if declared.isdisjoint(_normal(name) for name in modules.get(module, [module]))
    }
    assert not undeclared


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
