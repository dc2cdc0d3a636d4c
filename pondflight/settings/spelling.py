"""Guesses which key was meant by an unknown one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from pondflight.settings.schema import Key

_NEAR = 0.6
_NEAR_ELSEWHERE = 0.8


def intended(name: str, section: Key, root: Key) -> list[Key]:
    """Return the known keys that the unknown ``name`` in ``section`` may mean.

    First comes a key of exactly that name in another section (``port`` outside of ``server``), then
    one with a similar name in the same section, then one with a similar name anywhere.
    """
    here = {_plain(child): key for child, key in section.children.items()}
    wanted = _plain(name)
    if wanted in here:
        return [here[wanted]]
    everywhere: dict[str, list[Key]] = {}
    for key in _all(root):
        for spelling in _spellings(key):
            everywhere.setdefault(spelling, []).append(key)
    if wanted in everywhere:
        return everywhere[wanted]
    near = difflib.get_close_matches(wanted, here, n=1, cutoff=_NEAR)
    if near:
        return [here[near[0]]]
    near = difflib.get_close_matches(wanted, everywhere, n=1, cutoff=_NEAR_ELSEWHERE)
    return everywhere[near[0]] if near else []


def _all(key: Key) -> Iterator[Key]:
    for child in key.children.values():
        yield child
        yield from _all(child)


def _spellings(key: Key) -> set[str]:
    """Return the names of a key: its last part, all of it, and its environment variable."""
    names = {key.name, key.name.rpartition(".")[2]}
    if key.env is not None:
        names.add(key.env.name)
    return {_plain(name) for name in names}


def _plain(name: str) -> str:
    """Return what ``grpc_port``, ``grpcPort`` and ``GRPC-PORT`` have in common."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
