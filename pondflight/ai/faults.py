"""Maps the exceptions of the providers' libraries to our errors.

Both libraries come from one generator, so their exceptions have the same shape: a status, or a
failed connection. A provider's own message is passed on only if it tells the caller what is wrong
with the request; any other could name the operator's account or key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from types import ModuleType
from typing import Protocol

from pondflight.control import Json
from pondflight.errors import (
    DeadlineExceeded,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    PondflightError,
    Unavailable,
)

_STATUS_OF_TYPE = {
    "rate_limit_error": HTTPStatus.TOO_MANY_REQUESTS,
    "rate_limit_exceeded": HTTPStatus.TOO_MANY_REQUESTS,
    "invalid_request_error": HTTPStatus.BAD_REQUEST,
    "authentication_error": HTTPStatus.UNAUTHORIZED,
    "permission_error": HTTPStatus.FORBIDDEN,
    "not_found_error": HTTPStatus.NOT_FOUND,
}
"""Errors in the middle of a stream have only a type; types not listed are the provider's fault."""

_RETRY_SECONDS = 5.0
_LONGEST_RETRY = 3600.0
_KEY = re.compile(r"\b(?:sk|key)-[\w*-]{4,}")
_MAX_WORDS = 300


class _Failure(Protocol):
    body: object


@contextmanager
def provider_errors(
    library: ModuleType, name: str, setting: str, *, in_the_middle: bool = False
) -> Iterator[None]:
    """Raise our errors in place of the exceptions of ``library``.

    ``name`` is the provider's name in messages, ``setting`` the setting that holds its key.
    ``in_the_middle``: an answer is being read, so a failed connection means that it was cut off.
    """
    import httpx2  # noqa: PLC0415  as heavy as the libraries that bring it

    try:
        yield
    except PondflightError:
        raise
    except (library.APITimeoutError, httpx2.TimeoutException):
        raise DeadlineExceeded(f"{name} did not answer in time (ai.timeout)") from None
    except library.APIStatusError as error:
        raise _of_status(error, error.status_code, name, setting) from None
    except library.APIConnectionError as error:
        if not in_the_middle:
            raise Unavailable(f"{name} cannot be reached", retry_after=_RETRY_SECONDS) from None
        raise cut_off(name) from error
    except library.APIError as error:  # in the middle of a stream
        raise _of_status(error, 0, name, setting) from None
    except (httpx2.HTTPError, httpx2.StreamError, OSError, ValueError, RuntimeError) as error:
        raise cut_off(name) from error


def cut_off(name: str) -> PondflightError:
    """Return the error for an answer that ended early."""
    return Unavailable(
        f"the answer of {name} broke off: it is incomplete",
        retry_after=_RETRY_SECONDS,
    )


def _of_status(error: _Failure, status: int, name: str, setting: str) -> PondflightError:
    if status < HTTPStatus.BAD_REQUEST:
        status = _STATUS_OF_TYPE.get(_type_of(error), HTTPStatus.INTERNAL_SERVER_ERROR)
    match status:
        case HTTPStatus.TOO_MANY_REQUESTS:
            return LimitExceeded(
                f"{name} takes no more requests for now: its rate limit is used up",
                retry_after=_retry_after(error),
            )
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN | HTTPStatus.PAYMENT_REQUIRED:
            return Unavailable(
                f"{name} refuses the key of this server: the operator sets {setting}"
            )
        case HTTPStatus.NOT_FOUND:
            return NotFound(f"{name} has no such model, or not for this server's key")
        case HTTPStatus.REQUEST_TIMEOUT | HTTPStatus.GATEWAY_TIMEOUT:
            return DeadlineExceeded(f"{name} did not answer in time")
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return InvalidArgument(f"{name} refuses the request: {_words(error)}")
    return Unavailable(
        f"{name} cannot answer for now: it is overloaded or has a fault",
        retry_after=_retry_after(error),
    )


def _body_of(error: _Failure) -> Json:
    body = error.body if isinstance(error.body, dict) else {}
    inner = body.get("error")
    return inner if isinstance(inner, dict) else body


def _type_of(error: _Failure) -> str:
    body = _body_of(error)
    return str(body.get("type") or body.get("code") or "")


def _words(error: _Failure) -> str:
    message = _body_of(error).get("message")
    if not isinstance(message, str):
        return "it does not say why"
    return _KEY.sub("***", " ".join(message.split()))[:_MAX_WORDS]


def _retry_after(error: object) -> float:
    """Return the seconds to wait: what the provider asks for, within limits, or 5.

    A date is ignored, since the provider's clock may differ from ours.
    """
    response = getattr(error, "response", None)
    value = response.headers.get("retry-after", "") if response is not None else ""
    try:
        return min(_LONGEST_RETRY, max(1.0, float(value)))
    except ValueError:
        return _RETRY_SECONDS
