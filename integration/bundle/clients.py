"""Clients that reach a deployment through a reverse proxy."""

from __future__ import annotations

import subprocess
from typing import Any

from adbc_driver_flightsql import DatabaseOptions, dbapi
from pyarrow import flight

from integration.bundle.front import Front

ROOTS = DatabaseOptions.TLS_ROOT_CERTS.value
AUTHORIZATION = DatabaseOptions.AUTHORIZATION_HEADER.value


def connect(front: Front, sub: str = "ada", uri: str = "", **options: Any) -> dbapi.Connection:
    """Return an ADBC connection with a token; more ``db_kwargs`` may be added."""
    return dbapi.connect(
        uri or front.uri,
        db_kwargs={
            AUTHORIZATION: f"Bearer {front.deployment.token(sub)}",
            ROOTS: front.ca,
            **options.pop("db_kwargs", {}),
        },
        **options,
    )


def query(front: Front, sql: str, sub: str = "ada", **options: Any) -> list[tuple[Any, ...]]:
    """Return the rows of one statement, on a connection of its own."""
    with connect(front, sub, autocommit=True, **options) as connection:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def pyarrow_client(front: Front, **options: Any) -> flight.FlightClient:
    """Return a pyarrow client."""
    return flight.FlightClient(front.uri, **{"tls_root_certs": front.ca, **options})


def headers(front: Front, sub: str = "ada", **more: str) -> flight.FlightCallOptions:
    """Return the call options of a pyarrow client, with the token."""
    pairs = {"authorization": f"Bearer {front.deployment.token(sub)}", **more}
    return flight.FlightCallOptions(
        headers=[(name.encode(), value.encode()) for name, value in pairs.items()], timeout=60
    )


def read(
    client: flight.FlightClient, sql: str, options: flight.FlightCallOptions
) -> flight.FlightStreamReader:
    """Start a statement, with the SQL text as the command; return its stream."""
    info = client.get_flight_info(flight.FlightDescriptor.for_command(sql.encode()), options)
    return client.do_get(info.endpoints[0].ticket, options)


def curl(front: Front, path: str, *arguments: str) -> tuple[int, dict[str, str], str]:
    """Return status, headers (in lower case) and body of a request by curl."""
    done = subprocess.run(
        [
            *("curl", "-sS", "-i", "--max-time", "30", "--cacert", str(front.authority.cert)),
            *(*arguments, path if "://" in path else front.url + path),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
    while head.split()[1] == "100":  # the server asks for the body
        head, _, body = body.partition("\n\n")
    status, *lines = head.splitlines()
    pairs = (line.partition(":") for line in lines)
    return int(status.split()[1]), {k.lower(): v.strip() for k, _, v in pairs}, body
