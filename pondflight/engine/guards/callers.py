"""Who calls a worker: only the proxy, with the worker's credential, for a session of its user."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pondflight import control
from pondflight.errors import Unauthenticated
from pondflight.flightsql import calls
from pondflight.flightsql.calls import Headers


@dataclass(frozen=True, slots=True)
class WorkerCall:
    """What the proxy's headers say about a call."""

    session: str
    offer: str | None
    call_id: str | None
    query_only: bool = False
    wants_promise: bool = False
    fetched: tuple[str, ...] = ()
    """The ids of promised rows that were fetched since the proxy's last call."""
    statements: int | None = None
    """How many statements it may run; ``None``: any number."""
    action: str | None = None
    """The action that it is, in place of GetFlightInfo."""

    @property
    def proxy(self) -> str:
        """Return the id of the proxy that relays the call; siblings have one together."""
        return (self.call_id or "").rpartition("-")[0].partition(".")[0]


Call: TypeAlias = calls.Call[WorkerCall]


class CredentialCheck:
    """Accepts whoever has the worker's credential, of which the worker knows only the SHA-256."""

    def __init__(self, credential_sha256: str) -> None:
        self._digest = credential_sha256.lower().encode()
        self.last_heard = time.monotonic()

    def authenticate(self, method: str, headers: Headers) -> WorkerCall:
        """Return the caller: the pool or the proxy. Raises ``Unauthenticated`` for any other."""
        bearer = (headers.get("authorization") or [""])[0]
        scheme, _, credential = bearer.partition(" ")
        digest = hashlib.sha256(credential.encode()).hexdigest().encode()
        if scheme.lower() != "bearer" or not hmac.compare_digest(digest, self._digest):
            raise Unauthenticated
        self.last_heard = time.monotonic()
        return WorkerCall(
            session=_first(headers, control.SESSION_HEADER) or "",
            offer=_first(headers, control.OFFER_HEADER),
            call_id=_first(headers, control.CALL_HEADER),
            query_only=control.QUERY_HEADER in headers,
            wants_promise=control.PROMISE_HEADER in headers,
            fetched=tuple(filter(None, (_first(headers, control.FETCHED_HEADER) or "").split(","))),
            statements=_number(_first(headers, control.STATEMENTS_HEADER)),
            action=_first(headers, control.ACTION_HEADER),
        )

    def response_headers(
        self, method: str, headers: Headers, identity: WorkerCall
    ) -> Mapping[str, str]:
        """Return no headers: a worker's only client is the proxy."""
        return {}


def _first(headers: Headers, name: str) -> str | None:
    values = headers.get(name)
    return values[0] if values else None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
