"""AWS's APIs for the backend, with time limits and a circuit breaker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from pondflight.control import Json
from pondflight.workers.backends.base import BackendUnreachable
from pondflight.workers.circuit import Circuit

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=32,
)
_SERVER_ERROR = 500
_NO_FAULT_OF_A_REQUEST = (
    "AccessDenied",
    "ExpiredToken",
    "InvalidClientTokenId",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "Throttling",
    "UnrecognizedClient",
)


class Aws:
    """Clients for ECS and DynamoDB, made when they are first needed.

    An empty ``region`` or ``endpoint`` is left to boto3, which reads for example the environment.
    """

    def __init__(
        self, region: str = "", endpoint: str = "", *, circuit: Circuit | None = None
    ) -> None:
        self._region = region
        self._endpoint = endpoint
        self._circuit = circuit or Circuit()
        self._lock = threading.Lock()
        self._clients: Json = {}

    @property
    def reachable(self) -> bool:
        """Return whether calls succeed, as far as is known."""
        return self._circuit.closed

    @contextmanager
    def client(self, service: str) -> Iterator[Any]:
        """Yield a boto3 client for one call.

        Raises ``BackendUnreachable`` if AWS does not answer, is overloaded or broken, or does not
        permit the call to this proxy; ``ClientError`` if it refuses for another reason.
        """
        try:
            with self._circuit.call("AWS", answers=(ClientError,)):
                yield self._made(service)
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if status >= _SERVER_ERROR or code_of(error).startswith(_NO_FAULT_OF_A_REQUEST):
                raise BackendUnreachable(f"AWS: {words_of(error)}") from error
            raise
        except (BotoCoreError, OSError) as error:
            raise BackendUnreachable(f"AWS: {' '.join(str(error).split())}") from error

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()

    def _made(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                session = boto3.session.Session(region_name=self._region or None)
                self._clients[service] = session.client(
                    service, endpoint_url=self._endpoint or None, config=_CONFIG
                )
            return self._clients[service]


def code_of(error: ClientError) -> str:
    """Return AWS's code for the error, such as ``ConditionalCheckFailedException``."""
    return str(error.response.get("Error", {}).get("Code", ""))


def words_of(error: ClientError) -> str:
    """Return AWS's explanation of the error in one line; it names the action."""
    return " ".join(str(error).split())
