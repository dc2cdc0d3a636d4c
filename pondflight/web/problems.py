"""Problem documents (RFC 9457): the one format of errors over HTTP.

Every answer of 400 and above is one, whether from the app, or from the loop that reads requests and
refuses what never reaches the app.
"""

from __future__ import annotations

import json
import math
import re
from http import HTTPStatus
from typing import Final

from pondflight.errors import (
    Cancelled,
    InvalidArgument,
    LimitExceeded,
    NotSupported,
    PondflightError,
    Unauthenticated,
    Unavailable,
)
from pondflight.web.position import position_of

MEDIA_TYPE: Final = "application/problem+json"

_TYPE: Final = "urn:pondflight:problem:"
_STATEMENTS_FAULT: Final = (InvalidArgument, NotSupported)
_SQL_ERROR: Final = re.compile(r"(?:[A-Z]\w*|INTERNAL|TransactionContext)(?: [\w ]+)? Error: ")


class ProblemError(Exception):
    """Raised to answer with a problem document."""

    def __init__(self, document: dict[str, object]) -> None:
        super().__init__(document["detail"])
        self.document = document


def problem(
    status: int, detail: str, *, kind: str = "", title: str = "", **members: object
) -> dict[str, object]:
    """Return a problem document; ``kind`` names its type, without one the status says it all."""
    return {
        "type": f"{_TYPE}{kind}" if kind else "about:blank",
        "title": title or phrase(status),
        "status": status,
        "detail": detail,
        **members,
    }


def of_error(error: PondflightError, sql: str | None = None) -> dict[str, object]:
    """Return the problem document for ``error``; DuckDB may have refused the text ``sql``."""
    members: dict[str, object] = {}
    if isinstance(error, Unavailable) and error.retry_after is not None:
        members["retry_after"] = math.ceil(error.retry_after)
    if isinstance(error, LimitExceeded):
        return problem(429, error.message, kind="limit-exceeded", title="Limit exceeded", **members)
    if isinstance(error, Unauthenticated):
        text = "send a valid, unexpired token as 'Authorization: Bearer <JWT>'"
        return problem(401, text, kind="unauthenticated", title="Authentication failed")
    if isinstance(error, Cancelled):
        # Whoever reads this is still connected: somebody else ended the statement.
        return problem(503, error.message, kind="cancelled", title="Statement cancelled")
    if sql is not None and isinstance(error, _STATEMENTS_FAULT) and _SQL_ERROR.match(error.message):
        position = position_of(error.message, sql)
        if position is not None:
            members["position"] = position
        return problem(400, error.message, kind="sql", title="SQL error", **members)
    return problem(error.http, error.message) | members


def headers_of(document: dict[str, object]) -> dict[str, str]:
    """Return the headers that go with a problem document."""
    headers = {"cache-control": "no-store"}
    if document["status"] == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if "retry_after" in document:
        headers["retry-after"] = str(document["retry_after"])
    return headers


def encode(document: dict[str, object]) -> bytes:
    """Encode a problem document as JSON."""
    return json.dumps(document).encode()


def phrase(status: int) -> str:
    """Return the reason phrase of a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
