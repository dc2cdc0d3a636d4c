"""Handles of prepared statements and of results: self-contained where they can be.

A handle carries the SQL and the parameters themselves, so it outlives a restart of the worker,
and nothing has to be kept for clients that never come back. Handles are untrusted input: all
they can say is what their sender could send as SQL anyway.

Form: a line of JSON, then, if parameters are bound, an Arrow IPC stream.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TypeVar

import pyarrow as pa

from pondflight.errors import InvalidArgument, NotFound
from pondflight.flightsql import validity
from pondflight.flightsql.decoding import checked_sql

T = TypeVar("T")

INLINE_PARAMETERS = 256 << 10
"""Bytes. Larger parameters are kept by the session, not in the handle."""


_MOST_ROWS = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Handle:
    """A statement, ready to be run, or a result, ready to be fetched.

    ``id``           under which the session keeps the result, or parameters that do not fit here;
                     empty where there is nothing to keep (``control.KEEPS_NOTHING``)
    ``query``        the SQL text; empty for a result
    ``session``      the session it belongs to
    ``transaction``  the transaction it was prepared in, if any
    ``parameters``   bound rows, if any
    ``is_result``    it stands for rows that the session holds
    ``count``        a row count that is the result
    """

    id: str = ""
    query: str = ""
    session: str = ""
    transaction: bytes | None = None
    parameters: pa.Table | None = None
    is_result: bool = False
    count: int | None = None

    def encode(self) -> bytes:
        """Return the handle as bytes, as clients get it."""
        fields: dict[str, object] = {"i": self.id, "q": self.query, "s": self.session}
        if self.transaction is not None:
            fields["t"] = self.transaction.decode("ascii")
        if self.is_result:
            fields["r"] = True
        if self.count is not None:
            fields["n"] = self.count
        head = json.dumps(fields, separators=(",", ":")).encode() + b"\n"
        return head if self.parameters is None else head + _ipc(self.parameters)

    @classmethod
    def decode(cls, data: bytes) -> Handle:
        """Return the handle in ``data``.

        Raises ``NotFound`` for anything that is not one of ours.
        """
        head, _, tail = data.partition(b"\n")
        try:
            fields = json.loads(head)
            handle = cls(
                id=_checked(fields["i"], str),
                query=_checked(fields["q"], str),
                session=_checked(fields["s"], str),
                transaction=_checked(fields["t"], str).encode() if "t" in fields else None,
                is_result=_checked(fields.get("r", False), bool),
                count=_count(fields["n"]) if "n" in fields else None,
                parameters=_table(tail) if tail else None,
            )
        except (ValueError, KeyError, TypeError, RecursionError, pa.ArrowException, OSError):
            raise NotFound("unknown handle: prepare the statement again") from None
        checked_sql(handle.query)
        return handle

    def bind(self, parameters: pa.Table) -> Handle:
        """Return the handle with these parameters in it; ``None`` if it cannot carry them.

        A HUGEINT of 39 digits is not valid as the decimal that carries it.
        """
        try:
            if parameters.nbytes <= INLINE_PARAMETERS:
                parameters.validate(full=True)
                return replace(self, parameters=parameters)
        except pa.ArrowInvalid:
            pass
        return replace(self, parameters=None)

    def require_session(self, session_id: str) -> None:
        """Raise unless the handle may be used in that session.

        A handle of the default session may be used from any session of the user: a client's first
        call comes before it has its session.
        """
        if self.session not in ("", session_id):
            raise InvalidArgument(
                "this handle belongs to another session: prepare the statement again in this one"
            )


def _ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _table(data: bytes) -> pa.Table:
    table = pa.ipc.open_stream(data).read_all()
    validity.check_names(table.schema)
    table.validate(full=True)
    return table


def _count(value: object) -> int:
    count = _checked(value, int)
    if not 0 <= count <= _MOST_ROWS:
        raise ValueError
    return count


def _checked(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise TypeError
    return value
