"""``pondflight workers``: list, show and stop them, through the proxy."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pondflight.control import Json
from pondflight.errors import ConfigError

if TYPE_CHECKING:
    from pondflight.ops.client import AdminClient

_TOKEN_SECONDS = 10.0
_SUBJECT = "pondflight-cli"
_ID = 12
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_MB = 1 << 20
_WIDEST = 40
"""Characters of a user's name in the table."""

_HOW_TO_SIGN = (
    "no token: give --token (`pondflight token --sub NAME --admin` prints one), or set JWT_SECRET "
    "to the same value as the proxy"
)
_HEADER = ("ID", "USER", "STATE", "AGE", "IDLE", "MEMORY", "CPU", "STATEMENTS")

Options = Callable[[Callable[..., None]], Callable[..., None]]


def _connection(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all the commands have."""
    options: Sequence[Options] = (
        click.option(
            "--url",
            envvar="PONDFLIGHT_URL",
            default="grpc://127.0.0.1:8081",
            show_default=True,
            show_envvar=True,
            help="Flight SQL address of the proxy; grpc+tls:// for TLS.",
        ),
        click.option(
            "--token",
            envvar="PONDFLIGHT_TOKEN",
            show_envvar=True,
            metavar="JWT",
            help="An administrator's token. Default: one made with JWT_SECRET.",
        ),
        click.option(
            "--tls-ca",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Certificates to trust, instead of the system's.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group(short_help="List, show and stop workers.")
def workers() -> None:
    """List, show and stop the workers of a running proxy, as an administrator."""


@workers.command("list", short_help="List all workers.")
@_connection
def list_workers(*, url: str, token: str | None, tls_ca: Path | None, as_json: bool) -> None:
    """List all workers, oldest first."""
    found = _client(url, token, tls_ca).workers()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [_HEADER, *(_row(worker) for worker in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


@workers.command(short_help="Show one worker and its last log lines.")
@click.argument("worker")
@_connection
def show(*, worker: str, url: str, token: str | None, tls_ca: Path | None, as_json: bool) -> None:
    """Show one worker (by id, name or user) and its last log lines."""
    found = _client(url, token, tls_ca).worker(worker)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for name, value in found["worker"].items():
        click.echo(f"{name + ':':<10} {_printable('-' if value is None else str(value))}")
    click.echo("log:")
    for line in found["log"]:
        click.echo(f"  {_printable(line)}")


@workers.command(short_help="Stop one worker.")
@click.argument("worker")
@click.option("--force", is_flag=True, help="Stop it even if a statement is running.")
@_connection
def stop(
    *,
    worker: str,
    force: bool,
    url: str,
    token: str | None,
    tls_ca: Path | None,
    as_json: bool,
) -> None:
    """Stop one worker (by id, name or user). Its in-memory data is lost."""
    was = _client(url, token, tls_ca).stop(worker, force=force)
    if as_json:
        click.echo(json.dumps(was, indent=2))
    else:
        click.echo(f"stopping {was['id'][:_ID] or was['name']} of {_user(was)}")


def _client(url: str, token: str | None, tls_ca: Path | None) -> AdminClient:
    from pondflight.ops.client import AdminClient  # noqa: PLC0415 - pyarrow takes its time

    return AdminClient(url, _own_tokens() if token is None else lambda _: token, tls_ca)


def _own_tokens() -> Callable[[str], str]:
    """Return a function that signs a token for an action with this machine's secret."""
    from pondflight.auth.tokens import Tokens  # noqa: PLC0415
    from pondflight.settings import load  # noqa: PLC0415

    # Read only the secret from the environment: other settings, or mistakes in them, do not matter.
    names = ("JWT_SECRET", "JWT_SECRET_FILE")
    environ = {name: os.environ[name] for name in names if name in os.environ}
    secret = load(environ=environ).security.jwt_secret
    if secret is None:
        raise ConfigError([_HOW_TO_SIGN])
    tokens = Tokens(secret.get_secret_value())
    return lambda action: tokens.mint_call(_SUBJECT, action, _TOKEN_SECONDS)


def _row(worker: Json) -> tuple[str, ...]:
    memory, cpu, idle = worker["memory"], worker["cpu"], worker["idle"]
    return (
        worker["id"][:_ID] or "-",
        _clipped(_user(worker)),
        worker["state"] + (" (outdated)" if worker["outdated"] else ""),
        _span(worker["age"]),
        "-" if idle is None else _span(idle),
        "-" if memory is None else f"{memory / _MB:.0f} MB",
        "-" if cpu is None else f"{cpu:.2f}",
        str(worker["running"]),
    )


def _user(worker: Json) -> str:
    """Return the user, or ``(key)`` if the name is unknown, or ``(warm)`` if unclaimed."""
    if worker["user"]:
        return _printable(worker["user"])
    return f"({worker['key'][:_ID]})" if worker["key"] else "(warm)"


def _clipped(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _span(seconds: float) -> str:
    """Format a time span in its two largest units, such as ``3h12m``."""
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR:02}h"


def _printable(text: str) -> str:
    """Escape control and invisible characters, which could disturb a terminal."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
