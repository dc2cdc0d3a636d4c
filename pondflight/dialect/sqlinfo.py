"""The official SqlInfo list with the value of each id.

The kind of each value within the union is part of the interface, since clients cast without
checking: masks are int32; limits and ordinals are int64 (the JDBC driver reads
``SQL_DEFAULT_TRANSACTION_ISOLATION`` as a long). The JDBC driver fails on ids outside the official
list, and its older versions fail if one is missing.
"""

from __future__ import annotations

from importlib.metadata import version

from pondflight.dialect import words
from pondflight.flightsql.decoding import MAX_REQUEST
from pondflight.flightsql.sqlinfo import Bitmask, SqlInfoValue

_NO_LIMIT = 0
"""A limit that does not exist, or is not known."""

_CASE_INSENSITIVE = 1
_NULLS_AT_END = 3
_REPEATABLE_READ = 3
"""DuckDB's transactions are snapshots."""


def _bits(*numbers: int) -> Bitmask:
    return Bitmask(sum(1 << number for number in numbers))


(
    _BIGINT,
    _BINARY,
    _BIT,
    _CHAR,
    _DATE,
    _DECIMAL,
    _FLOAT,
    _INTEGER,
    _INTERVAL_DAY,
    _INTERVAL_YEAR,
    _LONGVARBINARY,
    _LONGVARCHAR,
    _NUMERIC,
    _REAL,
    _SMALLINT,
    _TIME,
    _TIMESTAMP,
    _TINYINT,
    _VARBINARY,
    _VARCHAR,
) = range(20)  # SqlSupportsConvert

_TEXTS = [_CHAR, _LONGVARCHAR, _VARCHAR]
_BINARIES = [_BINARY, _LONGVARBINARY, _VARBINARY]
_INTERVALS = [_INTERVAL_DAY, _INTERVAL_YEAR]
_NUMBERS = [_BIGINT, _BIT, _DECIMAL, _FLOAT, _INTEGER, _NUMERIC, _REAL, _SMALLINT, _TINYINT]

_CONVERSIONS: dict[int, list[int]] = {
    source: sorted(targets)
    for sources, targets in (
        (_TEXTS, range(20)),
        (_NUMBERS, _NUMBERS + _TEXTS),
        (_BINARIES, _BINARIES + _TEXTS),
        (_INTERVALS, _INTERVALS + _TEXTS),
        ([_DATE], [_DATE, _TIMESTAMP, *_TEXTS]),
        ([_TIME], [_TIME, *_TEXTS]),
        ([_TIMESTAMP], [_DATE, _TIME, _TIMESTAMP, *_TEXTS]),
    )
    for source in sources
}

