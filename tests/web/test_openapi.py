from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from openapi_spec_validator import validate

from pondflight import __version__
from pondflight.web.app import create_app
from pondflight.web.configuration import Configuration
from tests.stack import SECRET

DOCUMENT: Any = yaml.safe_load((Path(__file__).parents[2] / "openapi.yaml").read_text("utf-8"))
METHODS = ("get", "head", "post", "put", "patch", "delete")


def test_document_is_valid_and_of_this_version() -> None:
    validate(DOCUMENT)
    assert DOCUMENT["info"]["version"] == __version__


def test_every_route_is_described_and_no_other() -> None:
    app = create_app(Configuration("127.0.0.1:0", "grpc://127.0.0.1:1", SECRET, demo=True)).app
    served = {}
    for root in app._router._roots:
        stack = [root]
        while stack:
            node = stack.pop()
            stack.extend(node.children)
            if node.resource is not None:
                served[str(node.uri_template).replace(":path}", "}")] = {
                    method for method in METHODS if hasattr(node.resource, f"on_{method}")
                }
    described = {
        path: {method for method in METHODS if method in item}
        for path, item in DOCUMENT["paths"].items()
    }
    assert served == described
