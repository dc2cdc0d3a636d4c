"""The tree of keys of the settings, derived from the models in ``tree``.

Loading uses it to find unknown keys and to word errors; the reference is written from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pondflight.settings.declaration import Accepts, Env
from pondflight.settings.tree import Settings


class Shape(Enum):
    """The kinds of keys."""

    VALUE = auto()
    VALUES = auto()
    """A list of values."""
    SECTION = auto()
    """A mapping with known keys."""
    SECTIONS = auto()
    """A list of such mappings."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the settings, or their root (with an empty name).

    ``name`` is dotted, and keys inside a list have ``[]``: ``duckdb.attached_databases[].alias``.
    ``accepts`` describes the value, or each item of a list. ``default`` is plain data, as in a YAML
    file.
    """

    name: str
    shape: Shape
    description: str
    accepts: str
    secret: bool
    value_needed: bool
    env: Env | None
    default: Any
    children: Mapping[str, Key]

    @property
    def is_list(self) -> bool:
        """Return whether the key holds a list."""
        return self.shape in {Shape.VALUES, Shape.SECTIONS}

    @property
    def accepts_in_all(self) -> str:
        """Return what the key accepts, including the list if it holds one."""
        return f"a list, each item {self.accepts}" if self.is_list else self.accepts

    def find(self, path: tuple[str | int, ...]) -> Key:
        """Return the key at ``path``; an index in it leads from a list to its items."""
        key = self
        for step in path:
            if isinstance(step, str):
                key = key.children[step]
        return key

    def leaves(self) -> Iterator[Key]:
        """Yield all keys that have no keys of their own outside of lists, in order."""
        for child in self.children.values():
            if child.shape is Shape.SECTION:
                yield from child.leaves()
            else:
                yield child


def _metadata(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the bare type of an annotation, and its ``Annotated`` metadata."""
    if hasattr(annotation, "__metadata__"):
        return annotation.__origin__, annotation.__metadata__
    return annotation, ()


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _section(
    model: type[BaseModel], name: str, shape: Shape, defaults: Any, description: str
) -> Key:
    prefix = f"{name}[]." if shape is Shape.SECTIONS else f"{name}." if name else ""
    children = {
        child: _key(field, f"{prefix}{child}", None if defaults is None else defaults[child])
        for child, field in model.model_fields.items()
    }
    return Key(
        name=name,
        shape=shape,
        description=description,
        accepts=f"a mapping with the keys {', '.join(children)}",
        # Anything may stand there in place of keys, such as a connection string.
        secret=True,
        value_needed=False,
        env=None,
        default=[] if shape is Shape.SECTIONS else defaults,
        children=children,
    )


def _key(field: FieldInfo, name: str, default: object) -> Key:
    annotation, metadata = field.annotation, tuple(field.metadata)
    env = next((item for item in metadata if isinstance(item, Env)), None)
    shape = Shape.VALUE
    if _is_section(annotation):
        description = (annotation.__doc__ or "").strip() if annotation is not None else ""
        return _section(annotation, name, Shape.SECTION, default, description)  # type: ignore[arg-type]
    if get_origin(annotation) is tuple:
        inner, metadata = _metadata(get_args(annotation)[0])
        if _is_section(inner):
            return _section(inner, name, Shape.SECTIONS, None, field.description or "")
        shape = Shape.VALUES
    accepts = next(item for item in reversed(metadata) if isinstance(item, Accepts))
    if default is None and not field.is_required():
        default = field.default
    return Key(
        name=name,
        shape=shape,
        description=field.description or "",
        accepts=accepts.text,
        secret=accepts.secret,
        value_needed=accepts.value_needed,
        env=env,
        default=default,
        children={},
    )


ROOT = _section(Settings, "", Shape.SECTION, Settings().masked(), "")
"""All keys."""
