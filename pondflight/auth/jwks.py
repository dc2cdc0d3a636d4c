"""The public keys of an identity provider, fetched when needed and cached.

A provider may rotate its keys at any time, and a token with an unknown ``kid`` may be the first
that is signed with a new key. Anybody can invent such tokens, so however many come, they cause at
most one request in ``PAUSE`` seconds. While the provider cannot be reached, cached keys are used
for up to a day.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from jwt import PyJWK

from pondflight.auth.keys import ALGORITHMS, Key
from pondflight.errors import Unavailable
from pondflight.telemetry.logs import Event, get_logger

log = get_logger()

REFRESH: Final = 300.0
"""Seconds after which keys are fetched again, while the old ones stay in use."""

PAUSE: Final = 30.0
"""Seconds between the end of a request and the next, whoever asks."""

FIRST_PAUSE: Final = 5.0
"""Seconds between the end of a request and the next, until the first success."""

STALE: Final = 86_400.0
"""Seconds after which keys are no longer used if they could not be fetched again."""

_NO_KEYS: Final = "the identity provider's keys cannot be fetched: try again in a moment"
_TIMEOUT: Final = 5.0
_LARGEST: Final = 1 << 20
_PIECE: Final = 64 << 10
_MOST_KEYS: Final = 100
_MOST_CANDIDATES: Final = 5


class JwksKeys:
    """The keys published at ``url``. Implements ``keys.Keys``.

    ``fetch`` downloads the document; ``clock`` returns seconds from any fixed point.
    """

    def __init__(
        self,
        url: str,
        *,
        fetch: Callable[[str], bytes] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._get = fetch or _fetch
        self._clock = clock
        self._changed = threading.Condition()
        self._known = _Known()
        self._tried_at: float | None = None
        self._fetching = False

    @property
    def generation(self) -> int:
        """Return a number that changes whenever a key is withdrawn.

        It is read for every token, also for cached ones; that is why keys that are too old are
        fetched again here.
        """
        age = self._age()
        if age is not None and age > REFRESH and self._begin():
            threading.Thread(target=self._load, name="jwks", daemon=True).start()
        return self._known.generation

    def find(self, kid: object, algorithm: object) -> Sequence[Key]:
        """Return the keys with that ``kid``.

        If there are none, the keys are fetched first, unless that was just tried.
        """
        if algorithm not in ALGORITHMS:
            return ()
        found = self._match(kid, algorithm)
        if not found or self._stale():
            self._refresh()
            found = self._match(kid, algorithm)
        if self._stale():
            raise Unavailable(_NO_KEYS, retry_after=FIRST_PAUSE)
        return found

    def holds(self, fingerprint: str) -> bool:
        """Return whether a key is still published.

        If it is not known, the keys are fetched first, unless that was just tried.
        """
        if not self._has(fingerprint) or self._stale():
            self._refresh()
        if self._stale():
            raise Unavailable(_NO_KEYS, retry_after=FIRST_PAUSE)
        return self._has(fingerprint)

    def _has(self, fingerprint: str) -> bool:
        return any(key.fingerprint == fingerprint for key in self._known.keys)

    def _age(self) -> float | None:
        fetched_at = self._known.fetched_at
        return None if fetched_at is None else self._clock() - fetched_at

    def _stale(self) -> bool:
        age = self._age()
        return age is None or age > STALE

    def _match(self, kid: object, algorithm: object) -> Sequence[Key]:
        fitting = [key for key in self._known.keys if key.algorithm == algorithm]
        if kid is None:  # then there are few keys, or the provider cannot be helped
            return fitting[:_MOST_CANDIDATES]
        return [key for key in fitting if key.id == kid]

    def _begin(self) -> bool:
        """Return whether the caller must ``_load``: nobody does, or did a moment ago."""
        with self._changed:
            pause = FIRST_PAUSE if self._known.fetched_at is None else PAUSE
            recently = self._tried_at is not None and self._clock() - self._tried_at < pause
            if self._fetching or recently:
                return False
            self._fetching = True
            return True

    def _refresh(self) -> None:
        """Fetch the keys, or wait for the thread that does.

        Does nothing if they were fetched a moment ago.
        """
        if self._begin():
            self._load()
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._fetching, 2 * _TIMEOUT)

    def _load(self) -> None:
        """Fetch the keys, or keep the old ones if that fails; then wake the threads that wait."""
        try:
            keys = _read(self._get(self._url))
        except Exception as error:  # noqa: BLE001 - whatever it is, the old keys stay
            log.warning(Event.KEYS_NOT_FETCHED, error=_reason(error))
            keys = None
        with self._changed:
            self._fetching = False
            self._tried_at = self._clock()
            if keys is not None:
                self._take(keys)
            self._changed.notify_all()

    def _take(self, keys: tuple[Key, ...]) -> None:
        known = self._known
        before, after = _names(known.keys), _names(keys)
        withdrawn = bool(before - after)
        self._known = _Known(keys, known.generation + withdrawn, self._clock())
        if before != after:
            log.info(Event.KEYS_FETCHED, keys=len(keys))


@dataclass(frozen=True, slots=True)
class _Known:
    """The result of the last fetch.

    It is read without a lock, so it is replaced as a whole: a reader never sees the new generation
    with the old keys.
    """

    keys: tuple[Key, ...] = ()
    generation: int = 0
    fetched_at: float | None = None


def _names(keys: tuple[Key, ...]) -> set[tuple[str | None, str]]:
    return {(key.id, key.fingerprint) for key in keys}


def _read(document: bytes) -> tuple[Key, ...]:
    entries = json.loads(document)["keys"]
    if not isinstance(entries, list):
        raise TypeError("the document has no list of keys")
    found = [key for key in map(_key, entries[:_MOST_KEYS]) if key is not None]
    if not found:
        raise ValueError("no key in it can verify RS256, ES256 or EdDSA")
    return tuple(found)


def _key(entry: object) -> Key | None:
    """Return the key of an entry; None for one with another purpose, and for any secret key."""
    if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    if entry.get("use", "sig") != "sig" or "d" in entry:
        return None
    try:
        kid = entry.get("kid")
        key = Key.of(PyJWK.from_dict(entry).key, kid if isinstance(kid, str) else None)
    except Exception:  # noqa: BLE001 - one key that is of no use must not cost the others
        return None
    return key if entry.get("alg", key.algorithm) == key.algorithm else None


def _fetch(url: str) -> bytes:
    opener = urllib.request.build_opener(_NoRedirect)
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310
    deadline = time.monotonic() + _TIMEOUT
    data = bytearray()
    with opener.open(request, timeout=_TIMEOUT) as response:
        while piece := response.read1(_PIECE):
            data += piece
            if len(data) > _LARGEST:
                raise ValueError(f"the document is over {_LARGEST} bytes")
            if time.monotonic() > deadline:  # the timeout applies to each read, not to all of them
                raise TimeoutError("the document did not arrive in time")
    return bytes(data)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: the configuration decides whom to trust."""

    def redirect_request(self, *_: object) -> None:
        return None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
