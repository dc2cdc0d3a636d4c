"""The answer to GetSqlInfo: values of five kinds in one dense union."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa

from pondflight.flightsql.schemas import SQL_INFO, SQL_INFO_VALUE


class Bitmask(int):
    """An integer sent as ``int32_bitmask``; a plain int is sent as ``bigint_value``.

    Clients cast without checking, so the kind of each value is part of the interface.
    """


SqlInfoValue = str | bool | int | Bitmask | list[str] | dict[int, list[int]] | None
"""The value of an id; ``None`` is a missing text."""

_STRING, _BOOL, _BIGINT, _BITMASK, _STRINGS, _MAP = range(6)


def _code(value: SqlInfoValue) -> int:
    if value is None or isinstance(value, str):
        return _STRING
    if isinstance(value, bool):
        return _BOOL
    if isinstance(value, Bitmask):
        return _BITMASK
    if isinstance(value, int):
        return _BIGINT
    return _STRINGS if isinstance(value, list) else _MAP


def sql_info_table(values: Mapping[int, SqlInfoValue], wanted: Iterable[int] = ()) -> pa.Table:
    """Return the rows for ``wanted`` ids (all, if empty); ids without a value are left out."""
    ids = [i for i in (list(wanted) or sorted(values)) if i in values]
    children: list[list[object]] = [[] for _ in range(6)]
    codes: list[int] = []
    offsets: list[int] = []
    for i in ids:
        value = values[i]
        code = _code(value)
        codes.append(code)
        offsets.append(len(children[code]))
        children[code].append(list(value.items()) if isinstance(value, dict) else value)
    union = pa.UnionArray.from_dense(
        pa.array(codes, pa.int8()),
        pa.array(offsets, pa.int32()),
        [
            pa.array(child, SQL_INFO_VALUE.field(i).type, from_pandas=False)
            for i, child in enumerate(children)
        ],
        [SQL_INFO_VALUE.field(i).name for i in range(6)],
    )
    return pa.Table.from_arrays([pa.array(ids, pa.uint32()), union], schema=SQL_INFO)
