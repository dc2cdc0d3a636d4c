"""The Flight client: a channel, and an action with one answer. For our own servers only.

Our channels never use a forward proxy, whatever the environment names (``http_proxy``,
``HTTPS_PROXY``): they carry credentials, SQL and database passwords.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from pyarrow import flight

from pondflight.flightsql.status import from_pyarrow

DIRECT = ("grpc.enable_http_proxy", 0)
"""The channel option, for pyarrow and grpcio alike, that prevents the use of a forward proxy."""


class HeaderListener(flight.ClientMiddlewareFactory):
    """Middleware that calls ``on_value`` with each value of one response header."""

    def __init__(self, header: str, on_value: Callable[[str], None]) -> None:
        super().__init__()
        self._header = header
        self._on_value = on_value

    def start_call(self, info: flight.CallInfo) -> flight.ClientMiddleware:
        """Listen to the answer of a call."""
        return _Listener(self._header, self._on_value)


class _Listener(flight.ClientMiddleware):
    def __init__(self, header: str, on_value: Callable[[str], None]) -> None:
        super().__init__()
        self._header = header
        self._on_value = on_value

    def received_headers(self, headers: Mapping[str, list[str]]) -> None:
        for value in headers.get(self._header, ()):
            self._on_value(value)


def open_client(
    location: str,
    *,
    channel: Sequence[tuple[str, int]] = (),
    tls: Mapping[str, bytes] = MappingProxyType({}),
    middleware: Sequence[flight.ClientMiddlewareFactory] = (),
) -> flight.FlightClient:
    """Return a Flight client for ``location``; nothing is sent yet.

    ``channel`` holds further gRPC options, ``tls`` the arguments of ``pyarrow.flight.FlightClient``
    for certificates; ``middleware`` sees the headers of each call.
    """
    return flight.FlightClient(
        location, generic_options=[DIRECT, *channel], middleware=list(middleware), **tls
    )


def act(
    client: flight.FlightClient, kind: str, body: bytes, options: flight.FlightCallOptions
) -> bytes:
    """Return the one result of the action ``kind``. Raises an error of ``pondflight.errors``."""
    try:
        (result,) = client.do_action(flight.Action(kind, body), options)
    except Exception as error:
        raise from_pyarrow(error) from error
    answer: bytes = result.body.to_pybytes()
    return answer


def act_json(
    client: flight.FlightClient, kind: str, body: bytes, options: flight.FlightCallOptions
) -> dict[str, object]:
    """Return the JSON object that is the one result of the action ``kind``."""
    answer: dict[str, object] = json.loads(act(client, kind, body, options))
    return answer
