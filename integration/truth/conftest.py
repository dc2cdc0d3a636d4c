"""One PostgreSQL and one MariaDB for all comparisons."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from integration.servers import MariaDB, Postgres


@pytest.fixture(scope="package", name="postgres")
def fixture_postgres() -> Iterator[Postgres]:
    with closing(Postgres()) as server:
        server.start()
        yield server


@pytest.fixture(scope="package", name="mariadb")
def fixture_mariadb() -> Iterator[MariaDB]:
    with closing(MariaDB()) as server:
        server.start()
        yield server
