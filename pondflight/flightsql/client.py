"""The Flight client's side: a channel, and an action with one answer.

For our own servers only. A channel of ours never uses a forward proxy, whatever the environment
names (``http_proxy``, ``HTTPS_PROXY``): credentials, SQL and database passwords travel on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pyarrow import flight

from pondflight.flightsql.status import from_pyarrow

DIRECT = ("grpc.enable_http_proxy", 0)
"""The channel option, for pyarrow and grpcio alike, that keeps a forward proxy out."""


def open_client(
    location: str,
    *,
    channel: Sequence[tuple[str, int]] = (),
    tls: Mapping[str, bytes] = MappingProxyType({}),
) -> flight.FlightClient:
    """A Flight client for ``location``; nothing is sent yet.

    ``channel`` holds further gRPC options; ``tls`` what ``pyarrow.flight.FlightClient`` takes of
    certificates.
    """
    return flight.FlightClient(location, generic_options=[DIRECT, *channel], **tls)


def act(
    client: flight.FlightClient, kind: str, body: bytes, options: flight.FlightCallOptions
) -> bytes:
    """The one result of the action ``kind``. Raises a leaf of ``pondflight.errors``."""
    try:
        (result,) = client.do_action(flight.Action(kind, body), options)
    except Exception as error:
        raise from_pyarrow(error) from error
    answer: bytes = result.body.to_pybytes()
    return answer


def act_json(
    client: flight.FlightClient, kind: str, body: bytes, options: flight.FlightCallOptions
) -> dict[str, Any]:
    """Like ``act``, for actions whose result is a JSON object."""
    answer: dict[str, Any] = json.loads(act(client, kind, body, options))
    return answer
