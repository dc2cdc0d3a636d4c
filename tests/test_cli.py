from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import jwt
import pytest
import yaml
from click.testing import CliRunner, Result

from pondflight import __version__, cli
from pondflight.auth.tokens import Tokens
from pondflight.settings import read
from pondflight.settings.schema import ROOT
from pondflight.telemetry import logs

SECRET = "kW8rX2vN5qT9zL4mB7cJ1hG6fD3sA0pY"
DIGEST = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def fixture_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ROOT.leaves():
        if key.env is not None:
            monkeypatch.delenv(key.env.name, raising=False)
    monkeypatch.delenv("JWT_SECRET_FILE", raising=False)


@pytest.fixture(name="config")
def fixture_config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("server: {port: 9000}\nai: {claude_api_key: hunter2}\n")
    return path


@pytest.fixture(name="started")
def fixture_started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What serve or worker was started with, in place of starting it; it ends with code 7."""
    started: dict[str, Any] = {}

    def run(*args: Any, **kwargs: Any) -> int:
        started.update(kwargs, args=args)
        return 7

    for name in ("pondflight.serve.run", "pondflight.engine.main"):
        module = ModuleType(name)
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(logs, "configure", lambda level: started.update(level=level))
    return started


def pondflight(*arguments: object, **environ: str) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments], env=environ)


# help


@pytest.mark.parametrize("command", ["serve", "worker", "token", "check"])
def test_help_of_a_command_tells_each_option(command: str) -> None:
    result = pondflight(command, "--help")
    assert result.exit_code == 0
    for parameter in cli.main.commands[command].params:
        assert parameter.opts[0] in result.stdout
        assert getattr(parameter, "help", None)


def test_help_lists_the_commands() -> None:
    result = pondflight("-h")
    assert result.exit_code == 0
    assert "...\n" not in result.stdout.partition("Commands:")[2]
    for command in ("serve", "worker", "token", "check"):
        assert f"\n  {command} " in result.stdout


def test_help_of_serve_lists_every_environment_variable() -> None:
    result = pondflight("serve", "--help")
    for key in ROOT.leaves():
        if key.env is not None:
            assert f"\n  {key.env.name} " in result.stdout
            assert f"[{key.name}]" in result.stdout


def test_version_is_that_of_the_package() -> None:
    assert pondflight("--version").stdout == f"pondflight, version {__version__}\n"


def test_command_line_is_light_to_import() -> None:
    code = "import sys, pondflight.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"pyarrow", "duckdb", "grpc", "pydantic", "jwt", "yaml", "structlog"}


def test_module_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pondflight", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"pondflight, version {__version__}\n"


# token


def test_token_is_printed_alone_and_is_valid() -> None:
    result = pondflight("token", "--sub", "alice", JWT_SECRET=SECRET)
    assert result.exit_code == 0
    identity = Tokens(SECRET).verify(result.stdout.removesuffix("\n"))
    assert (identity.sub, identity.admin) == ("alice", False)
    assert result.stderr == ""


@pytest.mark.parametrize(("ttl", "seconds"), [(None, 3600), ("90s", 90), ("24h", 86400)])
def test_token_is_valid_for_the_time_given(ttl: str | None, seconds: int) -> None:
    more = ["--ttl", ttl] if ttl else []
    result = pondflight("token", "--sub", "a", *more, JWT_SECRET=SECRET)
    claims = jwt.decode(result.stdout.strip(), SECRET, algorithms=["HS256"])
    assert claims["exp"] - claims["iat"] == seconds


def test_token_of_an_admin_says_so() -> None:
    result = pondflight("token", "--sub", "root", "--admin", JWT_SECRET=SECRET)
    assert Tokens(SECRET).verify(result.stdout.strip()).admin


def test_token_is_made_with_the_secret_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    result = pondflight("token", "--sub", "alice", JWT_SECRET_FILE=str(path))
    assert Tokens(SECRET).verify(result.stdout.strip()).sub == "alice"


def test_token_minds_no_other_setting() -> None:
    assert pondflight("token", "--sub", "a", JWT_SECRET=SECRET, PORT="x").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "error"),
    [
        (["--sub", "a"], {}, 2, "error: JWT_SECRET is not set: set it to at least 32"),
        (["--sub", "a"], {"JWT_SECRET": "x"}, 2, "error: JWT_SECRET: *** has 1 characters"),
        ([], {"JWT_SECRET": SECRET}, 2, "Missing option '--sub'"),
        (["--sub", ""], {"JWT_SECRET": SECRET}, 1, "error: not a user name"),
        (["--sub", "a", "--ttl", "60"], {"JWT_SECRET": SECRET}, 2, "'60' has no unit; accepted: a"),
        (["--sub", "a", "--ttl", "0s"], {"JWT_SECRET": SECRET}, 1, "error: a token must be valid"),
    ],
)
def test_token_that_cannot_be_made_is_explained(
    arguments: list[str], environ: dict[str, str], code: int, error: str
) -> None:
    result = pondflight("token", *arguments, **environ)
    assert result.exit_code == code
    assert error in result.stderr
    assert result.stdout == ""


# check


def test_check_prints_the_effective_settings_masked(config: Path) -> None:
    result = pondflight("check", "--config", config, JWT_SECRET=SECRET, GRPC_PORT="9001")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert SECRET not in result.stdout
    assert "hunter2" not in result.stdout
    settings = yaml.safe_load(result.stdout)
    assert list(settings) == list(ROOT.children)
    assert settings["server"]["port"] == 9000
    assert settings["server"]["grpc_port"] == 9001
    assert settings["security"]["jwt_secret"] == "***"


def test_check_warns_of_a_missing_secret(config: Path) -> None:
    result = pondflight("check", "--config", config)
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: JWT_SECRET is not set")


def test_check_ends_with_2_and_all_problems(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("server: {prot: 1, port: x}\nworkers: {backend: thread}")
    result = pondflight("check", "--config", config)
    assert result.exit_code == 2
    assert result.stdout == ""
    problems = result.stderr.splitlines()
    assert [problem.split(" ")[:2] for problem in problems] == [
        ["error:", "server.prot"],
        ["error:", "server.port:"],
        ["error:", "workers.backend:"],
    ]


def test_configuration_that_does_not_exist_is_named(tmp_path: Path) -> None:
    result = pondflight("check", "--config", tmp_path / "nope.yaml")
    assert result.exit_code == 2
    assert "nope.yaml' does not exist" in result.stderr


# serve


def test_serve_without_configuration_and_secret_is_the_demonstration(
    started: dict[str, Any],
) -> None:
    result = pondflight("serve")
    assert result.exit_code == 7
    assert started == {
        "args": (read(None, {}),),
        "zero_config": True,
        "with_caddy": None,
        "level": "info",
    }


def test_serve_demo_is_the_demonstration_whatever_is_configured(
    started: dict[str, Any], config: Path
) -> None:
    pondflight("serve", "--demo", JWT_SECRET=SECRET, WORKER_BACKEND="docker", PORT="9001")
    (loaded,) = started["args"]
    assert started["zero_config"] is True
    assert loaded.settings.workers.backend == "process"
    assert loaded.settings.server.port == 9001
    result = pondflight("serve", "--demo", "--config", config)
    assert result.exit_code == 2
    assert "leave out --config" in result.stderr


def test_serve_with_a_secret_alone_is_the_real_thing(started: dict[str, Any]) -> None:
    pondflight("serve", "--log-level", "debug", JWT_SECRET=SECRET)
    (loaded,) = started["args"]
    assert loaded.settings.security.jwt_secret.get_secret_value() == SECRET
    assert started["zero_config"] is False
    assert started["level"] == "debug"


def test_serve_with_a_configuration_reads_it(started: dict[str, Any], config: Path) -> None:
    pondflight("serve", "--config", config, JWT_SECRET=SECRET)
    (loaded,) = started["args"]
    assert loaded.settings.server.port == 9000
    assert started["zero_config"] is False


def test_serve_with_a_configuration_refuses_to_start_without_a_secret(
    started: dict[str, Any], config: Path
) -> None:
    result = pondflight("serve", "--config", config)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: JWT_SECRET is not set")
    assert "openssl rand -base64 32" in result.stderr
    assert "secrets.token_urlsafe(32)" in result.stderr
    assert started == {}


@pytest.mark.parametrize("secret", ["", "too short", "changeme" * 4])
def test_serve_refuses_a_secret_that_can_be_guessed(started: dict[str, Any], secret: str) -> None:
    result = pondflight("serve", JWT_SECRET=secret)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: JWT_SECRET: *** ")
    assert started == {}


# worker


def test_worker_is_started_with_its_options(started: dict[str, Any]) -> None:
    arguments = ["--credential-sha256", DIGEST.upper(), "--scratch", "scratch"]
    assert pondflight("worker", *arguments).exit_code == 7
    assert started == {
        "args": (),
        "listen": "grpc://127.0.0.1:0",
        "credential_sha256": DIGEST,
        "memory_limit": 512 << 20,
        "threads": 1,
        "scratch": Path("scratch"),
        "storage": None,
        "lifeline": False,
        "missing_walls": [],
        "orphan_timeout": 0.0,
        "level": "info",
    }


def test_worker_options_are_read(started: dict[str, Any], tmp_path: Path) -> None:
    pondflight(
        *("worker", "--credential-sha256", DIGEST, "--scratch", tmp_path, "--lifeline"),
        *("--listen", "grpc://0.0.0.0:9", "--memory-limit", "1g", "--threads", "3"),
    )
    assert started["listen"] == "grpc://0.0.0.0:9"
    assert started["memory_limit"] == 1 << 30
    assert started["threads"] == 3
    assert started["scratch"] == tmp_path
    assert started["lifeline"] is True


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "Missing option '--credential-sha256'"),
        (["--credential-sha256", "abc"], "not a SHA-256 in 64 hexadecimal digits"),
        (["--credential-sha256", DIGEST], "Missing option '--scratch'"),
        (["--memory-limit", "lots"], "'lots' is not a size; accepted: a size, such as 256k"),
        (["--threads", "0"], "0 is not in the range x>=1"),
    ],
)
def test_worker_with_wrong_options_does_not_start(
    started: dict[str, Any], arguments: list[str], error: str
) -> None:
    result = pondflight("worker", *arguments)
    assert result.exit_code == 2
    assert error in result.stderr
    assert started == {}


def test_longest_token_life_is_a_year() -> None:
    result = pondflight("token", "--sub", "a", "--ttl", "8761h", JWT_SECRET=SECRET)
    assert result.exit_code == 2
    assert timedelta(days=365) == timedelta(hours=8760)
