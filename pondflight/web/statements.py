"""The body of POST /query: SQL, and one row of parameters.

It is SQL text, or JSON: ``{"sql": "…", "parameters": [1, "a"]}``; an object instead of the array
gives parameters by name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import falcon
import falcon.asgi
import pyarrow as pa

from pondflight.errors import InvalidArgument
from pondflight.flightsql.decoding import checked_sql
from pondflight.web.exchange import Exchange

JSON: Final = "application/json"
TEXT: Final = (
    "application/sql",
    "text/plain",
    # What curl and browsers send for a body without a declared type.
    "application/x-www-form-urlencoded",
)
_FIELDS: Final = ("sql", "parameters")
_MOST_PARAMETERS: Final = 1000
_DEEPEST: Final = 32
_INTEGER: Final = pa.int32()
"""The type of whole numbers that fit, as for literals in SQL: DATE + BIGINT is not a date."""

_LARGE: Final = pa.decimal128(38)


@dataclass(frozen=True, slots=True)
class Request:
    """A statement to run.

    ``parameters`` has one row, with columns named after the parameters. Names that the client gave
    begin with ``$``: the worker compares them with its own.
    """

    sql: str
    parameters: pa.RecordBatch | None = None


async def read(req: falcon.asgi.Request) -> Request:
    """Return the request in a body. Raises ``InvalidArgument`` or a 415 if it is not usable."""
    if (req.get_header("content-encoding") or "identity").lower() != "identity":
        raise falcon.HTTPUnsupportedMediaType(description="send the body without Content-Encoding")
    kind = (req.content_type or TEXT[0]).partition(";")[0].strip().lower()
    if kind != JSON and kind not in TEXT:
        raise falcon.HTTPUnsupportedMediaType(
            description=f"send SQL as {TEXT[0]} or {TEXT[1]}, or JSON as {JSON}"
        )
    return decode(await Exchange.of(req).body(), is_json=kind == JSON)


def decode(body: bytes, *, is_json: bool) -> Request:
    """Return the request in a body of JSON or SQL text. Raises ``InvalidArgument`` otherwise."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidArgument("the body is not UTF-8") from None
    return _from_json(text) if is_json else Request(_sql(text))


def _sql(text: object) -> str:
    if not isinstance(text, str):
        raise InvalidArgument('"sql" must be a string')
    if not text.strip():
        raise InvalidArgument("the SQL text has no statement")
    return checked_sql(text)


def _from_json(text: str) -> Request:
    try:
        body = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise InvalidArgument("the body is not JSON: it nests too deeply") from None
    except ValueError as error:
        raise InvalidArgument(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise InvalidArgument('the body must be a JSON object: {"sql": "…", "parameters": […]}')
    if unknown := [name for name in body if name not in _FIELDS]:
        known = " and ".join(f'"{name}"' for name in _FIELDS)
        raise InvalidArgument(f"unknown field {unknown[0][:64]!r}: the fields are {known}")
    if "sql" not in body:
        raise InvalidArgument('the field "sql" is missing')
    return Request(_sql(body["sql"]), _parameters(body.get("parameters")))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _parameters(given: object) -> pa.RecordBatch | None:
    if given is None or given in ([], {}):
        return None
    if isinstance(given, list):
        given = {str(number): value for number, value in enumerate(given, start=1)}
    elif isinstance(given, dict):
        given = {f"${name}": value for name, value in given.items()}
    else:
        raise InvalidArgument('"parameters" must be an array, or an object with their names')
    if len(given) > _MOST_PARAMETERS:
        raise InvalidArgument(f"{len(given)} parameters: {_MOST_PARAMETERS} are the most")
    columns = [_column(name, value) for name, value in given.items()]
    return pa.record_batch(columns, names=[_encodable(name) for name in given])


def _column(name: str, value: object) -> pa.Array:
    if _depth(value) > _DEEPEST:
        raise InvalidArgument(f"parameter {name[:64]!r} nests too deeply")
    try:
        kind = _type(value)
        return pa.array(
            [Decimal(value) if isinstance(value, int) and kind is _LARGE else value], kind
        )
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        raise InvalidArgument(
            f"parameter {name[:64]!r} has no SQL type: send it as a string, and cast that"
        ) from None


def _type(value: object) -> pa.DataType | None:
    """Return the type of a whole number; None for values whose type pyarrow finds itself."""
    if type(value) is not int:
        return None
    if -(2**31) <= value < 2**31:
        return _INTEGER
    return pa.int64() if -(2**63) <= value < 2**63 else _LARGE


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level and depth <= _DEEPEST:
        depth += 1
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer if isinstance(outer, list) else outer.values())
        ]
    return depth


def _encodable(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidArgument("the name of a parameter is not Unicode text") from None
    return name
