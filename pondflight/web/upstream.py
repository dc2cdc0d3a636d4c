"""The proxy, as the HTTP app sees it: a Flight server that it is an administrator of."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from pyarrow import flight

from pondflight import control
from pondflight.errors import PondflightError
from pondflight.flightsql.status import from_pyarrow
from pondflight.tokens import Tokens

_SUBJECT = "pondflight-web"
_SECONDS = 2.0


class Upstream:
    """One connection to the proxy, shared by all threads."""

    def __init__(self, location: str, secret: str, certificate: dict[str, str] | None) -> None:
        options = {}
        if certificate is not None:
            # The proxy's own certificate is all that is trusted, whoever has signed it.
            options = {
                "tls_root_certs": certificate["chain"],
                "override_hostname": certificate["name"],
            }
        self._client = flight.FlightClient(location, **options)
        self._tokens = Tokens(secret)

    def ready(self) -> bool:
        """Whether the proxy takes statements."""
        try:
            return bool(self.pool_status()["ready"])
        except PondflightError:
            return False

    def pool_status(self) -> dict[str, Any]:
        """``control.POOL_STATUS``."""
        token = self._tokens.mint(_SUBJECT, timedelta(minutes=1), admin=True)
        options = flight.FlightCallOptions(
            timeout=_SECONDS, headers=[(b"authorization", f"Bearer {token}".encode())]
        )
        try:
            action = flight.Action(control.POOL_STATUS, b"")
            (result,) = self._client.do_action(action, options)
        except Exception as error:
            raise from_pyarrow(error) from error
        status: dict[str, Any] = json.loads(result.body.to_pybytes())
        return status
