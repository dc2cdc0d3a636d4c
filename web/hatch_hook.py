"""Has the wheel built with its pages in it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PagesHook(BuildHookInterface[Any]):
    """Bundles ``web/`` before the wheel is packed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the pages, unless the install is editable, where ``make`` does."""
        if version == "editable":
            return
        spec = importlib.util.spec_from_file_location(
            "pondflight_ui_build", Path(self.root, "web", "build.py")
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if not module.is_built():
            module.build()