SQL_INFO: dict[int, SqlInfoValue] = {
    0: "pondflight",  # FLIGHT_SQL_SERVER_NAME
    1: f"duckdb v{version('duckdb')}",  # FLIGHT_SQL_SERVER_VERSION
    2: version("pyarrow"),  # FLIGHT_SQL_SERVER_ARROW_VERSION
    3: False,  # FLIGHT_SQL_SERVER_READ_ONLY
    4: True,  # FLIGHT_SQL_SERVER_SQL
    5: False,  # FLIGHT_SQL_SERVER_SUBSTRAIT
    6: None,  # FLIGHT_SQL_SERVER_SUBSTRAIT_MIN_VERSION
    7: None,  # FLIGHT_SQL_SERVER_SUBSTRAIT_MAX_VERSION
    8: Bitmask(1),  # FLIGHT_SQL_SERVER_TRANSACTION: transactions, no savepoints
    9: True,  # FLIGHT_SQL_SERVER_CANCEL
    10: True,  # FLIGHT_SQL_SERVER_BULK_INGESTION
    11: True,  # FLIGHT_SQL_SERVER_INGEST_TRANSACTIONS_SUPPORTED
    100: Bitmask(_NO_LIMIT),  # FLIGHT_SQL_SERVER_STATEMENT_TIMEOUT
    101: Bitmask(_NO_LIMIT),  # FLIGHT_SQL_SERVER_TRANSACTION_TIMEOUT
    500: False,  # SQL_DDL_CATALOG
    501: True,  # SQL_DDL_SCHEMA
    502: True,  # SQL_DDL_TABLE
    503: _CASE_INSENSITIVE,  # SQL_IDENTIFIER_CASE
    504: '"',  # SQL_IDENTIFIER_QUOTE_CHAR
    505: _CASE_INSENSITIVE,  # SQL_QUOTED_IDENTIFIER_CASE
    506: True,  # SQL_ALL_TABLES_ARE_SELECTABLE
    507: _NULLS_AT_END,  # SQL_NULL_ORDERING
    508: words.KEYWORDS,  # SQL_KEYWORDS
    509: words.NUMERIC_FUNCTIONS,  # SQL_NUMERIC_FUNCTIONS
    510: words.STRING_FUNCTIONS,  # SQL_STRING_FUNCTIONS
    511: words.SYSTEM_FUNCTIONS,  # SQL_SYSTEM_FUNCTIONS
    512: words.DATETIME_FUNCTIONS,  # SQL_DATETIME_FUNCTIONS
    513: "\\",  # SQL_SEARCH_STRING_ESCAPE
    514: "",  # SQL_EXTRA_NAME_CHARACTERS
    515: True,  # SQL_SUPPORTS_COLUMN_ALIASING
    516: True,  # SQL_NULL_PLUS_NULL_IS_NULL
    517: _CONVERSIONS,  # SQL_SUPPORTS_CONVERT
    518: True,  # SQL_SUPPORTS_TABLE_CORRELATION_NAMES
    519: False,  # SQL_SUPPORTS_DIFFERENT_TABLE_CORRELATION_NAMES: they need not differ
    520: True,  # SQL_SUPPORTS_EXPRESSIONS_IN_ORDER_BY
    521: True,  # SQL_SUPPORTS_ORDER_BY_UNRELATED
    522: _bits(0, 1),  # SQL_SUPPORTED_GROUP_BY: unrelated, beyond select
    523: True,  # SQL_SUPPORTS_LIKE_ESCAPE_CLAUSE
    524: True,  # SQL_SUPPORTS_NON_NULLABLE_COLUMNS
    525: _bits(0, 1, 2),  # SQL_SUPPORTED_GRAMMAR: minimum, core, extended
    526: _bits(0, 1),  # SQL_ANSI92_SUPPORTED_LEVEL: entry, intermediate
    527: True,  # SQL_SUPPORTS_INTEGRITY_ENHANCEMENT_FACILITY
    528: _bits(1, 2),  # SQL_OUTER_JOINS_SUPPORT_LEVEL: limited, full
    529: "schema",  # SQL_SCHEMA_TERM
    530: "procedure",  # SQL_PROCEDURE_TERM
    531: "database",  # SQL_CATALOG_TERM
    532: True,  # SQL_CATALOG_AT_START
    533: _bits(1),  # SQL_SCHEMAS_SUPPORTED_ACTIONS: in index definitions
    534: _bits(1),  # SQL_CATALOGS_SUPPORTED_ACTIONS: in index definitions
    535: _bits(),  # SQL_SUPPORTED_POSITIONED_COMMANDS
    536: False,  # SQL_SELECT_FOR_UPDATE_SUPPORTED
    537: False,  # SQL_STORED_PROCEDURES_SUPPORTED
    538: _bits(0, 1, 2, 3),  # SQL_SUPPORTED_SUBQUERIES: comparisons, exists, in, quantified
    539: True,  # SQL_CORRELATED_SUBQUERIES_SUPPORTED
    540: _bits(0, 1),  # SQL_SUPPORTED_UNIONS: union, union all
    541: _NO_LIMIT,  # SQL_MAX_BINARY_LITERAL_LENGTH
    542: _NO_LIMIT,  # SQL_MAX_CHAR_LITERAL_LENGTH
    543: _NO_LIMIT,  # SQL_MAX_COLUMN_NAME_LENGTH
    544: _NO_LIMIT,  # SQL_MAX_COLUMNS_IN_GROUP_BY
    545: _NO_LIMIT,  # SQL_MAX_COLUMNS_IN_INDEX
    546: _NO_LIMIT,  # SQL_MAX_COLUMNS_IN_ORDER_BY
    547: _NO_LIMIT,  # SQL_MAX_COLUMNS_IN_SELECT
    548: _NO_LIMIT,  # SQL_MAX_COLUMNS_IN_TABLE
    549: _NO_LIMIT,  # SQL_MAX_CONNECTIONS
    550: _NO_LIMIT,  # SQL_MAX_CURSOR_NAME_LENGTH
    551: _NO_LIMIT,  # SQL_MAX_INDEX_LENGTH
    552: _NO_LIMIT,  # SQL_DB_SCHEMA_NAME_LENGTH
    553: _NO_LIMIT,  # SQL_MAX_PROCEDURE_NAME_LENGTH
    554: _NO_LIMIT,  # SQL_MAX_CATALOG_NAME_LENGTH
    555: _NO_LIMIT,  # SQL_MAX_ROW_SIZE
    556: True,  # SQL_MAX_ROW_SIZE_INCLUDES_BLOBS
    557: MAX_REQUEST,  # SQL_MAX_STATEMENT_LENGTH
    558: _NO_LIMIT,  # SQL_MAX_STATEMENTS
    559: _NO_LIMIT,  # SQL_MAX_TABLE_NAME_LENGTH
    560: _NO_LIMIT,  # SQL_MAX_TABLES_IN_SELECT
    561: _NO_LIMIT,  # SQL_MAX_USERNAME_LENGTH
    562: _REPEATABLE_READ,  # SQL_DEFAULT_TRANSACTION_ISOLATION
    563: True,  # SQL_TRANSACTIONS_SUPPORTED
    564: _bits(_REPEATABLE_READ),  # SQL_SUPPORTED_TRANSACTIONS_ISOLATION_LEVELS
    565: False,  # SQL_DATA_DEFINITION_CAUSES_TRANSACTION_COMMIT
    566: False,  # SQL_DATA_DEFINITIONS_IN_TRANSACTIONS_IGNORED
    567: _bits(1),  # SQL_SUPPORTED_RESULT_SET_TYPES: forward only
    568: _bits(1),  # SQL_SUPPORTED_CONCURRENCIES_FOR_RESULT_SET_UNSPECIFIED: read only
    569: _bits(1),  # SQL_SUPPORTED_CONCURRENCIES_FOR_RESULT_SET_FORWARD_ONLY: read only
    570: _bits(),  # SQL_SUPPORTED_CONCURRENCIES_FOR_RESULT_SET_SCROLL_SENSITIVE
    571: _bits(),  # SQL_SUPPORTED_CONCURRENCIES_FOR_RESULT_SET_SCROLL_INSENSITIVE
    572: True,  # SQL_BATCH_UPDATES_SUPPORTED
    573: False,  # SQL_SAVEPOINTS_SUPPORTED
    574: False,  # SQL_NAMED_PARAMETERS_SUPPORTED
    575: False,  # SQL_LOCATORS_UPDATE_COPY
    576: False,  # SQL_STORED_FUNCTIONS_USING_CALL_SYNTAX_SUPPORTED
}
