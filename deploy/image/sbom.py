# ruff: noqa: INP001, S603, S607 - a script of the image, not a part of the package
"""Print what an image is made of, in CycloneDX: Debian's packages and Python's distributions.

::

    /opt/pondflight/bin/python3 sbom.py > sbom.cdx.json
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from typing import Any


def debian() -> list[dict[str, Any]]:
    """Components for the packages that dpkg has installed; none where there is no dpkg."""
    form = "${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\n"
    try:
        rows = subprocess.run(
            ["dpkg-query", "-W", "-f", form], capture_output=True, text=True, check=True
        ).stdout.splitlines()
    except OSError:
        return []
    found = []
    for status, name, version, architecture in (row.split("\t") for row in rows):
        if status.startswith("ii"):
            purl = f"pkg:deb/debian/{name}@{version.replace('+', '%2B')}?arch={architecture}"
            found.append(_component(name, version, purl, ""))
    return found


def python() -> list[dict[str, Any]]:
    """Components for the distributions that this Python sees."""
    found = {}
    for distribution in metadata.distributions():
        name, version = distribution.metadata["Name"].lower(), distribution.version
        fields = distribution.metadata
        said = fields.get("License-Expression") or fields.get("License") or ""
        found[name] = _component(name, version, f"pkg:pypi/{name}@{version}", said)
    return [found[name] for name in sorted(found)]


def _component(name: str, version: str, purl: str, licence: str) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
    }
    if licence and "\n" not in licence:
        component["licenses"] = [{"license": {"name": licence}}]
    return component


def main() -> None:
    """Print the document; the same packages give the same bytes."""
    json.dump(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "container",
                    "name": "pondflight",
                    "version": metadata.version("pondflight"),
                }
            },
            "components": debian() + python(),
        },
        sys.stdout,
        indent=1,
    )


if __name__ == "__main__":
    main()
