"""Public keys of an identity provider, each for one algorithm.

The type of a key fixes its algorithm: RSA has RS256, P-256 has ES256, Ed25519 has EdDSA. No key is
ever used with another algorithm, and none can serve as a secret for HS256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from pondflight.errors import Unauthenticated

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")

SMALLEST_RSA: Final = 2048
"""Bits. NIST has allowed no fewer since 2014, and 1024 bits can be factored at a price."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key and its algorithm; ``id`` is its ``kid``, if it has one."""

    key: PublicKey
    algorithm: str
    id: str | None = None

    @classmethod
    def of(cls, key: object, key_id: str | None = None) -> Key:
        """Return ``key`` with its algorithm; ``ValueError`` if we support none of that type."""
        if isinstance(key, RSAPublicKey):
            if key.key_size < SMALLEST_RSA:
                raise ValueError(
                    f"is an RSA key of {key.key_size} bits: {SMALLEST_RSA} are the least"
                )
            return cls(key, "RS256", key_id)
        if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
            return cls(key, "ES256", key_id)
        if isinstance(key, Ed25519PublicKey):
            return cls(key, "EdDSA", key_id)
        raise ValueError("is neither RSA nor P-256 nor Ed25519")

    @property
    def fingerprint(self) -> str:
        """Return a digest that is the same for the same key, whatever its id."""
        der = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()[:32]


class Keys(Protocol):
    """A source of keys. Safe to use from any thread."""

    @property
    def generation(self) -> int:
        """Return a number that changes when a key is withdrawn. Read for every token."""

    def find(self, kid: object, algorithm: object) -> Sequence[Key]:
        """Return the keys that may have signed a token with this header, usually one or none.

        Raises ``Unavailable`` if that cannot be known.
        """

    def holds(self, fingerprint: str) -> bool:
        """Return whether a key with that fingerprint is valid now.

        Raises ``Unavailable`` as ``find``.
        """


@dataclass(frozen=True, slots=True)
class FixedKeys:
    """A fixed set of keys."""

    keys: tuple[Key, ...] = ()
    generation: int = 0

    def find(self, kid: object, algorithm: object) -> Sequence[Key]:
        """Return the keys for the algorithm whose id is ``kid``, or which have no id."""
        return [key for key in self.keys if key.algorithm == algorithm and key.id in (None, kid)]

    def holds(self, fingerprint: str) -> bool:
        """Return whether a key with this fingerprint is in the set."""
        return any(key.fingerprint == fingerprint for key in self.keys)


NO_KEYS: Final = FixedKeys()
"""Used if only the secret verifies tokens."""


@dataclass(frozen=True, slots=True)
class Provider:
    """What tokens issued elsewhere must contain.

    An empty ``issuer`` or empty ``audiences`` are not checked. ``user_claim`` is the claim that
    names the user.
    """

    issuer: str = ""
    audiences: tuple[str, ...] = ()
    user_claim: str = "sub"

    def check(self, claims: dict[str, object]) -> None:
        """Raise ``Unauthenticated`` unless issuer and audience are the required ones."""
        if self.issuer and claims.get("iss") != self.issuer:
            raise Unauthenticated
        if not self.audiences:
            return
        meant = claims.get("aud")
        meant = [meant] if isinstance(meant, str) else meant
        if not isinstance(meant, list) or not any(one in self.audiences for one in meant):
            raise Unauthenticated


def read_pem(text: str) -> Key:
    """Return the public key in a PEM text; a ``ValueError`` says why it cannot be used."""
    if "PRIVATE KEY" in text:
        raise ValueError("is a private key: its public half belongs here")
    try:
        key = load_pem_public_key(text.encode())
    except Exception:  # noqa: BLE001 - whatever is wrong with it: one answer
        raise ValueError("is not a public key in PEM") from None
    return Key.of(key)
