# pondflight in one image: `serve` is the proxy, `worker` is what it starts for each user.
#
#   docker build -t pondflight:0.1.0 .
#
# Any base with Debian's or Python's own python3 (3.11 or newer, with venv) will do:
#   docker build --build-arg BASE_IMAGE=debian-with-python -t pondflight:0.1.0 .
# Where the network has a certificate authority of its own, pip and npm are told by a secret:
#   docker build --secret id=ca,src=/etc/ssl/certs/ca-certificates.crt -t pondflight:0.1.0 .
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements/build.txt requirements/image.txt requirements/
# Only wheels, and only those that the lock files have a hash of.
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi \
 && python3 -m venv /build/venv && python3 -m venv --without-pip /opt/pondflight \
 && pip="/build/venv/bin/pip --quiet install --require-hashes --only-binary=:all:" \
 && $pip -r requirements/build.txt \
 && $pip --prefix=/opt/pondflight --ignore-installed -r requirements/image.txt
COPY pyproject.toml README.md LICENSE CHANGELOG.md config.example.yaml ./
COPY caddy caddy
COPY web web
COPY pondflight pondflight
# Pages that `make pages` has built in the checkout are taken as they are; else they are built here,
# by Node out of a wheel, which stays in this stage.
# Headers and tests of libraries are of no use here, nor is Arrow's client of S3.
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then \
      export PIP_CERT=/run/secrets/ca NODE_EXTRA_CA_CERTS=/run/secrets/ca; fi \
 && /build/venv/bin/pip --quiet install --prefix=/opt/pondflight --no-deps --no-build-isolation --no-index . \
 && sed -i '1s|.*|#!/opt/pondflight/bin/python3|' /opt/pondflight/bin/pondflight \
 && cd /opt/pondflight/lib/python3*/site-packages \
 && rm -rf pyarrow/include pyarrow/src pyarrow/tests pyarrow/includes pyarrow/*_s3* pyarrow/_s3fs* \
 && find . -name '*.pyx' -delete -o -name '*.pxd' -delete -o -name '*.pxi' -delete \
 && /opt/pondflight/bin/python3 -m compileall -q . >/dev/null

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="pondflight" \
      org.opencontainers.image.description="One Flight SQL address, a private DuckDB for every user" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# For health checks: a tenth of the processor time that an interpreter takes to start.
RUN command -v curl >/dev/null \
 || (apt-get update -qq && apt-get install -y -qq --no-install-recommends curl >/dev/null && rm -rf /var/lib/apt/lists/*)
RUN groupadd --gid 1000 pondflight \
 && useradd --uid 1000 --gid 1000 --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin pondflight \
 && install --directory --owner=1000 --group=1000 --mode=700 /storage /scratch
COPY --from=build /opt/pondflight /opt/pondflight
ENV PATH=/opt/pondflight/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
WORKDIR /tmp
EXPOSE 8080 8081 8082
HEALTHCHECK --interval=10s --timeout=8s --start-period=30s --retries=3 \
  CMD ["sh", "-c", "exec curl -fsS -o /dev/null http://127.0.0.1:${PORT:-8080}/ready"]
ENTRYPOINT ["pondflight"]
CMD ["serve"]
