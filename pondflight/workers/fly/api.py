"""Fly.io's Machines API for the backend: JSON, with time limits and a circuit breaker.

An app may make about one call a second of each kind. A call that comes too soon (429) waits here
and is tried again; it does not count as a failure of the API.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from pondflight.control import Json
from pondflight.workers.backends.base import BackendUnreachable
from pondflight.workers.circuit import Circuit

CALL_SECONDS = 10.0
_PATIENCE = 8.0
_CONNECTIONS = 32
_CLIENT_ERRORS = range(400, 500)


class ApiError(Exception):
    """The API refused; ``message`` is its explanation."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Access:
    """The app of the workers, the API's address, and a token that may manage the app."""

    app: str
    token: str = field(repr=False)
    url: str = "https://api.machines.dev"


class _Bearer(AuthBase):
    """Sends the token; a plain header would give way to a ``.netrc``."""

    def __init__(self, token: str) -> None:
        self._value = f"Bearer {token}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._value
        return request


class FlyApi:
    """The Machines of one app; times in seconds."""

    def __init__(
        self, access: Access, *, timeout: float = CALL_SECONDS, circuit: Circuit | None = None
    ) -> None:
        self.app = access.app
        self._url = f"{access.url}/v1/apps/{quote(access.app, safe='')}"
        self._name = f"Fly.io's Machines API at {access.url}"
        self._timeout = timeout
        self._circuit = circuit or Circuit()
        self._session = requests.Session()
        self._session.auth = _Bearer(access.token)
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))

    @property
    def reachable(self) -> bool:
        """Return whether calls succeed, as far as is known."""
        return self._circuit.closed

    # -- calls --------------------------------------------------------------------------------

    def look_at_app(self) -> None:
        """Raise ``ApiError`` (404) if there is no such app."""
        self._call("GET", "")

    def create(self, body: Json) -> Json:
        """Create a Machine."""
        made: Json = self._call("POST", "/machines", body=body)
        return made

    def machines(self, metadata: dict[str, str]) -> list[Json]:
        """Return the Machines that have all of ``metadata``, except destroyed ones.

        They are filtered here again: an API with another name for the filter would list all.
        """
        query = {f"metadata.{key}": value for key, value in metadata.items()}
        found: list[Json] = self._call("GET", "/machines", query=query) or []
        return [
            machine
            for machine in found
            if metadata.items() <= metadata_of(machine).items()
            and machine.get("state") != "destroyed"
        ]

    def find(self, machine: str) -> Json | None:
        """Return a Machine by its id; None if there is none, or it was destroyed."""
        try:
            found: Json = self._call("GET", _path(machine))
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return None if found.get("state") == "destroyed" else found

    def launch(self, machine: str) -> None:
        """Start a Machine that was created without being launched."""
        self._call("POST", f"{_path(machine)}/start")

    def destroy(self, machine: str) -> None:
        """End a Machine and remove it; it may be gone already."""
        try:
            self._call("DELETE", _path(machine), query={"force": "true"})
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def wait(self, machine: str, state: str, seconds: float) -> bool:
        """Wait until the Machine is in ``state`` (started, destroyed); False after ``seconds``."""
        timeout = max(1, round(seconds))
        try:
            self._call(
                "GET",
                f"{_path(machine)}/wait",
                query={"state": state, "timeout": str(timeout)},
                seconds=timeout + self._timeout,
            )
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return state == "destroyed"
            if error.status == HTTPStatus.REQUEST_TIMEOUT:
                return False
            raise
        return True

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    # -- inside -------------------------------------------------------------------------------

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Json | None = None,
        seconds: float = 0.0,
    ) -> Any:
        """Make one call; return the JSON of its answer, None if that is empty.

        Raises ``ApiError`` if the API refuses; ``BackendUnreachable`` if it does not answer, is
        broken, takes no more calls for now, or does not accept the token.
        """
        deadline, pause = time.monotonic() + _PATIENCE, 0.5
        while True:
            try:
                with self._circuit.call(self._name):
                    response = self._session.request(
                        method,
                        f"{self._url}{path}",
                        params=query,
                        json=body,
                        timeout=(self._timeout, seconds or self._timeout),
                        allow_redirects=False,
                    )
                    self._require_answer(response)
            except requests.RequestException as error:
                raise BackendUnreachable(self._why(error)) from error
            if response.status_code != HTTPStatus.TOO_MANY_REQUESTS:
                break
            if time.monotonic() > deadline:
                raise BackendUnreachable(
                    f"{self._name} takes no more calls for the app {self.app} for now"
                )
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
            pause *= 1.5
        if response.status_code in _CLIENT_ERRORS:
            raise ApiError(response.status_code, _said(response))
        return _json(response)

    def _require_answer(self, response: requests.Response) -> None:
        status = response.status_code
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise BackendUnreachable(
                f"{self._name} does not accept the token (fly.token, FLY_API_TOKEN) for the app "
                f"{self.app}: {_said(response)}"
            )
        if response.is_redirect or (not response.ok and status not in _CLIENT_ERRORS):
            raise BackendUnreachable(f"{self._name} answers {status}: {_said(response)}")

    def _why(self, error: requests.RequestException) -> str:
        if isinstance(error, requests.Timeout):
            return f"{self._name} did not answer within {self._timeout:g} s"
        return f"{self._name} cannot be reached"


def metadata_of(machine: Json) -> dict[str, str]:
    """Return the metadata of a Machine; empty if it has none.

    If its host does not answer, its configuration is what could be gathered elsewhere.
    """
    config = machine.get("config") or machine.get("incomplete_config") or {}
    return config.get("metadata") or {}


def _path(machine: str) -> str:
    return f"/machines/{quote(machine, safe='')}"


def _json(response: requests.Response) -> Any:
    if not response.content:
        return None
    try:
        return response.json()
    except ValueError:
        raise BackendUnreachable(
            "Fly.io's Machines API answers something that is not JSON"
        ) from None


def _said(response: requests.Response) -> str:
    """Return the explanation in an error response."""
    try:
        found = response.json()
        text = str(found.get("error") or found.get("message") or "")
    except (ValueError, AttributeError):
        text = response.text
    return " ".join(text.split())[:300]
