"""Merges the operator's pod template into a worker's pod (``settings.pods`` checks it)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pondflight.control import Json
from pondflight.settings.pods import CONTAINER

Fields = Mapping[str, Any]


def merged(pod: Json, template: Fields) -> Json:
    """Return ``pod`` with the additions of ``template``; of two with one name, the pod's wins."""
    result = copy.deepcopy(pod)
    for kind, values in _mapping(template, "metadata").items():
        result["metadata"][kind] = {**values, **result["metadata"].get(kind, {})}
    for name, value in _mapping(template, "spec").items():
        if name == "containers":
            for container in value:
                _extend(result["spec"]["containers"][0], container)
        elif isinstance(value, list):
            result["spec"][name] = _joined(result["spec"].get(name, []), value)
        else:
            result["spec"].setdefault(name, copy.deepcopy(value))
    return result


def _extend(container: Json, template: Fields) -> None:
    for name in sorted(CONTAINER & template.keys()):
        container[name] = _joined(container.get(name, []), template[name])


def _joined(ours: list[object], theirs: list[object]) -> list[object]:
    """Return both lists; if two items have one name, or one path, ours wins."""

    def key(item: object) -> object:
        return item.get("mountPath") or item.get("name") if isinstance(item, Mapping) else None

    taken = {key(item) for item in ours} - {None}
    return [*ours, *(copy.deepcopy(item) for item in theirs if key(item) not in taken)]


def _mapping(parent: Fields, name: str) -> Fields:
    found = parent.get(name)
    return found if isinstance(found, Mapping) else {}
