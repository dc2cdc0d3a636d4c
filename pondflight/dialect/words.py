"""Keywords and functions of DuckDB, as GetSqlInfo lists them for SQL editors."""

from __future__ import annotations


def _words(text: str) -> list[str]:
    return text.split()


KEYWORDS = _words("""
    ANALYSE ANALYZE ANTI ASOF DO FREEZE GENERATED GLOB ILIKE ISNULL LAMBDA LIMIT MAP NOTNULL
    OFFSET PIVOT PIVOT_LONGER PIVOT_WIDER POSITIONAL QUALIFY RETURNING SEMI SHOW SUMMARIZE
    TABLESAMPLE TRY_CAST UNPACK UNPIVOT VARIADIC VERBOSE
""")
"""Keywords that SQL:2003 does not have, and that cannot name a table without quotes."""

RESERVED = frozenset(
    _words("""
        all analyse analyze and anti any array as asc asof asymmetric at authorization between
        bigint binary bit boolean both by case cast char character check coalesce collate
        collation column columns concurrently constraint create cross dec decimal default
        deferrable desc describe distinct do else end except exists extract false fetch float for
        foreign freeze from full generated glob group grouping grouping_id having ilike in
        initially inner inout int integer intersect interval into is isnull join lambda lateral
        leading left like limit map national natural nchar none not notnull null nullif numeric
        offset on only or order out outer overlaps overlay pivot pivot_longer pivot_wider placing
        position positional precision primary qualify real references returning right row select
        semi setof show similar smallint some struct substring summarize symmetric table
        tablesample then time timestamp to trailing treat trim true try_cast union unique unpack
        unpivot using values varchar variadic verbose when where window with xmlattributes
        xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize
        xmltable
    """)
)
"""Names that are always quoted, since each is a keyword in some place of SQL."""

NUMERIC_FUNCTIONS = _words("""
    ABS ACOS ASIN ATAN ATAN2 CBRT CEILING COS COT DEGREES EVEN EXP FACTORIAL FLOOR GAMMA
    GREATEST LEAST LN LOG LOG10 LOG2 MOD PI POWER RADIANS RANDOM ROUND SIGN SIN SQRT TAN TRUNC
""")
STRING_FUNCTIONS = _words("""
    ASCII BIT_LENGTH CHARACTER_LENGTH CHAR_LENGTH CHR CONCAT CONCAT_WS CONTAINS FORMAT LCASE
    LEFT LENGTH LEVENSHTEIN LOWER LPAD LTRIM MD5 OCTET_LENGTH POSITION PRINTF REGEXP_EXTRACT
    REGEXP_MATCHES REGEXP_REPLACE REPEAT REPLACE REVERSE RIGHT RPAD RTRIM SHA256 SPLIT_PART
    STARTS_WITH STRING_SPLIT STRPOS SUBSTRING TRANSLATE TRIM UCASE UPPER
""")
SYSTEM_FUNCTIONS = _words("""
    CURRENT_CATALOG CURRENT_DATABASE CURRENT_SCHEMA CURRENT_SETTING CURRENT_USER NULLIF TYPEOF
    USER VERSION
""")
DATETIME_FUNCTIONS = _words("""
    AGE CENTURY CURRENT_DATE DATE_ADD DATE_DIFF DATE_PART DATE_SUB DATE_TRUNC DAY DAYNAME
    DAYOFMONTH DAYOFWEEK DAYOFYEAR DECADE EPOCH HOUR LAST_DAY MAKE_DATE MAKE_TIME
    MAKE_TIMESTAMP MINUTE MONTH MONTHNAME NOW QUARTER SECOND STRFTIME STRPTIME TIME_BUCKET
    TODAY TO_TIMESTAMP WEEK YEAR
""")
