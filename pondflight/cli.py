"""The command line: ``serve``, ``token``, ``check``, ``probe``, ``workers``, ``doctor`` and more.

Keep this module light to import: each command imports what it needs when it runs. ``worker`` starts
once per user, and the user waits for it, so it must not import what only ``serve`` needs.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pondflight import __version__
from pondflight.control import Walls
from pondflight.errors import ConfigError, PondflightError
from pondflight.ops.workers import workers
from pondflight.options import (
    CONFIG,
    FILE,
    LOG_LEVEL,
    DigestType,
    DurationType,
    SizeType,
    WallsType,
)

if TYPE_CHECKING:
    from pondflight.settings import Settings

BAD_USAGE = 2
"""Exit code for a mistake in the command line or the configuration."""

HOW_TO_SIGN = (
    "JWT_SECRET is not set: set it to at least 32 random characters, such as\n"
    '  export JWT_SECRET="$(openssl rand -base64 32)"\n'
    "or\n"
    "  export JWT_SECRET=\"$(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')\"\n"
    "or set JWT_SECRET_FILE to the name of a file that contains it"
)


class _Group(click.Group):
    """A group that prints our own errors as one line each on stderr, without a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            for problem in error.problems:
                click.echo(f"error: {problem}", err=True)
            ctx.exit(BAD_USAGE)
        except PondflightError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(1)


class _WithVariables(click.Command):
    """A command whose help ends with the environment variables of the settings."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from pondflight.settings.schema import ROOT

        super().format_epilog(ctx, formatter)
        rows = [
            (key.env.name, f"{key.description} [{key.name}]")
            for key in ROOT.leaves()
            if key.env is not None
        ]
        with formatter.section("Environment variables (they override the file)"):
            formatter.write_dl(rows)


_ADDRESSES = ("HOST", "PORT", "GRPC_PORT", "HEALTH_PORT", "CADDY_PORT")


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pondflight")
def main() -> None:
    """One Arrow Flight SQL address, and behind it a private DuckDB for every user."""


@main.command(cls=_WithVariables, short_help="Start the proxy.")
@CONFIG
@LOG_LEVEL
@click.option(
    "--caddy/--no-caddy",
    "with_caddy",
    default=None,
    help="Start Caddy in front, for TLS. Default: only in the demonstration.",
)
@click.option(
    "--demo",
    is_flag=True,
    help="Start the demonstration. It reads only addresses and ports from the environment.",
)
def serve(config: Path | None, log_level: str, *, with_caddy: bool | None, demo: bool) -> None:
    """Start the proxy: it serves Flight SQL, HTTP and health, and starts a worker for each user.

    Without a configuration file and without JWT_SECRET, it starts a demonstration with a generated
    secret and a small sample database. With either of them, or with workers in containers, it
    starts a real deployment, and refuses to do so without JWT_SECRET.

    With --caddy, and in the demonstration, Caddy runs in front and serves Flight SQL, HTTP and
    health with TLS on caddy.port. Caddy's certificate authority is created for this run, and
    clients have to trust it.

    Ctrl-C or SIGTERM stops the proxy. Workers stop with it, unless workers.keep_on_exit leaves
    containers running.
    """
    from pondflight.settings import find_file, read
    from pondflight.telemetry import logs

    if demo and config is not None:
        raise click.UsageError("--demo reads no configuration: leave out --config")
    if demo:
        config = None
        environ = {name: os.environ[name] for name in _ADDRESSES if name in os.environ}
        loaded = read(None, environ, look=True)
    else:
        config = config or find_file()
        loaded = read(config, look=True)
    settings = loaded.settings
    unsigned = settings.security.jwt_secret is None
    # Containers outlive the proxy, and only one with the same secret can adopt them.
    zero_config = unsigned and config is None and settings.workers.backend == "process"
    if unsigned and not zero_config:
        raise ConfigError([HOW_TO_SIGN])
    logs.configure(log_level)
    from pondflight.serve.run import run

    sys.exit(run(loaded, zero_config=zero_config, with_caddy=with_caddy))


@main.command(short_help="Run one user's DuckDB (started by a backend).")
@click.option(
    "--listen",
    default="grpc://127.0.0.1:0",
    show_default=True,
    metavar="URI",
    help="Where to listen; port 0 picks a free port.",
)
@click.option(
    "--credential-sha256",
    type=DigestType(),
    required=True,
    metavar="HEX",
    help="SHA-256 of the one credential that is accepted.",
)
@click.option(
    "--memory-limit",
    type=SizeType(),
    default="512m",
    show_default=True,
    metavar="SIZE",
    help="Memory that DuckDB may use.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Threads that DuckDB may use.",
)
@click.option(
    "--scratch",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Directory for data that does not fit into memory.",
)
@click.option(
    "--storage",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Directory for the user's own tables, which then outlive the worker.",
)
@click.option(
    "--walls",
    type=WallsType(),
    default="{}",
    metavar="JSON",
    help="What the worker may reach besides its directories. Default: it is not confined.",
)
@click.option(
    "--lifeline",
    is_flag=True,
    help="Stop when standard input is closed. The starting process holds the other end.",
)
@click.option(
    "--orphan-timeout",
    type=DurationType(),
    default="0s",
    metavar="DURATION",
    help="Stop when no proxy has called for this long; 0s: never.",
)
@LOG_LEVEL
def worker(  # noqa: PLR0913 - one for each option
    *,
    listen: str,
    credential_sha256: str,
    memory_limit: int,
    threads: int,
    scratch: Path,
    storage: Path | None,
    walls: Walls,
    lifeline: bool,
    orphan_timeout: timedelta,
    log_level: str,
) -> None:
    """Run one user's private DuckDB. Backends start this command; you need not."""
    from pondflight.telemetry import logs

    logs.configure(log_level)
    from pondflight.engine.guards.confinement import CannotConfine, enclose

    try:
        missing = enclose(walls, listen, scratch, storage, memory_limit)
    except CannotConfine as error:
        raise ConfigError([str(error)]) from None
    # What is imported here starts threads, for which the walls must be up.
    from pondflight.engine.main import run

    sys.exit(
        run(
            listen=listen,
            credential_sha256=credential_sha256,
            memory_limit=memory_limit,
            threads=threads,
            scratch=scratch,
            storage=storage,
            lifeline=lifeline,
            orphan_timeout=orphan_timeout.total_seconds(),
            missing_walls=missing,
        )
    )


