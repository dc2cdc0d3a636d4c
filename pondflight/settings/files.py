"""Reads a YAML file with a stricter safe loader, and errors that quote nothing of the file.

It is stricter because YAML itself silently takes the last of two equal keys. Nothing is quoted
because the text beside a mistake may be a password.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from pondflight.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """A safe loader, which constructs only plain data; two equal keys are an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                problem = f"the key {key.value} stands twice in one mapping"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def reason(path: Path, error: Exception) -> str:
    """Return why the file at ``path`` cannot be read, and if that helps, how to permit it."""
    if isinstance(error, PermissionError):
        return (
            f"permission denied to user {os.geteuid()}: chmod go+r {path.name} or chown it, "
            "where it is mounted from if it is mounted"
        )
    return getattr(error, "strerror", None) or "its name is not one of a file"


def read_yaml(path: Path) -> object:
    """Return the data in the YAML file at ``path``; an empty file is an empty mapping."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigError([f"{path} is not a text file in UTF-8"]) from None
    except (OSError, ValueError) as error:
        raise ConfigError([f"{path} cannot be read: {reason(path, error)}"]) from None
    try:
        data = yaml.load(text, _Loader)  # noqa: S506 - it is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        what = re.sub(r"'[^']*'|\"[^\"]*\"", "…", error.problem or "")
        raise ConfigError([f"{path}{where} is not valid YAML: {what}"]) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError([f"{path} is not valid YAML"]) from None
    return {} if data is None else data
