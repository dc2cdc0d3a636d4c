"""Refuses weak JWT secrets: whoever can guess the secret can be any user.

Weak are short secrets, and long ones that a person made up: padding, patterns, and the sample
values of documentation and templates.
"""

from __future__ import annotations

import re
from itertools import pairwise

MINIMUM_LENGTH = 32
"""Characters, which are at least the 32 bytes that HS256 requires (RFC 7518, 3.2)."""

_MINIMUM_DISTINCT = 8
_MINIMUM_OWN = 16

# Words of sample secrets. A random secret loses few characters to this list; a sample such as
# "your-super-secret-jwt-key-change-in-production-min-32-chars" loses all.
_SAMPLE_WORDS = """
    0123456789 123456 12345678 123456789 1234567890 256 256bit 32 abcdefghijklmnopqrstuvwxyz
    admin and asdfghjkl at auth authentication be bits change changeit changeme character
    characters chars correcthorse default demo dev development do env example for here hmac
    hs256 in insert is jwt key least letmein local long me min minimum must my not of or
    password placeholder please pondflight pondpilot private production proxy qwerty
    qwertyuiop random replace sample secret secure should signing some string strong super
    supersafe test testing that the this to token use user value very with your zxcvbnm
""".split()  # noqa: SIM905 - a list of ninety quoted words is no better to read
_SAMPLE = re.compile("|".join(sorted(_SAMPLE_WORDS, key=len, reverse=True)))


def weakness(secret: str) -> str | None:
    """Return why ``secret`` must not sign tokens, as the end of a sentence; None: it may."""
    if len(secret) < MINIMUM_LENGTH:
        return f"has {len(secret)} characters, which is too short"
    if len(set(secret)) < _MINIMUM_DISTINCT:
        return f"has fewer than {_MINIMUM_DISTINCT} different characters"
    if _repeats(secret) or _counts(secret):
        return "follows a pattern that can be guessed"
    own = _SAMPLE.sub("", re.sub(r"[\W_]", "", secret.casefold()))
    if len(own) < _MINIMUM_OWN:
        return "looks like a sample value from documentation"
    return None


def _repeats(secret: str) -> bool:
    """Return whether it is one piece repeated, the last one perhaps cut short."""
    return any(
        secret == (secret[:period] * (len(secret) // period + 1))[: len(secret)]
        for period in range(1, len(secret) // 2 + 1)
    )


def _counts(secret: str) -> bool:
    """Return whether two thirds of its characters follow or precede their neighbour."""
    steps = [ord(after) - ord(before) for before, after in pairwise(secret)]
    return 3 * sum(abs(step) <= 1 for step in steps) > 2 * len(steps)