@main.command(short_help="Print a token for a user.")
@click.option("--sub", required=True, metavar="NAME", help="The user the token is for.")
@click.option(
    "--ttl",
    type=DurationType(),
    default="1h",
    show_default=True,
    metavar="DURATION",
    help="How long the token is valid.",
)
@click.option("--admin", is_flag=True, help="Make it an administrator's token.")
def token(sub: str, ttl: timedelta, *, admin: bool) -> None:
    """Print a token (a JWT) for a user, signed with JWT_SECRET or JWT_SECRET_FILE."""
    from pondflight.auth.tokens import Tokens
    from pondflight.settings import load

    # Read only the secret from the environment: other settings, or mistakes in them, do not matter.
    names = ("JWT_SECRET", "JWT_SECRET_FILE")
    secret = load(
        environ={name: os.environ[name] for name in names if name in os.environ}
    ).security.jwt_secret
    if secret is None:
        raise ConfigError([HOW_TO_SIGN])
    click.echo(Tokens(secret.get_secret_value()).mint(sub, ttl, admin=admin))


@main.command(short_help="Ask a server whether it is serving.")
@click.argument("address", required=False, metavar="[ADDRESS]")
@click.option(
    "--service",
    default="",
    metavar="NAME",
    help="Service to ask about, such as arrow.flight.protocol.FlightService. Default: the server.",
)
@click.option("--watch", is_flag=True, help="Print the status, and again whenever it changes.")
@click.option(
    "--timeout",
    type=DurationType(),
    default="5s",
    show_default=True,
    metavar="DURATION",
    help="How long to wait for an answer.",
)
@click.option("--ca", type=FILE, metavar="FILE", help="CA that signed the server's certificate.")
@click.option("--cert", type=FILE, metavar="FILE", help="Client certificate.")
@click.option("--key", type=FILE, metavar="FILE", help="Key of the client certificate.")
@click.option("--server-name", metavar="NAME", help="Name expected in the server's certificate.")
def probe(
    *,
    address: str | None,
    service: str,
    watch: bool,
    timeout: timedelta,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    server_name: str | None,
) -> None:
    """Ask the gRPC health service at ADDRESS and print its status.

    ADDRESS is host:port or grpc://host:port, or grpc+tls://host:port for TLS. The default is
    127.0.0.1 and HEALTH_PORT. The exit code is 0 if the status is SERVING and 1 otherwise, as
    Docker's HEALTHCHECK expects.
    """
    from pondflight.ops import probe as client
    from pondflight.settings import load

    if address is None:
        names = {name: value for name, value in os.environ.items() if name == "HEALTH_PORT"}
        address = f"127.0.0.1:{load(environ=names).server.health_port}"
    target = client.Target.parse(address, ca=ca, certificate=cert, key=key, server_name=server_name)
    seconds = timeout.total_seconds()
    if watch:
        for status in client.watch(target, service, seconds):
            click.echo(status)
        sys.exit(1)
    status = client.check(target, service, seconds)
    click.echo(status)
    sys.exit(status != client.SERVING)


@main.command(short_help="Validate the settings and print them.")
@CONFIG
def check(config: Path | None) -> None:
    """Validate the settings and print the effective ones, with secrets masked.

    If there are mistakes, it lists all of them and exits with code 2.
    """
    import yaml

    from pondflight import tls
    from pondflight.settings import find_file, read

    loaded = read(config or find_file(), look=True)
    settings: Settings = loaded.settings
    tls.load(settings.server.tls.cert, settings.server.tls.key)
    click.echo(yaml.safe_dump(settings.masked(), sort_keys=False, allow_unicode=True), nl=False)
    if settings.security.jwt_secret is None:
        click.echo(f"warning: {HOW_TO_SIGN}", err=True)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)


@main.command(short_help="Diagnose problems.")
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def doctor(config: Path | None, *, as_json: bool) -> None:
    """Find out what keeps pondflight from working here, and say what to do about it.

    It checks the ports, the memory, Docker (its socket, the daemon, the image, the network),
    starting a worker, and each attached database, both from this host and from inside a worker.

    The exit code is 1 if anything fails, and 2 if the configuration is wrong.
    """
    from pondflight.settings import find_file, load

    settings = load(config or find_file())
    from pondflight.ops import findings
    from pondflight.ops.doctor import examine

    found = []
    for finding in examine(settings):
        found.append(finding)
        if not as_json:
            click.echo(findings.as_text(finding))
    if as_json:
        click.echo(findings.as_json(found))
    sys.exit(0 if findings.all_well(found) else 1)


main.add_command(workers)
