"""Where dbt's suite for adapters finds pondflight: a plugin of pytest, in .venv-tools.

POND_PORT and POND_TOKEN are in its environment.
"""

from __future__ import annotations

import os

import pytest


@pytest.fixture(name="dbt_profile_target", scope="class")
def fixture_dbt_profile_target() -> dict[str, object]:
    """The output of a profile, as in ~/.dbt/profiles.yml."""
    return {
        "type": "gizmosql",
        "host": "127.0.0.1",
        "port": int(os.environ["POND_PORT"]),
        "user": "token",
        "password": os.environ["POND_TOKEN"],
        "use_encryption": False,
        "threads": 2,
    }
