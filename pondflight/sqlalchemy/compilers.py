"""SQL that DuckDB understands: PostgreSQL's dialect, except for what is here."""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import base as postgresql
from sqlalchemy.schema import (
    Column,
    CreateSequence,
    CreateTable,
    DropSequence,
    DropTable,
    Sequence,
    Table,
)
from sqlalchemy.sql import compiler
from sqlalchemy.sql.elements import BinaryExpression
from sqlalchemy.types import Numeric, TypeEngine

from pondflight.sqlalchemy import names

_FLOAT_BITS = 24
"""Up to this precision, a FLOAT has 32 bits."""


class Preparer(compiler.IdentifierPreparer):
    """Quotes every name: DuckDB's reserved words are not PostgreSQL's."""

    def _requires_quotes(self, value: str) -> bool:
        return True

    def quote_schema(self, schema: str, force: object = None) -> str:
        """Return the quoted schema, with its catalog if it names one."""
        catalog, schema = names.split(schema)
        return ".".join(self.quote(part) for part in (catalog, schema) if part is not None)


class SQLCompiler(postgresql.PGCompiler):
    """Compiles statements."""

    def visit_regexp_match_op_binary(
        self, binary: BinaryExpression, operator: object, **kw: object
    ) -> str:
        """Return SQL that searches the text, as in PostgreSQL; DuckDB's ``~`` matches all of it."""
        return self._matches(binary, **kw)

    def visit_not_regexp_match_op_binary(
        self, binary: BinaryExpression, operator: object, **kw: object
    ) -> str:
        """Return SQL that is true where the regular expression is not found."""
        return f"NOT {self._matches(binary, **kw)}"

    def for_update_clause(self, select: object, **kw: object) -> str:
        """Return nothing: DuckDB has no row locks, and reports conflicts at commit."""
        return ""

    def _matches(self, binary: BinaryExpression, **kw: object) -> str:
        arguments = [self.process(binary.left, **kw), self.process(binary.right, **kw)]
        if flags := binary.modifiers.get("flags"):
            text = flags if isinstance(flags, str) else flags.value
            arguments.append("'" + text.replace("'", "''") + "'")
        return f"regexp_matches({', '.join(arguments)})"


class DDLCompiler(compiler.DDLCompiler):
    """Compiles CREATE and DROP. A key that counts by itself takes its numbers from a sequence."""

    def visit_create_table(self, create: CreateTable, **kw: object) -> str:
        """Return CREATE TABLE, after CREATE SEQUENCE if its key needs one."""
        text: str = super().visit_create_table(create, **kw)
        sequence = _sequence(create.element)
        if sequence is None:
            return text
        return f"{self.process(CreateSequence(sequence, if_not_exists=True))};\n{text.strip()}"

    def visit_drop_table(self, drop: DropTable, **kw: object) -> str:
        """Return DROP TABLE, and DROP SEQUENCE for its key."""
        text: str = super().visit_drop_table(drop, **kw)
        sequence = _sequence(drop.element)
        if sequence is None:
            return text
        return f"{text.strip()};\n{self.process(DropSequence(sequence, if_exists=True))}"

    def visit_create_sequence(self, create: CreateSequence, **kw: object) -> str:
        """Return CREATE SEQUENCE with IF NOT EXISTS, which SQLAlchemy 1.4 does not support here."""
        name = self.preparer.format_sequence(create.element)
        condition = "IF NOT EXISTS " if getattr(create, "if_not_exists", False) else ""
        options = self.get_identity_options(create.element)
        return f"CREATE SEQUENCE {condition}{name} {options}".rstrip()

    def visit_drop_sequence(self, drop: DropSequence, **kw: object) -> str:
        """Return DROP SEQUENCE."""
        condition = "IF EXISTS " if getattr(drop, "if_exists", False) else ""
        return f"DROP SEQUENCE {condition}{self.preparer.format_sequence(drop.element)}"

    def get_column_specification(self, column: Column, **kw: object) -> str:
        """Return name, type, default and NOT NULL of a column."""
        specification: str = super().get_column_specification(column, **kw)
        sequence = _sequence(column.table)
        if sequence is None or column is not column.table._autoincrement_column:  # noqa: SLF001
            return specification
        name = self.preparer.format_sequence(sequence).replace("'", "''")
        return f"{specification} DEFAULT nextval('{name}')"


class TypeCompiler(postgresql.PGTypeCompiler):
    """Compiles types whose PostgreSQL name means something else in DuckDB, or nothing."""

    def visit_FLOAT(self, type_: Numeric, **kw: object) -> str:  # noqa: N802
        """Return DOUBLE, unless the precision asks for less: DuckDB's FLOAT has 32 bits."""
        precision = type_.precision
        return "REAL" if precision is not None and precision <= _FLOAT_BITS else "DOUBLE"

    def visit_NUMERIC(self, type_: Numeric, **kw: object) -> str:  # noqa: N802
        """Return DECIMAL; without a precision, as wide as possible with ten decimal places."""
        if type_.precision is None:
            return "DECIMAL(38, 10)"
        return f"DECIMAL({type_.precision}, {type_.scale or 0})"

    visit_DECIMAL = visit_NUMERIC  # noqa: N815

    def visit_uuid(self, type_: TypeEngine, **kw: object) -> str:
        """Return UUID, although its values are sent as text."""
        return "UUID"


def _sequence(table: Table) -> Sequence | None:
    """Return the sequence of a table's key; ``None`` if the key does not count by itself."""
    column = table._autoincrement_column  # noqa: SLF001
    if column is None or column.default is not None or column.server_default is not None:
        return None
    return Sequence(f"{table.name}_{column.name}_seq", schema=table.schema)
