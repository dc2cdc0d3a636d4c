"""What is missing on this machine, found before the first worker starts."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pondflight import extensions
from pondflight.errors import ConfigError
from pondflight.settings.loading import load

CONFIG = """
duckdb:
  extensions: [json, mysql]
  allow_network: true
  storage: persistent
  storage_directory: {folder}/nowhere
  attached_databases:
    - {{alias: shop, type: postgres, connection_string: "postgresql://h/d"}}
    - {{alias: gone, type: sqlite, connection_string: "{folder}/gone.db"}}
"""


@pytest.fixture(name="config")
def fixture_config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    return path


def test_a_docker_socket_that_this_user_may_not_use_is_told_with_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "docker.sock"))
        config = tmp_path / "config.yaml"
        config.write_text(
            f"containers: {{docker_host: 'unix://{tmp_path}/docker.sock', network: n}}"
        )
        load(config, {}, look=True)
        monkeypatch.setattr(os, "access", lambda *_: False)
        (problem,) = _problems(config)
    assert f'group_add: ["{tmp_path.stat().st_gid}"]' in problem


def _problems(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, {}, look=True)
    return list(caught.value.problems)


def test_missing_files_extensions_and_directories_are_all_named_at_once(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extensions, "is_installed", extensions.BUILT_IN.__contains__)
    found = "\n".join(_problems(config))
    for name, origin in (
        ("mysql", "duckdb.extensions"),
        ("postgres", "duckdb.attached_databases (shop)"),
        ("httpfs", "duckdb.allow_network"),
    ):
        package = extensions.wheel(name)
        assert f"{origin}: the extension {name} is not installed: pip install {package}" in found
    assert "duckdb.storage_directory" in found
    assert "is not a file that exists" in found
    assert "json" not in found


def test_what_is_installed_is_no_problem(config: Path) -> None:
    found = "\n".join(_problems(config))
    assert "is not installed" not in found
    for name in extensions.WHEELS:
        assert extensions.is_installed(name)


def test_nothing_is_looked_for_where_nobody_asks(config: Path) -> None:
    assert load(config, {}).duckdb.allow_network
