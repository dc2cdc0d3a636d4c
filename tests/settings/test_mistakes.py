from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pondflight.errors import ConfigError
from pondflight.settings import load
from pondflight.settings.schema import ROOT
from tests.settings.support import Load, Problems

FLY = "fly: {app: a, token: t}\nworkers: {backend: fly"

WRONG_VALUES = {
    "server: {port: eighty}": "server.port: 'eighty' is not accepted (from FILE); accepted: a TCP"
    " port from 1 to 65535, or 0 for any that is free",
    "server: {port: 65536}": "server.port: 65536 is not accepted",
    "server: {port: -1}": "server.port: -1 is not accepted",
    "server: {port: true}": "server.port: true is not accepted",
    "server: {port: 80.0}": "server.port: 80.0 is not accepted",
    "server: {port: [80]}": "server.port: a list is not accepted",
    "server: {port: {a: 1}}": "server.port: a mapping is not accepted",
    "server: {port: 2020-01-01}": "server.port: a date is not accepted",
    "server: {host: ''}": "server.host: '' is not accepted",
    "server: {host: 'a b'}": "server.host: 'a b' is not accepted",
    "server: {host: 1.2.3.400}": "server.host: '1.2.3.400' is not accepted",
    "server: {drain_timeout: 30}": "server.drain_timeout: 30 has no unit (from FILE); accepted: a"
    " duration with its unit, such as 250ms, 30s, 5m, 1h or 1h30m; 0 for none",
    "server: {port: 8081}": "server: port, grpc_port and health_port must differ, but 8081 stands"
    " 2 times (from FILE)",
    "server: {tls: {cert: 5}}": "server.tls.cert: 5 is not accepted (from FILE); accepted: the name"
    " of a file",
    "containers: {idle_timeout: 300}": "containers.idle_timeout: 300 has no unit (from FILE);",
    "containers: {idle_timeout: 0}": "containers.idle_timeout: 0 is not accepted",
    "containers: {idle_timeout: 0s}": "containers.idle_timeout: '0s' is not accepted",
    "containers: {idle_timeout: soon}": "containers.idle_timeout: 'soon' is not a duration",
    "containers: {memory_limit: 512}": "containers.memory_limit: 512 is only 512 bytes",
    "containers: {memory_limit: lots}": "containers.memory_limit: 'lots' is not a size",
    "containers: {cpu_limit: 0}": "containers.cpu_limit: 0 is not accepted",
    "containers: {cpu_limit: .nan}": "containers.cpu_limit: nan is not accepted",
    "containers: {cpu_limit: .inf}": "containers.cpu_limit: inf is not accepted",
    "containers: {cpu_limit: half}": "containers.cpu_limit: 'half' is not accepted",
    "containers: {max_per_host: 0}": "containers.max_per_host: 0 is not accepted",
    "containers: {network: 'a b'}": "containers.network: 'a b' is not accepted",
    "containers: {network: host}": "containers.network: 'host' would let workers at the host's own",
    "containers: {network: none}": "containers.network: 'none' has no way in",
    "containers: {image: '-x'}": "containers.image: '-x' is not accepted",
    "workers: {backend: kubernets}": "workers.backend: 'kubernets' is not accepted (from FILE);"
    " accepted: auto, process, docker, kubernetes, ecs, fly",
    "workers: {backend: ecs}": "ecs.cluster: '' is needed where workers.backend is ecs",
    "ecs: {task_definition: pond-worker}": "ecs.task_definition: 'pond-worker' is not accepted"
    " (from FILE); accepted: a family and a revision, such as pond-worker:3",
    "ecs: {subnets: [10.0.0.0/8]}": "ecs.subnets[0]: '10.0.0.0/8' is not accepted",
    "workers: {backend: fly}": "fly.app: '' is needed where workers.backend is fly",
    "workers: {backend: fly}\nfly: {app: a}": "fly.token: *** is needed where workers.backend is"
    " fly",
    FLY
    + ", warm: 1}": "workers.warm: 1 must be 0 with the backend fly: a Machine cannot be renamed"
    " for its user",
    FLY + "}\nduckdb: {storage: persistent}": "duckdb.storage: 'persistent' must be memory with the"
    " backend fly",
    FLY + "}\ncontainers: {engine: gizmosql, image: x}": "containers.engine: 'gizmosql' must be"
    " pondflight with the backend fly",
    "fly: {region: Amsterdam}": "fly.region: 'Amsterdam' is not accepted (from FILE); accepted: a"
    " region of three letters, such as ams, or none",
    "fly: {cpu_kind: quick}": "fly.cpu_kind: 'quick' is not accepted",
    "kubernetes: {node_selector: {disk: 1}}": "kubernetes.node_selector: a mapping has a value that"
    " is no text: disk",
    "kubernetes: {tolerations: [{name: a}]}": "kubernetes.tolerations[0]: a mapping cannot have"
    " name",
    "kubernetes: {pod_template: {spec: {hostNetwork: true}}}": "kubernetes.pod_template: a mapping"
    " is not accepted: spec.hostNetwork cannot be set",
    "kubernetes: {pod_template: {spec: {volumes: [{name: a, hostPath: {path: /}}]}}}": "kubernetes."
    "pod_template: a mapping is not accepted: spec.volumes[].hostPath cannot be set",
    "kubernetes: {pod_template: {metadata: {labels: {pondflight.user: a}}}}": "kubernetes."
    "pod_template: a mapping is not accepted: metadata.labels: pondflight.user is",
    "kubernetes: {image_pull_policy: Sometimes}": "kubernetes.image_pull_policy: 'Sometimes' is not"
    " accepted",
    "workers: {warm: -1}": "workers.warm: -1 is not accepted (from FILE); accepted: a whole",
    "workers: {instance: 'a b'}": "workers.instance: 'a b' is not accepted",
    "containers: {engine: mysql}": "containers.engine: 'mysql' is not accepted (from FILE);"
    " accepted: pondflight, gizmosql, sqlflite",
    "containers: {docker_host: 'ssh://a'}": "containers.docker_host: *** is not accepted (from"
    " FILE); accepted: unix:///path/to/a/socket or tcp://host:port",
    "containers: {docker_host: 'tcp://a:99999'}": "containers.docker_host: *** is not accepted",
    "containers: {pids_limit: 8}": "containers.pids_limit: 8 is not accepted (from FILE);",
    "workers: {backend: docker}\ncontainers: {engine: gizmosql}": "containers.image:"
    " 'pondflight:0.1.0' is no image of gizmosql: name one",
    "workers: {backend: process}\ncontainers: {engine: gizmosql, image: x}": "workers.backend:"
    " 'process' cannot run a gizmosql: use docker",
    "workers: {backend: docker, warm: 1}\ncontainers: {engine: sqlflite, image: x}": "workers"
    ".warm: 1 must be 0 with a sqlflite, which serves anyone (from FILE)",
    "workers: {backend: thread}": "workers.backend: 'thread' is not accepted",
    "duckdb: {extensions: postgres}": "duckdb.extensions must be a list, each item one of arrow,",
    "duckdb: {extensions: [json, spatial]}": "duckdb.extensions[1]: 'spatial' is not available"
    " (from FILE); accepted: one of arrow, autocomplete, core_functions, httpfs, icu, json, mysql,"
    " parquet, postgres, sqlite",
    "duckdb: {attached_databases: {}}": "duckdb.attached_databases must be a list, each item a"
    " mapping with the keys alias, type, connection_string, read_only, exact, on_invalid, allow,"
    " demo, max_connections, not a mapping (from FILE)",
    "duckdb: {attached_databases: [null]}": "duckdb.attached_databases[0] must be a mapping with"
    " the keys alias, type, connection_string, read_only, exact, on_invalid, allow, demo,"
    " max_connections, not"
    " nothing (from FILE)",
    "server: [1]": "server must be a mapping with the keys host, port, grpc_port, health_port,"
    " processes, drain_timeout, stream_idle_timeout, max_calls, max_calls_per_user, tls,"
    " allowed_hosts, trusted_proxies, cors_origins, not a list (from FILE)",
    "security: {rate_limit: fast}": "security.rate_limit must be a mapping with the keys"
    " requests_per_minute, burst_size, storage, not a string (from FILE)",
    "- a": "the file must be a mapping with the keys server, caddy, workers, containers,"
    " kubernetes, ecs, fly, sessions, duckdb, security, auth, metrics, tracing, ai, console, not a"
    " list (from FILE)",
    "server: {allowed_hosts: [a..b]}": "server.allowed_hosts[0]: 'a..b' is not accepted (from"
    " FILE); accepted: a host name, such as query.example.com, or *.example.com, or * for any",
    "server: {trusted_proxies: [10.0.0.0/33]}": "server.trusted_proxies[0]: '10.0.0.0/33' is not",
    "server: {cors_origins: [https://a.example/x]}": "server.cors_origins[0]: *** is not an origin",
    "security: {rate_limit: {storage: 'redis://u:p@/1'}}": "security.rate_limit.storage: *** is not"
    " accepted (from FILE); accepted: memory, or redis://[user:password@]host:port/number",
    "auth: {jwks_url: 'ftp://a/b'}": "auth.jwks_url: *** is not accepted",
    "auth: {jwks_url: 'https://a/b', public_key: PEM}": "auth.public_key: 'PEM' is not a public key"
    " in PEM (from FILE); accepted: a public key in PEM (RSA, P-256 or Ed25519), or the absolute",
    "auth: {public_key: /nowhere/a.pem}": "auth.public_key: '/nowhere/a.pem' cannot be read: No"
    " such file",
    "auth: {user_claim: ''}": "auth.user_claim: '' is not accepted",
    "auth: {demo: {enabled: 1}}": "auth.demo.enabled: 1 is not accepted",
    "ai: {claude_api_key: ''}": "ai.claude_api_key: *** is empty (from FILE); accepted: an API key",
    "ai: {claude_api_key: 12345}": "ai.claude_api_key: *** is not accepted",
    "ai: {claude_base_url: 'localhost:8080'}": "ai.claude_base_url: 'localhost:8080' is not acc",
    "ai: {openai_base_url: 'http://u:p@h/v1'}": "ai.openai_base_url: *** is not accepted",
    "ai: {timeout: 0}": "ai.timeout: 0",
    "ai: {max_tokens: 0}": "ai.max_tokens: 0 is not accepted",
    "ai: {default_model: ''}": "ai.default_model: '' is not accepted",
}


