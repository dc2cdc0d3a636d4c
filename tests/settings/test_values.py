from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr, ValidationError

from pondflight import __version__
from pondflight.settings import RateLimit, Server, Settings, load
from pondflight.settings.schema import ROOT
from tests.settings.support import DATABASE, SECRET, Load, value_at

PEM = """
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""

DEFAULTS = {
    "server.host": "0.0.0.0",
    "server.port": 8080,
    "server.grpc_port": 8081,
    "server.health_port": 8082,
    "server.processes": 1,
    "server.drain_timeout": timedelta(seconds=30),
    "server.stream_idle_timeout": timedelta(minutes=10),
    "server.max_calls": 2000,
    "server.max_calls_per_user": 256,
    "server.tls.cert": None,
    "server.tls.key": None,
    "server.allowed_hosts": (),
    "server.trusted_proxies": (),
    "server.cors_origins": (),
    "caddy.host": "localhost",
    "caddy.port": 8443,
    "workers.backend": "process",
    "workers.warm": 1,
    "workers.start_timeout": timedelta(seconds=30),
    "workers.queue_size": 100,
    "workers.queue_timeout": timedelta(seconds=30),
    "workers.confinement": "best_effort",
    "workers.readable": (),
    "workers.keep_on_exit": True,
    "workers.instance": "",
    "containers.engine": "pondflight",
    "containers.image": f"pondflight:{__version__}",
    "containers.idle_timeout": timedelta(minutes=5),
    "containers.max_lifetime": timedelta(0),
    "containers.memory_limit": 512 * 1024 * 1024,
    "containers.cpu_limit": 0.5,
    "containers.scratch": "memory",
    "containers.scratch_size": 64 * 1024 * 1024,
    "containers.pids_limit": 512,
    "containers.max_per_host": 100,
    "containers.network": "bridge",
    "containers.publish": False,
    "containers.docker_host": "unix:///var/run/docker.sock",
    "kubernetes.kubeconfig": None,
    "kubernetes.context": "",
    "kubernetes.namespace": "",
    "kubernetes.service_account": "",
    "kubernetes.image_pull_policy": "IfNotPresent",
    "kubernetes.image_pull_secrets": (),
    "kubernetes.node_selector": {},
    "kubernetes.tolerations": (),
    "kubernetes.runtime_class": "",
    "kubernetes.priority_class": "",
    "kubernetes.user_namespaces": False,
    "kubernetes.cpu_request": None,
    "kubernetes.memory_request": None,
    "kubernetes.lost_after": timedelta(seconds=30),
    "kubernetes.storage_class": "",
    "kubernetes.storage_access": "ReadWriteOncePod",
    "kubernetes.pod_template": {},
    "ecs.region": "",
    "ecs.cluster": "",
    "ecs.task_definition": "",
    "ecs.container": "worker",
    "ecs.subnets": (),
    "ecs.security_groups": (),
    "ecs.public_address": False,
    "ecs.table": "",
    "fly.app": "",
    "fly.token": None,
    "fly.region": "",
    "fly.cpu_kind": "shared",
    "fly.url": "https://api.machines.dev",
    "sessions.idle_timeout": timedelta(minutes=30),
    "sessions.max_per_user": 64,
    "duckdb.extensions": ("arrow", "postgres", "mysql"),
    "duckdb.attached_databases": (),
    "duckdb.require_all": False,
    "duckdb.init_sql": None,
    "duckdb.storage": "memory",
    "duckdb.storage_directory": None,
    "duckdb.storage_limit": 1 << 30,
    "duckdb.scratch_limit": 10 << 30,
    "duckdb.sandbox": True,
    "duckdb.allow_network": False,
    "duckdb.statement_timeout": timedelta(),
    "security.jwt_secret": None,
    "security.rate_limit.requests_per_minute": 100,
    "security.rate_limit.burst_size": 200,
    "security.rate_limit.storage": SecretStr("memory"),
    "auth.jwks_url": "",
    "auth.public_key": "",
    "auth.issuer": "",
    "auth.audience": (),
    "auth.user_claim": "sub",
    "auth.demo.enabled": False,
    "auth.demo.tokens_per_hour": 10,
    "auth.demo.rate_limit.requests_per_minute": 20,
    "auth.demo.rate_limit.burst_size": 20,
    "auth.demo.memory_limit": 256 << 20,
    "auth.demo.cpu_limit": 0.25,
    "auth.demo.statement_timeout": timedelta(seconds=30),
    "auth.demo.ai": False,
    "metrics.public": True,
    "tracing.endpoint": "",
    "ai.claude_api_key": None,
    "ai.openai_api_key": None,
    "ai.default_model": "claude-sonnet-4-20250514",
    "ai.claude_base_url": None,
    "ai.openai_base_url": None,
    "ai.timeout": timedelta(seconds=60),
    "ai.max_tokens": 4096,
    "ai.requests_per_minute": 30,
    "console.statement_text": "masked",
}


def test_defaults_are_those_of_the_product() -> None:
    settings = load(None, {})
    assert {name: value_at(settings, name) for name in DEFAULTS} == DEFAULTS
    assert [key.name for key in ROOT.leaves()] == list(DEFAULTS)


ENVIRONMENT = {
    "PORT": ("server.port", "9000", 9000),
    "GRPC_PORT": ("server.grpc_port", "9001", 9001),
    "HEALTH_PORT": ("server.health_port", "0", 0),
    "SERVER_PROCESSES": ("server.processes", "4", 4),
    "HOST": ("server.host", "127.0.0.1", "127.0.0.1"),
    "TLS_CERT": ("server.tls.cert", "/etc/tls/a.pem", Path("/etc/tls/a.pem")),
    "TLS_KEY": ("server.tls.key", "a.key", Path("a.key")),
    "CADDY_HOST": ("caddy.host", "db.example.com", "db.example.com"),
    "CADDY_PORT": ("caddy.port", "443", 443),
    "WORKER_BACKEND": ("workers.backend", "docker", "docker"),
    "WORKER_WARM": ("workers.warm", "3", 3),
    "WORKER_INSTANCE": ("workers.instance", "blue", "blue"),
    "CONTAINER_ENGINE": ("containers.engine", "PondFlight", "pondflight"),
    "DOCKER_HOST": ("containers.docker_host", "tcp://sockets:2375", "tcp://sockets:2375"),
    "CONTAINER_IMAGE": ("containers.image", "a.example:5000/b/c:d", "a.example:5000/b/c:d"),
    "CONTAINER_IDLE_TIMEOUT": ("containers.idle_timeout", "300000", timedelta(minutes=5)),
    "CONTAINER_MEMORY_LIMIT": ("containers.memory_limit", "256m", 256 << 20),
    "CONTAINER_CPU_LIMIT": ("containers.cpu_limit", "1.5", 1.5),
    "CONTAINER_MAX_PER_HOST": ("containers.max_per_host", "7", 7),
    "CONTAINER_NETWORK": ("containers.network", "pond_net", "pond_net"),
    "FLY_API_TOKEN": ("fly.token", "FlyV1 abc", SecretStr("FlyV1 abc")),
    "WORKER_NAMESPACE": ("kubernetes.namespace", "ponds", "ponds"),
    "ALLOWED_HOSTS": (
        "server.allowed_hosts",
        "a.example, *.B.example",
        ("a.example", "*.b.example"),
    ),
    "TRUSTED_PROXIES": ("server.trusted_proxies", "10.1.2.3,fd00::/8", ("10.1.2.3/32", "fd00::/8")),
    "CORS_ORIGINS": ("server.cors_origins", "https://A.example:8443", ("https://a.example:8443",)),
    "AUTH_JWKS_URL": ("auth.jwks_url", "https://a.example/keys", "https://a.example/keys"),
    "AUTH_PUBLIC_KEY": ("auth.public_key", PEM, PEM.strip()),
    "AUTH_ISSUER": ("auth.issuer", "https://a.example/", "https://a.example/"),
    "AUTH_AUDIENCE": ("auth.audience", "one,two", ("one", "two")),
    "AUTH_USER_CLAIM": ("auth.user_claim", "email", "email"),
    "DEMO_ENABLED": ("auth.demo.enabled", "true", True),
    "METRICS_PUBLIC": ("metrics.public", "false", False),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("tracing.endpoint", "http://a:4318", "http://a:4318"),
    "AI_DEFAULT_MODEL": ("ai.default_model", "gpt-4o", "gpt-4o"),
    "CLAUDE_BASE_URL": ("ai.claude_base_url", "http://localhost:9/", "http://localhost:9"),
    "OPENAI_BASE_URL": ("ai.openai_base_url", "http://[::1]:9/v1", "http://[::1]:9/v1"),
}
SECRETS = {
    "RATE_LIMIT_STORAGE": "security.rate_limit.storage",
    "JWT_SECRET": "security.jwt_secret",
    "CLAUDE_API_KEY": "ai.claude_api_key",
    "OPENAI_API_KEY": "ai.openai_api_key",
}


@pytest.mark.parametrize("variable", ENVIRONMENT)
def test_environment_variable_sets_its_key(variable: str) -> None:
    name, text, value = ENVIRONMENT[variable]
    assert value_at(load(None, {variable: text}), name) == value


@pytest.mark.parametrize("variable", SECRETS)
def test_secret_from_the_environment_is_kept_but_never_shown(variable: str) -> None:
    value = f"redis://u:{SECRET}@h:1/0" if variable == "RATE_LIMIT_STORAGE" else SECRET
    settings = load(None, {variable: value})
    assert value_at(settings, SECRETS[variable]).get_secret_value() == value
    assert SECRET not in repr(settings)
    assert SECRET not in yaml.safe_dump(settings.masked())


def test_every_environment_variable_is_tested_here() -> None:
    assert {key.env.name for key in ROOT.leaves() if key.env} == {*ENVIRONMENT, *SECRETS}


def test_environment_goes_before_file_and_file_before_defaults(read: Load) -> None:
    settings = read("server: {port: 1000, grpc_port: 1001}", {"PORT": "2000"})
    assert (settings.server.port, settings.server.grpc_port) == (2000, 1001)
    assert settings.server.health_port == 8082


def test_real_environment_is_read_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9000")
    assert load().server.port == 9000


@pytest.mark.parametrize("text", ["", "  "])
def test_empty_environment_variable_counts_as_not_set(text: str) -> None:
    assert load(None, {"PORT": text, "JWT_SECRET_FILE": text}).server.port == 8080


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "server:\n", "server: {port: }\n"])
def test_what_a_file_leaves_out_is_left_at_its_default(read: Load, text: str) -> None:
    assert read(text) == load(None, {})


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("250", 250), (" 250 ", 250), ("250ms", 250), ("2s", 2000)]
)
def test_idle_timeout_in_the_environment_counts_milliseconds(text: str, milliseconds: int) -> None:
    settings = load(None, {"CONTAINER_IDLE_TIMEOUT": text})
    assert settings.containers.idle_timeout == timedelta(milliseconds=milliseconds)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load(None, {}).server.port = 1


def test_masked_settings_hide_every_secret_and_can_be_read_again(read: Load) -> None:
    settings = read(
        DATABASE.format(type="postgres", connection_string="postgresql://u:hunter2@h/d")
        + "ai: {claude_api_key: sk-hunter2}\ncontainers: {idle_timeout: 90s, memory_limit: 1024m}",
        {"JWT_SECRET": SECRET, "OPENAI_API_KEY": "hunter2"},
    )
    masked: dict[str, Any] = settings.masked()
    text = yaml.safe_dump(masked, sort_keys=False)
    assert "hunter2" not in text
    assert SECRET not in text
    assert list(masked) == list(ROOT.children)
    assert masked["security"]["jwt_secret"] == "***"
    assert masked["ai"] == {
        "claude_api_key": "***",
        "openai_api_key": "***",
        "default_model": "claude-sonnet-4-20250514",
        "claude_base_url": None,
        "openai_base_url": None,
        "timeout": "1m",
        "max_tokens": 4096,
        "requests_per_minute": 30,
    }
    assert masked["containers"]["idle_timeout"] == "1m30s"
    assert masked["containers"]["memory_limit"] == "1g"
    assert masked["duckdb"]["attached_databases"] == [
        {
            "alias": "shop",
            "type": "postgres",
            "connection_string": "***",
            "read_only": True,
            "exact": True,
            "on_invalid": None,
            "allow": None,
            "demo": False,
            "max_connections": 16,
        }
    ]


def test_masked_defaults_load_to_the_defaults(read: Load) -> None:
    masked: dict[str, Any] = Settings().masked()
    del masked["security"]["jwt_secret"]
    assert read(yaml.safe_dump(masked)) == load(None, {})


def test_settings_can_be_made_in_code() -> None:
    settings = Settings(
        server=Server(port=0, grpc_port=0, health_port=0, drain_timeout=timedelta(seconds=1)),
    )
    assert settings.server.drain_timeout == timedelta(seconds=1)
    with pytest.raises(ValidationError):
        RateLimit(burst_size=0)


ATTACHED = "duckdb: {{attached_databases: [{{alias: a, type: {}, connection_string: '{}'}}]}}"


@pytest.mark.parametrize(
    ("text", "warm"),
    [
        ("", 1),
        ("workers: {warm: 0}", 0),
        ("workers: {warm: 3}", 3),
        ("workers: {backend: docker}", 0),
        ("duckdb: {storage: persistent, storage_directory: /data}", 0),
        (ATTACHED.format("sqlite", "/a.db"), 1),
        (ATTACHED.format("mysql", "mysql://u@h/d"), 0),
    ],
)
def test_one_subprocess_is_warm_where_that_opens_nothing(read: Load, text: str, warm: int) -> None:
    assert read(text, {}).workers.warm == warm
