"""What ``make run`` prints: addresses, a token, and a snippet to paste."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import click

from pondflight.addresses import joined
from pondflight.serve import sample
from pondflight.settings import Settings

_TEXT = """
pondflight is running, with a sample database attached as {alias!r}.

  Flight SQL   grpc://{flight}
  HTTP         http://{http}
  gRPC health  {health}
{tls}
Token for the page at http://{http}/ and for every client (user "demo", one hour):

{token}

Token for the operators' console at http://{http}/console (one hour):

{admin_token}

Paste this into another shell:

{python} - <<'END'
{snippet}
END

Ctrl-C stops everything.
"""


_ADBC = """\
from adbc_driver_flightsql import DatabaseOptions, dbapi

token = "{token}"
options = {{DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {{token}}"}}
with dbapi.connect("grpc://{flight}", db_kwargs=options) as connection:
    with connection.cursor() as cursor:
        cursor.execute(\"\"\"
{query}
        \"\"\")
        print([column[0] for column in cursor.description])
        for row in cursor.fetchall():
            print(row)"""

_PYARROW = """\
from pyarrow import flight

token = "{token}"
options = flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {{token}}".encode())])
with flight.connect("grpc://{flight}") as client:
    query = flight.FlightDescriptor.for_command(\"\"\"
{query}
    \"\"\")
    info = client.get_flight_info(query, options)
    table = client.do_get(info.endpoints[0].ticket, options).read_all()
    print(table.column_names)
    for row in table.to_pylist():
        print(tuple(row.values()))"""

_TLS = """
With TLS, by Caddy, all on one port:

  Flight SQL   grpc+tls://{name}:{port}
  HTTP         https://{name}:{port}
  to trust     {ca}
"""


def show(settings: Settings, token: str, admin_token: str, ca: Path | None) -> None:
    """Print it. ``ca``: the certificate of Caddy's authority, if Caddy runs."""
    server = settings.server
    host = "localhost" if server.host in ("0.0.0.0", "::") else server.host  # noqa: S104
    snippet = _ADBC if importlib.util.find_spec("adbc_driver_flightsql") else _PYARROW
    click.echo(
        _TEXT.format(
            alias=sample.ALIAS,
            flight=joined(host, server.grpc_port),
            http=joined(host, server.port),
            health=joined(host, server.health_port),
            tls=""
            if ca is None
            else _TLS.format(name=settings.caddy.host, port=settings.caddy.port, ca=ca),
            token=token,
            admin_token=admin_token,
            python=sys.executable,
            snippet=snippet.format(
                token=token,
                flight=joined(host, server.grpc_port),
                query="\n".join(f"            {line}" for line in sample.QUERY.splitlines()),
            ),
        )
    )