@pytest.mark.parametrize("text", WRONG_VALUES)
def test_wrong_value_is_named_with_its_key_and_what_is_accepted(
    problems: Problems, text: str
) -> None:
    (problem,) = problems(text)
    assert problem.startswith(WRONG_VALUES[text])


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("PORT", "eighty", "server.port: 'eighty' is not accepted"),
        (
            "WORKER_BACKEND",
            "kubernets",
            "workers.backend: 'kubernets' is not accepted",
        ),
        ("DOCKER_HOST", "npipe:////./pipe/docker", "containers.docker_host: *** is not accepted"),
        ("CONTAINER_CPU_LIMIT", "nan", "containers.cpu_limit: 'nan' is not accepted"),
        ("HOST", "a/b", "server.host: 'a/b' is not accepted"),
    ],
)
def test_wrong_environment_variable_is_named(variable: str, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {variable: text})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{expected} (from the environment variable {variable}); accepted: ")


def test_idle_timeout_error_tells_that_the_variable_counts_milliseconds() -> None:
    with pytest.raises(ConfigError, match="a number without a unit counts ms here"):
        load(None, {"CONTAINER_IDLE_TIMEOUT": "5 minutes"})


UNKNOWN_KEYS = {
    "server: {prot: 80}": "server.prot is not a known key (from FILE); did you mean server.port?",
    "server: {grpcPort: 80}": "server.grpcPort is not a known key (from FILE); did you mean"
    " server.grpc_port?",
    "sever: {port: 80}": "sever is not a known key (from FILE); did you mean server?",
    "port: 80": "port is not a known key (from FILE); did you mean server.port or caddy.port?",
    "HEALTH_PORT: 80": "HEALTH_PORT is not a known key (from FILE); did you mean"
    " server.health_port?",
    "extensions: []": "extensions is not a known key (from FILE); did you mean duckdb.extensions?",
    "idle_timeout: 5m": "idle_timeout is not a known key (from FILE); did you mean"
    " containers.idle_timeout or sessions.idle_timeout?",
    "security: {rate_limit: {burst: 1}}": "security.rate_limit.burst is not a known key (from"
    " FILE); did you mean security.rate_limit.burst_size?",
    "sessions: {zzz: 1}": "sessions.zzz is not a known key (from FILE); known keys here:"
    " idle_timeout, max_per_user",
    "server: {80: 1}": "server.80 is not a known key (from FILE); known keys here:",
    "server: {[1]: 1}": "FILE, line 1, column 10 is not valid YAML: found unhashable key",
    'server: {"a\\nb": 1}': "server.'a\\nb' is not a known key (from FILE);",
    "duckdb: {attached_databases: [{alias: a, typ: mysql, connection_string: /a}]}": (
        "duckdb.attached_databases[0].typ is not a known key (from FILE); did you mean"
        " duckdb.attached_databases[].type?"
    ),
}


