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
# Time of all files, so that the same sources give the same files (seconds since 1970).
ARG SOURCE_DATE_EPOCH=0
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN command -v strip >/dev/null \
 || (apt-get update -qq && apt-get install -y -qq --no-install-recommends binutils >/dev/null)
COPY requirements/build.txt requirements/image.txt requirements/
# Only wheels, and only those that the lock files have a hash of.
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi \
 && python3 -m venv /build/venv && python3 -m venv --without-pip /opt/pondflight \
 && pip="/build/venv/bin/pip --quiet install --require-hashes --only-binary=:all:" \
 && $pip -r requirements/build.txt \
 && $pip --prefix=/opt/pondflight --ignore-installed --no-compile -r requirements/image.txt
COPY pyproject.toml README.md LICENSE CHANGELOG.md config.example.yaml ./
COPY caddy caddy
COPY web web
COPY pondflight pondflight
COPY deploy/image image
# Pages that `make pages` has built in the checkout are taken as they are; else they are built here,
# by Node out of a wheel, which stays in this stage. Programs of libraries are left out.
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then \
      export PIP_CERT=/run/secrets/ca NODE_EXTRA_CA_CERTS=/run/secrets/ca; fi \
 && /build/venv/bin/pip --quiet install --prefix=/opt/pondflight --no-compile --no-deps --no-build-isolation --no-index . \
 && cd /opt/pondflight \
 && rm -rf include bin/[Aa]ctivate* lib/python3*/site-packages/pondflight-*.dist-info/direct_url.json \
 && find bin -type f ! -name pondflight -delete \
 && sed -i '1s|.*|#!/opt/pondflight/bin/python3|' bin/pondflight \
 && mkdir libexec && mv bin/pondflight libexec/ && cp /usr/bin/setpriv libexec/join-group \
 && install /build/image/pondflight bin/pondflight \
 && bin/python3 /build/image/trim.py /opt/pondflight

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="pondflight" \
      org.opencontainers.image.description="One Flight SQL address, a private DuckDB for every user" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
# For health checks: a tenth of the processor time that an interpreter takes to start.
RUN command -v curl >/dev/null \
 || (apt-get update -qq && apt-get install -y -qq --no-install-recommends curl >/dev/null && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log /var/cache/ldconfig)
# By hand: useradd would note the day.
RUN echo pondflight:x:1000: >> /etc/group \
 && echo pondflight:x:1000:1000::/nonexistent:/usr/sbin/nologin >> /etc/passwd \
 && install --directory --owner=1000 --group=1000 --mode=700 /storage \
 && install --directory --owner=1000 --group=1000 --mode=1777 /scratch
COPY --from=build /opt/pondflight /opt/pondflight
# `join-group` gets the capability to set groups (6), and the image the list of what it is made of.
RUN --mount=type=bind,from=build,source=/build/image,target=/mnt \
    python3 -c "import os, struct; os.setxattr('/opt/pondflight/libexec/join-group', 'security.capability', struct.pack('<5I', 0x02000001, 1 << 6, 0, 0, 0))" \
 && PYTHONDONTWRITEBYTECODE=1 /opt/pondflight/bin/python3 /mnt/sbom.py > /opt/pondflight/sbom.cdx.json
ENV PATH=/opt/pondflight/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
WORKDIR /tmp
EXPOSE 8080 8081 8082
HEALTHCHECK --interval=10s --timeout=8s --start-period=30s --retries=3 \
  CMD ["sh", "-c", "exec curl -fsS -o /dev/null http://127.0.0.1:${PORT:-8080}/ready"]
# Without arguments: `serve`, or what is missing for it.
ENTRYPOINT ["pondflight"]
CMD []
