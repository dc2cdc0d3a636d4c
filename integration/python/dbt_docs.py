"""dbt's tests of ``dbt docs generate``, with DuckDB's names of types, run in .venv-tools."""

from __future__ import annotations

import pytest
from dbt.tests.adapter.basic.expected_catalog import (
    base_expected_catalog,
    expected_references_catalog,
    no_stats,
)
from dbt.tests.adapter.basic.test_docs_generate import BaseDocsGenerate, BaseDocsGenReferences
from dbt.tests.fixtures.project import TestProjInfo

_KINDS = {
    "role": None,  # dbt-gizmosql names no owner
    "id_type": "BIGINT",
    "text_type": "VARCHAR",
    "time_type": "TIMESTAMP",
    "view_type": "VIEW",
    "table_type": "BASE TABLE",
    "model_stats": no_stats(),
}


class TestDocsGenerate(BaseDocsGenerate):
    """The catalog of a project."""

    @pytest.fixture(scope="class")
    def expected_catalog(self, project: TestProjInfo) -> dict[str, object]:
        """What ``catalog.json`` has to contain."""
        catalog: dict[str, object] = base_expected_catalog(project, **_KINDS)
        return catalog


class TestDocsGenReferences(BaseDocsGenReferences):
    """The catalog of a project with sources and references."""

    @pytest.fixture(scope="class")
    def expected_catalog(self, project: TestProjInfo) -> dict[str, object]:
        """What ``catalog.json`` has to contain."""
        catalog: dict[str, object] = expected_references_catalog(
            project, bigint_type="BIGINT", **_KINDS
        )
        return catalog
