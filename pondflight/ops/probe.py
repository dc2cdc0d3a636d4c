"""A client of the standard gRPC health service, for HEALTHCHECK lines and for people.

It asks what any orchestrator's probe would ask, by the same protocol, so an image needs no other
program for it.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# gRPC's core would print what our error says in one line.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pondflight.errors import ConfigError, Unavailable

SERVING = "SERVING"
"""The only status that means that calls can be made."""

_PLAIN = ("grpc://", "grpc+tcp://")
_TLS = "grpc+tls://"

_DIRECT = ("grpc.enable_http_proxy", 0)
"""Keeps a forward proxy of the environment out of a probe's connection."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to ask, and how.

    ``address``      ``host:port``
    ``tls``          with TLS; the three files (PEM) and the name are for TLS alone
    ``ca``           authorities to trust in place of the machine's own
    ``certificate``  of this client, with its ``key``
    ``server_name``  name that the server's certificate has, where it is not that of the address
    """

    address: str
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    @classmethod
    def parse(
        cls,
        uri: str,
        *,
        ca: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        server_name: str | None = None,
    ) -> Target:
        """Read ``host:port``, ``grpc://host:port`` or ``grpc+tls://host:port``."""
        tls = uri.startswith(_TLS)
        address = uri
        for scheme in (*_PLAIN, _TLS):
            address = address.removeprefix(scheme)
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or "/" in address:
            raise ConfigError(
                [
                    f"{uri!r} is no address; accepted: host:port, grpc://host:port, grpc+tls://host:port"
                ]
            )
        files = ca, certificate, key, server_name
        if not tls and files != (None,) * len(files):
            raise ConfigError([f"certificates are for TLS: use {_TLS}{address}"])
        target = cls(address, tls, *files)
        target._check_files()
        return target

    def _check_files(self) -> None:
        """Refuse files for which gRPC would give no useful error, or end the process."""
        if (self.certificate is None) != (self.key is None):
            raise ConfigError(["--cert and --key are given together, or neither of them"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca is not None:
            try:
                context.load_verify_locations(self.ca)
            except (OSError, ValueError):
                raise ConfigError([f"--ca: {self.ca} holds no certificate in PEM"]) from None
        if self.certificate is not None:
            try:  # with an encrypted key, OpenSSL would ask on the terminal
                context.load_cert_chain(self.certificate, self.key, password="")
            except (OSError, ValueError):
                problem = (
                    f"--cert, --key: {self.certificate} and {self.key} do not fit; accepted: a "
                    f"certificate chain and its key without a password, both in PEM"
                )
                raise ConfigError([problem]) from None

    def channel(self) -> grpc.Channel:
        """Open a channel to the target. Nothing is sent yet."""
        if not self.tls:
            return grpc.insecure_channel(self.address, [_DIRECT])
        credentials = grpc.ssl_channel_credentials(
            _read(self.ca) or _machine_roots(), _read(self.key), _read(self.certificate)
        )
        options: list[tuple[str, str | int]] = [_DIRECT]
        if self.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.server_name))
        return grpc.secure_channel(self.address, credentials, options)


def check(target: Target, service: str, timeout: float) -> str:
    """Ask once, and return the name of the status.

    Raises ``Unavailable`` if there is no answer within ``timeout`` seconds.
    """
    with target.channel() as channel:
        try:
            answer = _stub(channel).Check(_request(service), timeout=timeout)
        except grpc.RpcError as error:
            raise _failure(target, error) from None
    return _name(answer)


def watch(target: Target, service: str, timeout: float) -> Iterator[str]:
    """Yield the current status, and each that it changes to.

    ``timeout`` (seconds) is for the connection. The iterator ends with the server; raises
    ``Unavailable`` if that does not end in good order.
    """
    with target.channel() as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout)
        except grpc.FutureTimeoutError:
            check(target, service, timeout)  # gives the reason, if it is known
            raise Unavailable(f"{target.address} does not answer") from None
        try:
            for answer in _stub(channel).Watch(_request(service)):
                yield _name(answer)
        except grpc.RpcError as error:
            raise _failure(target, error) from None


def _stub(channel: grpc.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)


def _request(service: str) -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


def _name(answer: health_pb2.HealthCheckResponse) -> str:
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _failure(target: Target, error: grpc.RpcError) -> Unavailable:
    call: Any = error  # grpcio raises objects that are calls as well
    details = call.details()
    if call.code() is grpc.StatusCode.UNIMPLEMENTED:
        details = "there is gRPC, and no health service; pondflight's is on server.health_port"
    return Unavailable(f"{target.address}: {call.code().name}: {details}")


def _read(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()


def _machine_roots() -> bytes | None:
    """Return the certificates that this machine trusts; grpcio itself knows only public ones."""
    path = Path(ssl.get_default_verify_paths().openssl_cafile)
    return path.read_bytes() if path.is_file() else None
