"""The Kubernetes API for the backend: plain JSON, with time limits and a circuit breaker.

The official client reads kubeconfig files and service account tokens, renews credentials and does
TLS. Its models are not used: a list of ten thousand pods would become millions of objects.
"""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from pondflight.control import Json
from pondflight.workers.backends.base import BackendUnreachable
from pondflight.workers.circuit import Circuit

CALL_SECONDS = 10.0
_CONNECTIONS = 64
_SKEW_SECONDS = 3.0
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS})
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_MERGE = "application/merge-patch+json"
_PATCH = "application/json-patch+json"


class ApiError(Exception):
    """The API server refused; ``reason`` is its word for it (``AlreadyExists``), if any."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Access:
    """How the API server is found.

    ``kubeconfig``  a file; None: the pod that this runs in, else the usual file of ``kubectl``
    ``context``     one of that file; empty: its current one
    ``namespace``   of the workers; empty: that of the pod or of the context
    """

    kubeconfig: Path | None = None
    context: str = ""
    namespace: str = ""


@dataclass(slots=True)
class _Connection:
    client: Any
    namespace: str
    host: str = field(default="")


class KubernetesApi:
    """A connection to an API server, made when it is first needed; times in seconds."""

    def __init__(
        self,
        access: Access | None = None,
        *,
        timeout: float = CALL_SECONDS,
        circuit: Circuit | None = None,
    ) -> None:
        self._access = access or Access()
        self._timeout = timeout
        self._circuit = circuit or Circuit()
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        self.calls = 0
        """The number of calls made, for measurements."""
        self.skew = 0.0
        """Seconds that this host's clock is ahead of the server's, as far as they matter."""

    @property
    def reachable(self) -> bool:
        """Return whether calls succeed, as far as is known."""
        return self._circuit.closed

    @property
    def namespace(self) -> str:
        """Return the namespace of the workers. Raises ``BackendUnreachable``."""
        return self._access.namespace or self._connected().namespace

    def path(self, kind: str, name: str = "", *, group: str = "api/v1") -> str:
        """Return the path of an object in the namespace, or of all of ``kind``."""
        base = f"/{group}/namespaces/{self.namespace}/{kind}"
        return f"{base}/{name}" if name else base

    # -- calls --------------------------------------------------------------------------------

    def get(self, path: str, **query: str | int) -> Json:
        """Return an object or a list."""
        return self._json("GET", path, query=query)

    def find(self, path: str) -> Json | None:
        """Return an object; None if there is none."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def create(self, path: str, body: Json, **query: str) -> Json:
        """Create an object; return it as the server stores it."""
        return self._json("POST", path, body=body, query=query)

    def patch(self, path: str, operations: list[Json]) -> Json:
        """Apply a JSON patch: all of it, or nothing if one of its tests fails (422)."""
        return self._json("PATCH", path, body=operations, content_type=_PATCH)

    def merge(self, path: str, body: Json) -> Json:
        """Apply a merge patch."""
        return self._json("PATCH", path, body=body, content_type=_MERGE)

    def replace(self, path: str, body: Json) -> Json:
        """Replace the object whose ``resourceVersion`` is in ``body``."""
        return self._json("PUT", path, body=body)

    def delete(self, path: str, *, uid: str = "", grace: int | None = None) -> bool:
        """Delete an object; return False if there was none, or only another one by that name."""
        body: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            body["preconditions"] = {"uid": uid}
        if grace is not None:
            body["gracePeriodSeconds"] = grace  # as a parameter, it is ignored beside a body
        try:
            self._json("DELETE", path, body=body)
        except ApiError as error:
            if error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
                return False
            raise
        return True

    def text(self, path: str, **query: str | int) -> str:
        """Return something that is not JSON, such as a log."""
        data: bytes = self._call("GET", path, query=query, accept="*/*").data
        return data.decode("utf-8", "replace")

    def events(self, path: str, *, seconds: int, **query: str | int) -> Iterator[Json]:
        """Watch a list until the server ends that, after at most ``seconds``.

        A watch that breaks counts neither for nor against the server.
        """
        query = {"watch": 1, "timeoutSeconds": seconds, "allowWatchBookmarks": "true", **query}
        response = self._call("GET", path, query=query, seconds=seconds + self._timeout)
        try:
            left = b""
            for chunk in response.stream(1 << 16, decode_content=True):
                *lines, left = (left + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        event: Json = json.loads(line)
                        yield event
        except (urllib3.exceptions.HTTPError, OSError, ValueError):
            return
        finally:
            response.close()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.client.close()

    # -- inside -------------------------------------------------------------------------------

    def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> Json:
        response = self._call(method, path, query=query, body=body, content_type=content_type)
        return _decoded(response.data)

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: object = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        seconds: float | None = None,
    ) -> Any:
        """Make one call; return a ``urllib3`` response with status 2xx, unread for a watch.

        Raises ``ApiError`` if the server refuses; ``BackendUnreachable`` if it does not answer, is
        overloaded or broken, or does not recognise the caller.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            with self._circuit.call("the Kubernetes API server"):
                response = self._send(method, target, headers, body, seconds)
                if response.status == HTTPStatus.UNAUTHORIZED:
                    # A token that has expired may have a successor by now.
                    self.close()
                    response = self._send(method, target, headers, body, seconds)
                _require_answer(response)
        except (ApiException, urllib3.exceptions.HTTPError, OSError) as error:
            raise BackendUnreachable(self._why(error)) from error
        if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            raise _refusal(response)
        return response

    def _send(
        self, method: str, target: str, headers: Json, body: object, seconds: float | None
    ) -> Any:
        connection = self._connected()
        settings = connection.client.configuration
        auth = {one["key"]: one["value"] for one in settings.auth_settings().values()}
        self.calls += 1
        sent = connection.client.rest_client.request(
            method,
            f"{settings.host}{target}",
            headers={**headers, **auth},
            body=body,
            _request_timeout=(self._timeout, seconds or self._timeout),
        )
        self._compare_clocks(sent.response.headers.get("Date", ""))
        if seconds is None:
            _ = sent.response.data  # read to the end, so that it counts, and the connection is free
        return sent.response

    def _compare_clocks(self, date: str) -> None:
        """Record the difference of the clocks, in whole seconds: pods have the server's dates."""
        try:
            ahead = time.time() - parsedate_to_datetime(date).timestamp()
        except ValueError:
            return
        if abs(ahead - self.skew) > _SKEW_SECONDS:
            self.skew = float(round(ahead))

    def _connected(self) -> _Connection:
        with self._lock:
            if self._connection is None:
                self._connection = self._connect()
            return self._connection

    def _connect(self) -> _Connection:
        settings = client.Configuration()
        access, namespace = self._access, "default"
        file = str(access.kubeconfig) if access.kubeconfig else None
        try:
            if file is None and _NAMESPACE.exists():
                config.load_incluster_config(settings)  # type: ignore[no-untyped-call]
                namespace = _NAMESPACE.read_text("utf-8").strip() or namespace
            else:
                context = access.context or None
                config.load_kube_config(  # type: ignore[no-untyped-call]
                    file, context=context, client_configuration=settings
                )
                contexts, current = config.list_kube_config_contexts(file)  # type: ignore[no-untyped-call]
                chosen = next((one for one in contexts if one["name"] == context), current)
                namespace = chosen["context"].get("namespace") or namespace
        except (ConfigException, OSError) as error:
            raise BackendUnreachable(f"no way to a Kubernetes API server: {error}") from error
        settings.retries = False  # what to try again is decided here
        settings.connection_pool_maxsize = _CONNECTIONS
        return _Connection(client.ApiClient(settings), namespace, settings.host)

    def _why(self, error: BaseException) -> str:
        host = self._connection.host if self._connection else "unknown address"
        if isinstance(error, urllib3.exceptions.TimeoutError):
            return f"the Kubernetes API server at {host} did not answer within {self._timeout:g} s"
        words = " ".join(str(error).split())
        if "certificate" in words.lower():
            return f"the Kubernetes API server at {host}: {words}"
        return f"the Kubernetes API server at {host} cannot be reached"


