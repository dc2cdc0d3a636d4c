"""Loads ``Settings`` from a YAML file and the environment, or reports all mistakes in one error.

The file is read along the tree of known keys first: this finds unknown keys, replaces ``${NAME}``,
and records where each value came from. Then the environment overrides it, and the models read the
values. No mistake hides another: where values are refused, the rest is read again without them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pondflight.control import Json
from pondflight.errors import ConfigError
from pondflight.settings import doubts, preflight, strays, wording
from pondflight.settings.backend import AUTO, Choice, choose, without_effect
from pondflight.settings.databases import Surroundings
from pondflight.settings.declaration import Refused
from pondflight.settings.files import read_yaml, reason
from pondflight.settings.schema import ROOT, Key, Shape
from pondflight.settings.spelling import intended
from pondflight.settings.tree import Settings
from pondflight.settings.wording import SECRET_FILE, At

_SECRET = ROOT.find(("security", "jwt_secret"))
_BACKEND = ROOT.find(("workers", "backend"))
_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _Known:
    """Stands for a value whose mistake has been reported."""


_KNOWN: Final = _Known()


def load(
    path: Path | None = None, environ: Mapping[str, str] | None = None, *, look: bool = False
) -> Settings:
    """Return the settings: defaults, overridden by the YAML file at ``path``, then by ``environ``.

    ``environ`` defaults to ``os.environ``. An empty variable counts as not set, since Docker
    Compose passes variables that nobody has set; only JWT_SECRET must not be empty.
    ``security.jwt_secret`` is None if the environment has no secret; the caller decides whether
    that is enough. ``look``: files, extensions and directories that the settings name must exist on
    this machine, as far as the backend needs them here. Raises ``ConfigError`` with one sentence
    for each mistake.
    """
    return read(path, environ, look=look).settings


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and what an operator should know of how they came about.

    ``backend``  why ``workers.backend`` is what it is; None where it was configured
    ``ignored``  configured settings (dotted) that have no effect with that backend
    ``file``     the YAML file that was read, if any
    ``strays``   a sentence for each environment variable that looks like a setting and is none
    """

    settings: Settings
    backend: Choice | None = None
    ignored: tuple[str, ...] = ()
    file: Path | None = None
    strays: tuple[str, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """Return a sentence for each setting without effect, or with a doubtful one."""
        backend = self.settings.workers.backend
        ignored = [f"{key} has no effect with workers.backend {backend}" for key in self.ignored]
        return [*ignored, *self.doubts]

    @property
    def doubts(self) -> list[str]:
        """Return a sentence for each variable or setting that is probably not what was meant."""
        return [*self.strays, *doubts.warnings(self.settings)]


FILES: Final = (Path("/config.yaml"), Path("/etc/pondflight/config.yaml"))
"""Where a configuration file is looked for if none is named."""


def find_file() -> Path | None:
    """Return the first of ``FILES`` that exists, or None."""
    return next((path for path in FILES if path.is_file()), None)


def read(
    path: Path | None = None, environ: Mapping[str, str] | None = None, *, look: bool = False
) -> Loaded:
    """Return the settings as ``load`` does, with what an operator should know of them."""
    draft = _Draft(os.environ if environ is None else environ)
    if path is not None:
        draft.add_file(path)
    draft.add_environment()
    draft.add_secret_file()
    choice = draft.choose_backend(configured=path is not None)
    settings = draft.settings(look=look)
    ignored = tuple(draft.ignored(settings.workers.backend))
    return Loaded(settings, choice, ignored, path, tuple(draft.strays()))


class _Draft:
    """Settings being read: values, where each came from, and the mistakes so far."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._values: Json = {}
        self._origins: dict[At, str] = {}
        self._problems: list[str] = []
        self._replaced: set[str] = set()

    def add_file(self, path: Path) -> None:
        try:
            data = read_yaml(path)
        except ConfigError as error:
            self._problems += error.problems
            return
        section = self._section(ROOT, data, (), f"from {path}")
        self._values = section if isinstance(section, dict) else {}

    def add_environment(self) -> None:
        for key in ROOT.leaves():
            if key.env is None:
                continue
            value = self._variable(key.env.name)
            if value is None:
                continue
            if key.env.bare_unit and re.fullmatch(r"[0-9]+", value.strip()):
                value = f"{value.strip()}{key.env.bare_unit}"
            origin = wording.from_variable(key.env.name)
            if key.is_list:  # a variable has commas there
                items = [item.strip() for item in value.split(",") if item.strip()]
                self._put(key, items, origin)
            else:
                self._put(key, value, origin)

    def add_secret_file(self) -> None:
        path = self._variable(SECRET_FILE)
        if path is None:
            if "JWT_SECRET" in self._environ and self._variable("JWT_SECRET") is None:
                # Only for the secret, empty differs from not set: somebody meant to set it, and
                # without it, serve might start a demonstration.
                self._put(_SECRET, "", wording.from_variable("JWT_SECRET"))
            return
        if self._variable("JWT_SECRET") is not None:
            self._problems.append(f"JWT_SECRET and {SECRET_FILE} are both set: keep one of them")
            return
        try:
            secret = Path(path).read_text("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            self._problems.append(f"{SECRET_FILE}: {path} is not a text file in UTF-8")
        except (OSError, ValueError) as error:
            why = reason(Path(path), error)
            self._problems.append(f"{SECRET_FILE}: {path} cannot be read: {why}")
        else:
            self._put(_SECRET, secret, f"from the file that {SECRET_FILE} names")

    def choose_backend(self, *, configured: bool) -> Choice | None:
        """Replace ``auto`` by a backend and return it; None if a backend was named."""
        workers = self._values.get("workers", {})
        named = workers.get("backend", AUTO) if isinstance(workers, dict) else AUTO
        if named != AUTO:
            return None
        security = self._values.get("security", {})
        signed = configured or (isinstance(security, dict) and "jwt_secret" in security)
        choice = choose(self._values, signed=signed)
        self._put(_BACKEND, choice.backend, f"since {choice.why}")
        return choice

    def ignored(self, backend: str) -> list[str]:
        """Return the configured settings that ``backend`` ignores."""
        return without_effect(self._values, backend)

    def strays(self) -> list[str]:
        """Return a sentence for each variable that looks like a setting and is none."""
        return strays.warnings(self._environ, self._replaced)

    def settings(self, *, look: bool) -> Settings:
        """Return the settings.

        The values are read again without the refused ones, until none is refused.
        """
        values, refused = self._values, set[At]()
        surroundings = self._surroundings(look=look)
        while True:
            try:
                settings = Settings.model_validate(values, context=surroundings)
                break
            except ValidationError as invalid:
                errors = invalid.errors(include_url=False)
            for error in errors:
                at = error["loc"]
                # A section with refused values has defaults in their place, which prove nothing.
                if not any(isinstance(place[-1], str) and place[:-1] == at for place in refused):
                    self._report(error)
            places = {_whole_item(error["loc"]) for error in errors}
            refused |= places
            values = {} if () in places else _without(values, places)
        if look:
            self._problems += preflight.problems(settings)
        if self._problems:
            raise ConfigError(self._problems)
        return settings

    def _surroundings(self, *, look: bool) -> Surroundings:
        """Return the context for checking values."""
        duckdb = self._values.get("duckdb", {})
        entries = duckdb.get("attached_databases", []) if isinstance(duckdb, dict) else []
        aliases = [entry.get("alias") for entry in entries if isinstance(entry, dict)]
        workers = self._values.get("workers", {})
        backend = workers.get("backend") if isinstance(workers, dict) else None
        return Surroundings(
            aliases=tuple(alias for alias in aliases if isinstance(alias, str)),
            # Only a subprocess has the same files and packages as this process.
            look=look and backend in {None, "process"},
        )

    def _variable(self, name: str) -> str | None:
        value = self._environ.get(name, "")
        return value if value.strip() else None

    def _put(self, key: Key, value: str | list[str], origin: str) -> None:
        *sections, last = key.name.split(".")
        target = self._values
        for section in sections:
            target = target.setdefault(section, {})
        target[last] = value
        self._origins[(*sections, last)] = origin

    # walking the file

    def _read(self, key: Key, value: object, at: At, origin: str) -> object:
        """Return what the models should read for ``key``, given the value in the file."""
        if key.shape is Shape.SECTION:
            return self._section(key, value, at, origin)
        if key.is_list:
            if not isinstance(value, list):
                return self._misfit(key, value, at, origin)
            self._origins[at] = origin
            read = self._section if key.shape is Shape.SECTIONS else self._scalar
            return [read(key, item, (*at, index), origin) for index, item in enumerate(value)]
        return self._scalar(key, value, at, origin)

    def _section(self, key: Key, data: object, at: At, origin: str) -> object:
        if not isinstance(data, Mapping):
            return self._misfit(key, data, at, origin)
        self._origins[at] = origin
        section: Json = {}
        for name, value in data.items():
            child = key.children.get(name) if isinstance(name, str) else None
            if child is None:
                self._unknown(key, name, at, origin, section)
            elif child.env is not None and child.env.only:
                self._problems.append(wording.environment_only((*at, name), origin))
            # `key:` without a value leaves the default.
            elif value is not None or child.value_needed:
                section[name] = self._read(child, value, (*at, name), origin)
        return section

    def _misfit(self, key: Key, value: object, at: At, origin: str) -> object:
        self._problems.append(wording.misfit(key, at, value, origin))
        if at and isinstance(at[-1], int):
            return _KNOWN  # an item keeps its place, for the indexes of those after it
        return [] if key.is_list else {}

    def _scalar(self, key: Key, value: object, at: At, origin: str) -> object:
        self._origins[at] = origin
        if isinstance(value, dict | list):
            return self._plain_data(key, value, at, origin)
        if not isinstance(value, str):
            return value
        problems: list[str] = []
        names: list[str] = []

        def replacement(match: re.Match[str]) -> str:
            name = match[1]
            if name is None:
                return "${"
            if _VARIABLE_NAME.fullmatch(name) is None:
                problems.append(
                    f"{wording.dotted(at)}: ${{...}} takes the name of an environment variable and"
                    f" nothing else; $${{ stands for ${{ itself ({origin})"
                )
            elif name not in self._environ:
                problems.append(
                    f"{wording.dotted(at)}: the environment variable {name} is not set ({origin})"
                )
            self._replaced.add(name)
            names.append(f"${{{name}}}")
            return self._environ.get(name, "")

        text = _VARIABLE.sub(replacement, value)
        if problems:
            self._problems += problems
            return _KNOWN
        if names:
            self._origins[at] = f"{origin}, with {' and '.join(names)} replaced"
        return text

    def _plain_data(
        self, key: Key, value: dict[Any, Any] | list[Any], at: At, origin: str
    ) -> object:
        """Return a value that contains other values, with ``${NAME}`` replaced."""
        steps = value if isinstance(value, dict) else range(len(value))
        read = {step: self._scalar(key, value[step], (*at, step), origin) for step in steps}
        if any(one is _KNOWN for one in read.values()):
            return _KNOWN
        return read if isinstance(value, dict) else list(read.values())

    def _unknown(self, key: Key, name: object, at: At, origin: str, section: Json) -> None:
        meant = intended(str(name), key, ROOT)
        if any(other is _SECRET for other in meant):
            self._problems.append(wording.environment_only((*at, str(name)), origin))
            return
        self._problems.append(wording.unknown((*at, str(name)), key, meant, origin))
        if key.shape is Shape.SECTIONS and len(meant) == 1:
            # Report one mistake once: the key that was probably meant is not reported as missing.
            section.setdefault(meant[0].name.rpartition(".")[2], _KNOWN)

    def _report(self, error: ErrorDetails) -> None:
        at: At = error["loc"]
        if error["input"] is _KNOWN:
            return
        cause = error.get("ctx", {}).get("error")
        refused = cause if isinstance(cause, Refused) else Refused()
        if error["type"] == "missing":
            refused = Refused("is missing")
        given = error["input"]
        for step in filter(None, refused.key.split(".")):
            at = (*at, step)
            given = given.get(step) if isinstance(given, Mapping) else None
        key = ROOT.find(at)
        if given is None:
            given = key.default
        value = "" if error["type"] == "missing" else wording.shown(key, given)
        self._problems.append(wording.refused(key, at, value, refused.why, self._origin(key, at)))

    def _origin(self, key: Key, at: At) -> str:
        """Return where the value at ``at`` came from, or else where it would belong."""
        if key.shape is Shape.SECTION:
            inner = (origin for place, origin in self._origins.items() if place[:-1] == at)
            return " and ".join(dict.fromkeys(inner))
        while at and at not in self._origins:
            at = at[:-1]
        return self._origins[at] if at else "by default"


def _whole_item(at: At) -> At:
    """Return the place of the whole list item: half an item is of no use."""
    for length, step in enumerate(at, 1):
        if isinstance(step, int):
            return at[:length]
    return at


def _without(value: Any, places: set[At]) -> Any:
    """Return a copy of ``value`` without the values at ``places``."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = dict(enumerate(value)).items()
    else:
        return value
    kept = {
        step: _without(inner, {place[1:] for place in places if place[0] == step and place[1:]})
        for step, inner in items
        if (step,) not in places
    }
    return kept if isinstance(value, dict) else list(kept.values())
