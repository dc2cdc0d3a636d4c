"""Kinds of values for pods, and what an operator's template may contain.

It is an allow-list. What hardens a worker, and what identifies it, cannot be overridden by
accident; a future Kubernetes field has to be added here before it can be used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from pondflight.control import Json
from pondflight.settings.declaration import Accepts, Refused

METADATA = frozenset({"labels", "annotations"})
SPEC = frozenset(
    {
        "affinity",
        "dnsConfig",
        "dnsPolicy",
        "hostAliases",
        "schedulerName",
        "tolerations",
        "topologySpreadConstraints",
        "volumes",
    }
)
CONTAINER = frozenset({"env", "volumeMounts"})
VOLUMES = frozenset({"configMap", "csi", "nfs", "persistentVolumeClaim", "secret", "image"})
"""Kinds of volumes, without ``hostPath``, which the standard "restricted" forbids."""
RESERVED = ("pondflight.", "app.kubernetes.io/")

_Fields = Mapping[str, Any]


def mistakes(template: _Fields) -> list[str]:
    """Return what the template must not contain, a phrase each."""
    found = _unknown("", template, frozenset({"metadata", "spec"}))
    metadata, spec = _mapping(template, "metadata"), _mapping(template, "spec")
    found += _unknown("metadata.", metadata, METADATA)
    for kind in sorted(METADATA & metadata.keys()):
        for name in _mapping(metadata, kind):
            if name.startswith(RESERVED):
                found.append(f"metadata.{kind}: {name} is pondflight's own")
    found += _unknown("spec.", spec, SPEC | {"containers"})
    for container in spec.get("containers", ()):
        if not isinstance(container, Mapping) or container.get("name") != "worker":
            found.append("spec.containers: only one, named worker")
            continue
        found += _unknown("spec.containers[].", container, CONTAINER | {"name"})
    for volume in spec.get("volumes", ()):
        if not isinstance(volume, Mapping) or volume.get("name") in {None, "scratch", "storage"}:
            found.append("spec.volumes: each needs a name, other than scratch and storage")
            continue
        found += _unknown("spec.volumes[].", volume, VOLUMES | {"name"})
    return found


def _unknown(prefix: str, found: _Fields, known: frozenset[str]) -> list[str]:
    return [f"{prefix}{name} cannot be set" for name in found if name not in known]


def _mapping(parent: _Fields, name: str) -> _Fields:
    found = parent.get(name)
    return found if isinstance(found, Mapping) else {}


_LABEL = re.compile(r"(?:[a-z0-9.-]{1,253}/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)?")
_TOLERATION = frozenset({"key", "operator", "value", "effect", "tolerationSeconds"})


def _name(value: object) -> str:
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        raise Refused
    return value


def _required_name(value: object) -> str:
    if not value:
        raise Refused
    return _name(value)


def _node_selector(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise Refused
    for key, label in value.items():
        if not isinstance(key, str) or _LABEL.fullmatch(key) is None:
            raise Refused(f"has a key that is no label: {key!r}")
        if not isinstance(label, str) or (label and _LABEL.fullmatch(label) is None):
            raise Refused(f"has a value that is no text: {key} (quote true, false and numbers)")
    return dict(value)


def _toleration(value: object) -> Json:
    if not isinstance(value, Mapping):
        raise Refused
    wrong = [str(key) for key in value if key not in _TOLERATION]
    if wrong:
        raise Refused(f"cannot have {', '.join(wrong)}")
    return dict(value)


def _template(value: object) -> Json:
    if not isinstance(value, Mapping):
        raise Refused
    try:
        found: Json = json.loads(json.dumps(value))
    except (TypeError, ValueError):
        raise Refused("has something that JSON has not, such as a date") from None
    wrong = mistakes(found)
    if wrong:
        raise Refused(f"is not accepted: {'; '.join(wrong)}")
    return found


ObjectName = Annotated[
    str, BeforeValidator(_name), Accepts("a name of small letters, digits, '-' and '.', or none")
]
SecretName = Annotated[
    str,
    BeforeValidator(_required_name),
    Accepts("the name of a secret, of small letters, digits, '-' and '.'"),
]
NodeSelector = Annotated[
    Mapping[str, str],
    BeforeValidator(_node_selector),
    Accepts("a mapping of node labels to their values"),
]
Toleration = Annotated[
    Json,
    BeforeValidator(_toleration),
    Accepts(f"a mapping with keys of {', '.join(sorted(_TOLERATION))}"),
]
PodTemplate = Annotated[
    Json,
    BeforeValidator(_template),
    Accepts(
        f"a mapping: metadata ({', '.join(sorted(METADATA))}), spec ({', '.join(sorted(SPEC))}, "
        f"and of the container named worker: {', '.join(sorted(CONTAINER))})"
    ),
]
