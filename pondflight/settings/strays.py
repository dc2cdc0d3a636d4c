"""Finds environment variables that nobody reads, but that seem meant for pondflight."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from pondflight.settings.schema import ROOT
from pondflight.settings.wording import SECRET_FILE

_PREFIX: Final = "PONDFLIGHT_"
_OTHERS: Final = frozenset({"PONDFLIGHT_HOST", "PONDFLIGHT_TOKEN", "PONDFLIGHT_URL"})
"""Variables that the Caddyfiles and commands read."""

_NEAR = 0.85
_SHORTEST = 6

_OF_ORCHESTRATORS = re.compile(r".*_(SERVICE_(HOST|PORT.*)|PORT(_[0-9]+_(TCP|UDP).*)?)")
"""Variables that Kubernetes and Docker's links set for every service: `PONDFLIGHT_PORT=tcp://…`."""


def warnings(environ: Mapping[str, str], used: Collection[str] = ()) -> list[str]:
    """Return a sentence for each variable of ``environ`` that looks like a setting and is none.

    ``used``: the variables that the configuration file refers to.
    """
    return [
        sentence
        for name in sorted(environ)
        if name not in used and not _is_known(name, environ[name])
        for sentence in _sentence(name)
    ]


def _is_known(name: str, value: str) -> bool:
    if name in _NAMES or name in _OTHERS:
        return True
    return _OF_ORCHESTRATORS.fullmatch(name) is not None and "://" in value


def _sentence(name: str) -> Iterator[str]:
    own = name.removeprefix(_PREFIX)
    said = f"the environment variable {name} is not read"
    meant = _KEYS.get(_plain(own))
    if meant is None and len(own) >= _SHORTEST:
        near = difflib.get_close_matches(own, _SPELLINGS, n=1, cutoff=_NEAR)
        meant = _SPELLINGS[near[0]] if near else None
    if meant in _NAMES:
        yield f"{said}: did you mean {meant}?"
    elif meant is not None:
        yield f"{said}: {meant} is set in the configuration file"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _spelled() -> Iterator[tuple[str, str]]:
    """Yield pairs: a likely name of a setting's variable, and what to use instead."""
    for key in ROOT.leaves():
        if "." in key.name:
            name = key.name.replace(".", "_").upper()
            yield name, key.name if key.env is None else key.env.name
        if key.env is not None:
            yield key.env.name, key.env.name
    yield SECRET_FILE, SECRET_FILE


_NAMES: Final = frozenset(
    {key.env.name for key in ROOT.leaves() if key.env is not None} | {SECRET_FILE}
)
_SPELLINGS: Final = dict(_spelled())
_KEYS: Final = {_plain(name): meant for name, meant in _SPELLINGS.items()}
