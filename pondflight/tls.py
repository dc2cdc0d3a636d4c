"""The server's own certificate, for deployments without a reverse proxy."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from pondflight.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain and its key, in PEM; ``name`` is one of the certificate's names."""

    chain: bytes
    key: bytes = field(repr=False)
    name: str


def load(cert: Path | None, key: Path | None) -> Certificate | None:
    """Read a chain (the server's certificate first) and its key, and check that they match.

    Returns None if neither is set. ``ConfigError`` says what is wrong with which setting.
    """
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ConfigError(["server.tls: cert and key are set together, or neither of them"])
    for setting, path in (("server.tls.cert", cert), ("server.tls.key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigError([f"{setting}: cannot read {path} ({error.strerror})"]) from None
    try:
        # For an encrypted key, OpenSSL would ask on the terminal: the empty answer refuses it.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (ssl.SSLError, ValueError):
        problem = (
            f"server.tls: {cert} and {key} do not fit; accepted: a certificate chain, the "
            f"server's own first, and its key without a password, both in PEM"
        )
        raise ConfigError([problem]) from None
    chain = cert.read_bytes()
    return Certificate(chain, key.read_bytes(), _name(chain, cert))


def _name(chain: bytes, path: Path) -> str:
    try:
        names = x509.load_pem_x509_certificate(chain).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        dns = names.value.get_values_for_type(x509.DNSName)
        return (dns or [str(ip) for ip in names.value.get_values_for_type(x509.IPAddress)])[0]
    except (x509.ExtensionNotFound, IndexError):
        problem = f"server.tls.cert: {path} has no subject alternative name: no client accepts it"
        raise ConfigError([problem]) from None
