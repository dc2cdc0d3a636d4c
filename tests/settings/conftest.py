from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pondflight.errors import ConfigError
from pondflight.settings import Settings, load
from tests.settings.support import Load, Problems


@pytest.fixture(name="config")
def fixture_config(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


@pytest.fixture(name="read")
def fixture_read(config: Path) -> Load:
    """Loads a YAML text, with the given environment and no other."""

    def read(text: str = "", environ: Mapping[str, str] | None = None) -> Settings:
        config.write_text(text, "utf-8")
        return load(config, environ or {})

    return read


@pytest.fixture(name="problems")
def fixture_problems(read: Load, config: Path) -> Problems:
    """Loads a YAML text that is wrong and gives the problems; the file is ``FILE`` in them."""

    def problems(text: str = "", environ: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            read(text, environ)
        return [problem.replace(str(config), "FILE") for problem in caught.value.problems]

    return problems
