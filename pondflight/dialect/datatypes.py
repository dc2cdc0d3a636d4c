"""GetXdbcTypeInfo: DuckDB's types in the terms of ODBC and JDBC.

Types that are sent as text (docs/types.md) are listed as text.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum

import pyarrow as pa

from pondflight.flightsql.schemas import XDBC_TYPE_INFO


class Xdbc(IntEnum):
    """Type codes of ODBC and JDBC."""

    CHAR = 1
    DECIMAL = 3
    INTEGER = 4
    SMALLINT = 5
    REAL = 7
    DOUBLE = 8
    DATETIME = 9
    INTERVAL = 10
    VARCHAR = 12
    DATE = 91
    TIME = 92
    TIMESTAMP = 93
    VARBINARY = -3
    BIGINT = -5
    TINYINT = -6
    BIT = -7


class Searchable(IntEnum):
    """How a column of the type can be used in a WHERE clause."""

    NONE = 0
    CHAR = 1
    BASIC = 2
    FULL = 3


_NULLABLE = 1
_LONGEST = 2**31 - 1
_BINARY_RADIX = 2
_DECIMAL_RADIX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Type:
    """A row of ``schemas.XDBC_TYPE_INFO``: the same columns in the same order."""

    type_name: str
    data_type: int
    column_size: int | None = None
    literal_prefix: str | None = None
    literal_suffix: str | None = None
    create_params: list[str] | None = None
    nullable: int = _NULLABLE
    case_sensitive: bool = False
    searchable: int = Searchable.BASIC
    unsigned_attribute: bool | None = None
    fixed_prec_scale: bool = False
    auto_increment: bool | None = None
    local_type_name: str | None = None
    minimum_scale: int | None = None
    maximum_scale: int | None = None
    sql_data_type: int
    datetime_subcode: int | None = None
    num_prec_radix: int | None = None
    interval_precision: int | None = None


def _whole(name: str, code: int, digits: int, *, unsigned: bool = False) -> _Type:
    return _Type(
        type_name=name,
        data_type=code,
        column_size=digits,
        unsigned_attribute=unsigned,
        auto_increment=False,
        minimum_scale=0,
        maximum_scale=0,
        sql_data_type=code,
        num_prec_radix=_DECIMAL_RADIX,
    )


def _real(name: str, code: int, bits: int) -> _Type:
    return _Type(
        type_name=name,
        data_type=code,
        column_size=bits,
        unsigned_attribute=False,
        auto_increment=False,
        sql_data_type=code,
        num_prec_radix=_BINARY_RADIX,
    )


def _text(name: str, *, case_sensitive: bool = True) -> _Type:
    return _Type(
        type_name=name,
        data_type=Xdbc.VARCHAR,
        column_size=_LONGEST,
        literal_prefix="'",
        literal_suffix="'",
        case_sensitive=case_sensitive,
        searchable=Searchable.FULL,
        sql_data_type=Xdbc.VARCHAR,
    )


def _datetime(name: str, code: int, subcode: int, size: int, *, scale: int = 0) -> _Type:
    return _Type(
        type_name=name,
        data_type=code,
        column_size=size,
        literal_prefix="'",
        literal_suffix="'",
        minimum_scale=scale,
        maximum_scale=scale,
        sql_data_type=Xdbc.DATETIME,
        datetime_subcode=subcode,
    )


_DATE, _TIME, _TIMESTAMP, _TIMESTAMP_TZ = 1, 2, 3, 5

_TYPES = (
    _Type(
        type_name="BOOLEAN",
        data_type=Xdbc.BIT,
        column_size=1,
        sql_data_type=Xdbc.BIT,
    ),
    _whole("TINYINT", Xdbc.TINYINT, 3),
    _whole("UTINYINT", Xdbc.TINYINT, 3, unsigned=True),
    _whole("SMALLINT", Xdbc.SMALLINT, 5),
    _whole("USMALLINT", Xdbc.SMALLINT, 5, unsigned=True),
    _whole("INTEGER", Xdbc.INTEGER, 10),
    _whole("UINTEGER", Xdbc.INTEGER, 10, unsigned=True),
    _whole("BIGINT", Xdbc.BIGINT, 19),
    _whole("UBIGINT", Xdbc.BIGINT, 20, unsigned=True),
    _whole("HUGEINT", Xdbc.DECIMAL, 39),
    _real("FLOAT", Xdbc.REAL, 24),
    _real("DOUBLE", Xdbc.DOUBLE, 53),
    _Type(
        type_name="DECIMAL",
        data_type=Xdbc.DECIMAL,
        column_size=38,
        create_params=["precision", "scale"],
        unsigned_attribute=False,
        auto_increment=False,
        minimum_scale=0,
        maximum_scale=38,
        sql_data_type=Xdbc.DECIMAL,
        num_prec_radix=_DECIMAL_RADIX,
    ),
    _text("VARCHAR"),
    _text("JSON"),
    _text("UUID", case_sensitive=False),
    _text("BIT", case_sensitive=False),
    _text("TIME WITH TIME ZONE", case_sensitive=False),
    _text("UHUGEINT", case_sensitive=False),
    _Type(
        type_name="BLOB",
        data_type=Xdbc.VARBINARY,
        column_size=_LONGEST,
        literal_prefix="'",
        literal_suffix="'",
        searchable=Searchable.BASIC,
        sql_data_type=Xdbc.VARBINARY,
    ),
    _datetime("DATE", Xdbc.DATE, _DATE, 10),
    _datetime("TIME", Xdbc.TIME, _TIME, 15, scale=6),
    _datetime("TIMESTAMP", Xdbc.TIMESTAMP, _TIMESTAMP, 26, scale=6),
    _datetime("TIMESTAMP_S", Xdbc.TIMESTAMP, _TIMESTAMP, 19),
    _datetime("TIMESTAMP_MS", Xdbc.TIMESTAMP, _TIMESTAMP, 23, scale=3),
    _datetime("TIMESTAMP_NS", Xdbc.TIMESTAMP, _TIMESTAMP, 29, scale=9),
    _datetime("TIMESTAMP WITH TIME ZONE", Xdbc.TIMESTAMP, _TIMESTAMP_TZ, 29, scale=6),
    _Type(
        type_name="INTERVAL",
        data_type=Xdbc.INTERVAL,
        literal_prefix="'",
        literal_suffix="'",
        sql_data_type=Xdbc.INTERVAL,
        interval_precision=6,
    ),
)


def xdbc_type_info(data_type: int | None) -> pa.Table:
    """Return rows of ``schemas.XDBC_TYPE_INFO``: all, or those with the code ``data_type``."""
    wanted = [t for t in _TYPES if data_type is None or t.data_type == data_type]
    wanted.sort(key=lambda t: t.data_type)
    columns = {
        item.name: pa.array(
            [getattr(t, item.name) for t in wanted], XDBC_TYPE_INFO.field(item.name).type
        )
        for item in fields(_Type)
    }
    return pa.table(columns, schema=XDBC_TYPE_INFO)
