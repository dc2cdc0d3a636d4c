"""What ``make run`` prints: where everything is, a token, and something to paste."""

from __future__ import annotations

import sys

import click

from pondflight import sample
from pondflight.settings import Settings

_TEXT = """
pondflight is running, with a sample database attached as {alias!r}.

  Flight SQL   grpc://{host}:{grpc_port}
  HTTP         http://{host}:{port}
  gRPC health  {host}:{health_port}

Demo token (user "demo", one hour):

{token}

Paste this into another shell:

{python} - <<'END'
from adbc_driver_flightsql import DatabaseOptions, dbapi

token = "{token}"
options = {{DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {{token}}"}}
with dbapi.connect("grpc://{host}:{grpc_port}", db_kwargs=options) as connection:
    with connection.cursor() as cursor:
        cursor.execute(\"\"\"
{query}
        \"\"\")
        print([column[0] for column in cursor.description])
        for row in cursor.fetchall():
            print(row)
END

Ctrl-C stops everything.
"""


def show(settings: Settings, token: str) -> None:
    """Print it."""
    server = settings.server
    click.echo(
        _TEXT.format(
            alias=sample.ALIAS,
            host="localhost" if server.host in ("0.0.0.0", "::") else server.host,  # noqa: S104
            grpc_port=server.grpc_port,
            port=server.port,
            health_port=server.health_port,
            token=token,
            python=sys.executable,
            query="\n".join(f"            {line}" for line in sample.QUERY.splitlines()),
        )
    )
