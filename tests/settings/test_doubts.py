"""What is accepted but probably not meant: each has a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pondflight.errors import ConfigError
from pondflight.settings import load
from pondflight.settings.loading import read
from tests.settings.support import SECRET, Load

Warnings = Callable[..., list[str]]


@pytest.fixture(name="warnings")
def fixture_warnings(config: Path) -> Warnings:
    """Loads a YAML text with the given environment and no other; what is warned of."""

    def warnings(text: str = "", **environ: str) -> list[str]:
        config.write_text(text, "utf-8")
        return read(config, environ).warnings

    return warnings


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CONTAINER_MEMORY_LIMT", "did you mean CONTAINER_MEMORY_LIMIT?"),
        ("CONTAINERS_MEMORY_LIMIT", "did you mean CONTAINER_MEMORY_LIMIT?"),
        ("JWT_SECRET_FIEL", "did you mean JWT_SECRET_FILE?"),
        ("PONDFLIGHT_JWT_SECRET", "did you mean JWT_SECRET?"),
        ("SECURITY_JWT_SECRET", "did you mean JWT_SECRET?"),
        ("SERVER_GRPC_PORT", "did you mean GRPC_PORT?"),
        ("ALLOWED_HOST", "did you mean ALLOWED_HOSTS?"),
        ("DUCKDB_STORAGE", "duckdb.storage is set in the configuration file"),
        ("CONTAINER_PIDS_LIMIT", "containers.pids_limit is set in the configuration file"),
    ],
)
def test_a_variable_that_looks_like_a_setting_and_is_none(
    warnings: Warnings, name: str, meant: str
) -> None:
    assert warnings(**{name: "1"}) == [f"the environment variable {name} is not read: {meant}"]


@pytest.mark.parametrize(
    "environ",
    [
        {
            "PATH": "/bin",
            "HOSTNAME": "pod",
            "USER": "ann",
            "LANG": "C.UTF-8",
            "HTTP_PORT": "80",
            "CONTAINER_NAME": "c",
        },
        {"PONDFLIGHT_PORT": "tcp://10.0.0.1:8080", "PONDFLIGHT_PORT_8080_TCP": "tcp://10.0.0.1"},
        {"PONDFLIGHT_URL": "grpc://x", "PONDFLIGHT_TOKEN": "y", "PONDFLIGHT_HOST": "z"},
        {"GRPC_VERBOSITY": "debug", "DOCKER_CERT_PATH": "/c", "OPENAI_ORG_ID": "o"},
    ],
)
def test_variables_of_others_are_no_concern(warnings: Warnings, environ: dict[str, str]) -> None:
    assert warnings(**environ) == []


def test_a_variable_that_the_file_replaces_is_read(warnings: Warnings) -> None:
    assert warnings("containers: {memory_limit: '${CONTAINER_SIZE}'}", CONTAINER_SIZE="1g") == []


@pytest.mark.parametrize(
    ("auth", "missing"),
    [
        ("", "auth.issuer and auth.audience"),
        (", issuer: 'https://id.example.com'", "auth.audience"),
        (", audience: [pond]", "auth.issuer"),
    ],
)
def test_keys_of_a_provider_without_issuer_or_audience(
    warnings: Warnings, auth: str, missing: str
) -> None:
    (warning,) = warnings(f"auth: {{jwks_url: 'https://id.example.com/keys'{auth}}}")
    assert warning.startswith(f"auth.jwks_url is set without {missing}: every token")


def test_keys_of_a_provider_with_both_are_no_doubt(warnings: Warnings) -> None:
    auth = "jwks_url: 'https://id.example.com/keys', issuer: 'https://id.example.com'"
    assert warnings(f"auth: {{{auth}, audience: [pond]}}") == []


def test_memory_below_what_a_worker_needs(warnings: Warnings) -> None:
    assert warnings("containers: {memory_limit: 512m}") == []
    (warning,) = warnings("containers: {memory_limit: 32m}")
    assert warning.startswith("containers.memory_limit is 32m: a worker")


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (f"\ufeff{SECRET}", "has a byte order mark in it"),
        (f"{SECRET}\n", "has a line break in it"),
        (f"{SECRET}\r", "has a line break in it"),
        (f"{SECRET[:20]}\u200b{SECRET[20:]}", "has a control character in it"),
    ],
)
def test_secrets_with_what_no_editor_shows(read: Load, broken: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {"JWT_SECRET": broken})
    assert caught.value.problems[0].startswith(f"JWT_SECRET: *** {why}")
    inside = broken.replace("\n", "\nx").replace("\r", "\rx")
    with pytest.raises(ConfigError) as caught:
        read("", {"CLAUDE_API_KEY": inside})
    assert why in caught.value.problems[0]
    assert SECRET[:20] not in caught.value.problems[0]


def test_a_secret_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\r\n", "utf-8-sig")
    with pytest.raises(ConfigError, match="has a byte order mark in it"):
        load(None, {"JWT_SECRET_FILE": str(path)})


def test_a_file_that_may_not_be_read_says_who_and_how(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    config.write_text("{}")
    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(
        ConfigError, match=r"permission denied to user \d+: chmod go\+r config.yaml"
    ):
        load(config, {})
    with pytest.raises(ConfigError, match=r"permission denied to user \d+: chmod go\+r secret"):
        load(None, {"JWT_SECRET_FILE": "/run/secrets/secret"})