def _decoded(data: bytes) -> Json:
    """What a JSON text says.

    Without the collector, which would look through a long list again and again while it is made:
    that doubles the time of a sweep.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        found: Json = json.loads(data)
        return found
    finally:
        if collects:
            gc.enable()


def _require_answer(response: Any) -> None:
    """Raise ``BackendUnreachable`` for what is no answer, or no answer to this proxy."""
    if response.status == HTTPStatus.UNAUTHORIZED:
        raise BackendUnreachable(
            "the Kubernetes API server does not accept this proxy's credentials: they have "
            "expired, or the service account is gone"
        )
    if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status in _BUSY:
        words = _said(response).message
        raise BackendUnreachable(f"the Kubernetes API server answers {response.status}: {words}")


def _refusal(response: Any) -> Exception:
    """Return the error for the server's refusal. Missing rights are not the fault of a start."""
    error = _said(response)
    if error.status == HTTPStatus.FORBIDDEN and "cannot " in error.message:
        return BackendUnreachable(f"RBAC: {error.message} (docs/kubernetes.md has the Role)")
    return error


def _said(response: Any) -> ApiError:
    """Return the error in a response, which usually contains a ``Status``."""
    text = response.data.decode("utf-8", "replace")
    try:
        status = json.loads(text)
        return ApiError(
            response.status,
            str(status.get("reason", "")),
            " ".join(str(status.get("message", "")).split()),
        )
    except (ValueError, AttributeError):
        return ApiError(response.status, "", " ".join(text.split())[:300])