@pytest.mark.parametrize("text", UNKNOWN_KEYS)
def test_unknown_key_is_an_error_that_suggests_the_nearest(problems: Problems, text: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(UNKNOWN_KEYS[text])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "FILE, line 1, column 5 is not valid YAML: expected the node content"),
        ("a: 1\na: 2", "FILE, line 2, column 1 is not valid YAML: the key a stands twice"),
        ("server: {port: 1, port: 2}", "FILE, line 1, column 19 is not valid YAML: the key port"),
        ("a: 1\n---\nb: 2", "FILE, line 2, column 1 is not valid YAML: but found another document"),
        ("a: *hunter2", "FILE, line 1, column 4 is not valid YAML: found undefined alias …"),
        ("a: !!python/name:os.system", "FILE, line 1, column 4 is not valid YAML"),
        ("a: 2020-13-99", "FILE is not valid YAML"),
        ("a: \x01", "FILE is not valid YAML"),
        ("a: " + "[" * 5000, "FILE is not valid YAML"),
    ],
)
def test_file_that_is_no_yaml_is_named_with_the_place(
    problems: Problems, text: str, expected: str
) -> None:
    (problem,) = problems(text)
    assert problem.startswith(expected)
    assert "hunter2" not in problem


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, why in [
        (tmp_path / "missing.yaml", "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
        (Path("a\0b"), "cannot be read: its name is not one of a file"),
    ]:
        with pytest.raises(ConfigError) as caught:
            load(path, {})
        assert caught.value.problems == [f"{path} {why}"]
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not a text file in UTF-8"):
        load(binary, {})


def test_all_mistakes_are_reported_at_once(problems: Problems) -> None:
    found = problems(
        """
        server: {port: eighty, prot: 1}
        containers: {memory_limit: lots}
        duckdb:
          extensions: [nope]
          attached_databases:
            - {alias: main, type: sqlite, connection_string: /a.db}
            - {alias: one, type: sqlite, connection_string: /a.db}
            - {alias: ONE, type: sqlite, connection_string: /b.db}
            - {alias: two, type: mysql, connection_string: "${NOT_SET}"}
        ai: {}
        sessions: {max_per_user: 0}
        """,
        {"GRPC_PORT": "x", "JWT_SECRET": "short"},
    )
    assert [problem.split(" ")[0].rstrip(":") for problem in found] == [
        "server.prot",
        "duckdb.attached_databases[3].connection_string",
        "server.port",
        "server.grpc_port",
        "containers.memory_limit",
        "sessions.max_per_user",
        "duckdb.extensions[0]",
        "duckdb.attached_databases[0].alias",
        "JWT_SECRET",
        "duckdb.attached_databases",
    ]


def test_port_that_fell_back_to_its_default_is_not_said_to_clash(problems: Problems) -> None:
    (problem,) = problems("server: {port: eighty, grpc_port: 8080}")
    assert problem.startswith("server.port: 'eighty'")


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.dates()
    | st.sampled_from(["${NAME}", "5m", "512m", "/a", "mysql://u:p@h/d"])
)
NAMES = st.text(max_size=8) | st.sampled_from(
    sorted({part for key in ROOT.leaves() for part in key.name.split(".")} | {"alias", "type"})
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(document=st.dictionaries(NAMES, DOCUMENTS, max_size=5))
def test_any_document_loads_or_is_a_configuration_error(
    config: Path, document: dict[str, Any]
) -> None:
    config.write_text(yaml.safe_dump(document), "utf-8")
    try:
        load(config, {"NAME": "x"})
    except ConfigError as error:
        problems = error.problems
    else:
        return
    assert problems
    assert all(problem and "\n" not in problem for problem in problems)
    assert len(set(problems)) == len(problems)


def test_environment_of_this_process_is_left_alone(read: Load) -> None:
    before = dict(os.environ)
    read("ai: {openai_api_key: '${NAME}'}", {"NAME": "x"})
    assert dict(os.environ) == before


def test_key_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ROOT.name = "x"  # type: ignore[misc]


def test_ports_that_clash_are_said_to_come_from_where_they_came(problems: Problems) -> None:
    (problem,) = problems("server: {port: 9000}", {"GRPC_PORT": "9000"})
    assert problem == (
        "server: port, grpc_port and health_port must differ, but 9000 stands 2 times"
        " (from FILE and from the environment variable GRPC_PORT)"
    )
    (problem,) = problems("", {"PORT": "8081"})
    assert problem.endswith("8081 stands 2 times (from the environment variable PORT)")
