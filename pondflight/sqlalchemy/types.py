"""DuckDB's types in SQLAlchemy's terms, parsed from DuckDB's text of them."""

from __future__ import annotations

import re

from sqlalchemy import types
from sqlalchemy.dialects import postgresql

_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
_ARRAY = re.compile(r"\[\d*\]$")

_SIMPLE: dict[str, types.TypeEngine] = {
    "BOOLEAN": types.BOOLEAN(),
    "TINYINT": types.SMALLINT(),
    "UTINYINT": types.SMALLINT(),
    "SMALLINT": types.SMALLINT(),
    "USMALLINT": types.INTEGER(),
    "INTEGER": types.INTEGER(),
    "UINTEGER": types.BIGINT(),
    "BIGINT": types.BIGINT(),
    "FLOAT": types.REAL(),
    "DOUBLE": postgresql.DOUBLE_PRECISION(),
    "VARCHAR": types.VARCHAR(),
    "BLOB": types.LargeBinary(),
    "DATE": types.DATE(),
    "TIME": types.TIME(),
    "TIMESTAMP": types.TIMESTAMP(),
    "TIMESTAMP WITH TIME ZONE": types.TIMESTAMP(timezone=True),
    "UUID": postgresql.UUID(as_uuid=False),
    "JSON": types.JSON(),
}


class Bytes(types.LargeBinary):
    """BLOB. Its values are passed on unchanged: ADBC's module has no ``Binary``."""

    def bind_processor(self, dialect: object) -> None:
        """Return None: values need no conversion."""


class DuckDBType(types.UserDefinedType):
    """A DuckDB type that SQLAlchemy does not have; its values are as the driver returns them.

    ``text`` is the type as DuckDB writes it: ``STRUCT(x INTEGER, y VARCHAR)``.
    """

    cache_ok = True

    def __init__(self, text: str) -> None:
        self.text = text

    def get_col_spec(self, **kw: object) -> str:
        """Return the type as in DDL."""
        return self.text


def from_text(text: str) -> types.TypeEngine:
    """Return SQLAlchemy's type for a value of ``duckdb_columns().data_type``."""
    if text in _SIMPLE:
        return _SIMPLE[text]
    if decimal := _DECIMAL.fullmatch(text):
        return types.DECIMAL(int(decimal[1]), int(decimal[2]))
    if array := _ARRAY.search(text):
        item, dimensions = text[: array.start()], 1
        while array := _ARRAY.search(item):
            item, dimensions = item[: array.start()], dimensions + 1
        return postgresql.ARRAY(from_text(item), dimensions=dimensions)
    return DuckDBType(text)
