"""The formats of a result, and the choice of the one that a client accepts.

A format turns batches into pieces of a body as they come; it keeps only the current batch (Parquet:
the row group).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import falcon
import falcon.asgi
import pyarrow as pa
from falcon import mediatypes

from pondflight.flightsql.streams import slices
from pondflight.web import datetimes, json_text
from pondflight.web.sink import Piece, Sink

Pieces = Generator[Piece]

Encoder = Callable[[pa.Schema, Iterable[pa.RecordBatch]], Pieces]

_JSON_ROWS_AT_ONCE: Final = 4 << 10
_CSV_ROWS_AT_ONCE: Final = 16 << 10
_ROW_GROUP: Final = 8 << 20
_one_formats = threading.Lock()
"""Held while rows are encoded as text.

Several at once would be no faster, and slow down the rest.
"""


@dataclass(frozen=True, slots=True)
class Format:
    """A format; ``media_types`` are the accepted names, the first of which is sent."""

    media_types: tuple[str, ...]
    encode: Encoder


def _arrow(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Pieces:
    sink = Sink()
    with pa.ipc.new_stream(sink.file(), schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield sink.take()
    yield sink.take()


def _json_lines(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Pieces:
    from pondflight.web import json_lines  # noqa: PLC0415 - memory, for those who need it

    names = json_text.distinct(schema.names)
    for batch in batches:
        for rows in _pieces(batch, _JSON_ROWS_AT_ONCE):
            with _one_formats:
                lines = json_lines.lines(rows, names)
            yield lines


def _csv(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Pieces:
    from pyarrow import csv  # noqa: PLC0415 - memory, for those who need it

    sink = Sink(reuses_buffers=True)
    flat = _Flat(schema, _in_csv)
    csv.write_csv(flat.schema.empty_table(), sink.file())  # the header
    options = csv.WriteOptions(include_header=False)
    for batch in batches:
        for rows in _pieces(batch, _CSV_ROWS_AT_ONCE):
            flat_rows = _of_any_year(flat.batch(rows))
            with _one_formats:
                csv.write_csv(flat_rows, sink.file(), options)
            yield sink.take()
    yield sink.take()


def _of_any_year(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return ``rows`` with text for columns of dates and times that Arrow cannot write."""
    types = pa.types
    for index, array in enumerate(rows.columns):
        kind = array.type
        temporal = types.is_date32(kind) or types.is_time(kind) or types.is_timestamp(kind)
        if temporal and not datetimes.ordinary(array):
            rows = rows.set_column(index, rows.schema.names[index], _texts(array))
    return rows


def _pieces(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, rows):
        yield from slices(batch.slice(start, rows))


def _parquet(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Pieces:
    from pyarrow import parquet  # noqa: PLC0415 - memory, for those who need it

    sink = Sink(reuses_buffers=True)
    flat = _Flat(schema, _in_parquet)
    with parquet.ParquetWriter(sink.file(), flat.schema) as writer:
        for group in _row_groups(flat.batch(batch) for batch in batches):
            writer.write_table(pa.Table.from_batches(group, flat.schema))
            yield sink.take()
    yield sink.take()


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    group: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        group.append(batch)
        size += batch.nbytes
        if size >= _ROW_GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


class _Flat:
    """Converts columns of types that a format does not have to JSON text."""

    def __init__(self, schema: pa.Schema, fits: Callable[[pa.DataType], bool]) -> None:
        self._as_text = [not fits(field.type) for field in schema]
        fields = [
            pa.field(field.name, pa.string()) if as_text else field
            for field, as_text in zip(schema, self._as_text, strict=True)
        ]
        self.schema = pa.schema(fields)

    def batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Convert the columns of ``batch`` to this schema."""
        if not any(self._as_text):
            return batch
        columns = [
            _texts(array) if as_text else array
            for array, as_text in zip(batch.columns, self._as_text, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def _texts(array: pa.Array) -> pa.Array:
    with _one_formats:
        texts = json_text.column(array)
    # A string stands for itself, without JSON's quotation marks.
    bare = [None if t == "null" else t[1:-1] if t.startswith('"') else t for t in texts]
    return pa.array(bare, pa.string())


def _in_csv(kind: pa.DataType) -> bool:
    types = pa.types
    return (
        types.is_primitive(kind) or types.is_decimal(kind) or types.is_string(kind)
    ) and not types.is_interval(kind)


def _in_parquet(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_interval(kind) or types.is_union(kind) or isinstance(kind, pa.BaseExtensionType):
        return False
    if types.is_dictionary(kind):
        return bool(types.is_string(kind.value_type))
    return all(_in_parquet(kind.field(i).type) for i in range(kind.num_fields))


JSON_LINES: Final = Format(
    ("application/x-ndjson", "application/jsonl", "application/json-lines"), _json_lines
)
ARROW: Final = Format(("application/vnd.apache.arrow.stream",), _arrow)
CSV: Final = Format(("text/csv",), _csv)
PARQUET: Final = Format(("application/vnd.apache.parquet", "application/parquet"), _parquet)

FORMATS: Final = (JSON_LINES, ARROW, CSV, PARQUET)
"""The formats, in order of preference for a client that accepts several."""


def negotiate(req: falcon.asgi.Request) -> Format:
    """Return the format that the client prefers. Raises 406 if it accepts none of them."""
    accept = ",".join(filter(str.strip, req.accept.lower().split(","))) or "*/*"
    try:
        wishes = {form: _wish(form, accept) for form in FORMATS} if _readable(accept) else {}
    except falcon.InvalidMediaType:
        wishes = {}
    if not any(wishes.values()):
        offers = ", ".join(form.media_types[0] for form in FORMATS)
        raise falcon.HTTPNotAcceptable(description=f"results come as {offers}")
    return max(FORMATS, key=lambda form: wishes[form])


def _wish(form: Format, accept: str) -> float:
    """Return how much a client wants a format: from 0 for not at all to 1."""
    name, *others = form.media_types
    asked = [name, *(other for other in others if other in accept)]
    return max(mediatypes.quality(one, accept) for one in asked)


def _readable(accept: str) -> bool:
    return accept.isascii() and accept.isprintable()
