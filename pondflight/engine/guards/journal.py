"""What this worker runs and ran last, for the operator who wonders what it is doing.

A limited number of entries is kept here, in the user's own worker, and lost with it. By default an
operator sees statements without the values in them, which may be secrets.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import duckdb

from pondflight.engine.guards.callers import Call
from pondflight.errors import Cancelled, Internal, PondflightError, SqlError, clip

KEPT = 100
LONGEST_TEXT = 4000
"""Characters of a statement that are shown."""

_LONGEST_ERROR = 300
_VALUES = (duckdb.token_type.string_const, duckdb.token_type.numeric_const)
_QUOTED = re.compile(r"""['"`$](?:.*['"`$])?""")
_NUMBER = re.compile(r"\d[\w.]*")
_KIND = re.compile(r"(?:[A-Z][\w ]* Error: )*?([A-Z][\w ]* Error): ?(.*)")
_SAYS_NAMES_ONLY = {"Catalog Error", "Binder Error", "Parser Error"}
_NAME = re.compile(r'''"(?:[^"]|"")*"''')
_NAMED = re.compile(r"with name (.+)(?= does not exist)")
"""What the catalog does not have: perhaps the value of a parameter."""
_WORD = re.compile(r"\w+")
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_REST_OF_NUMBER = re.compile(r"^\w+")
_UNENDED = re.compile(r"""(?:\w+&)?['"].*|\$\w*\$.*|/\*.*""", re.DOTALL)
"""The beginning of a value or a comment, in text that the tokenizer could not read."""


@dataclass(eq=False)
class Entry:
    """A statement that runs or has run."""

    sql: str
    kind: str
    call: Call
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    started: float = field(default_factory=time.time)
    clock: float = field(default_factory=time.monotonic)
    state: str = "running"
    seconds: float | None = None
    rows: Callable[[], int] = int
    error: PondflightError | None = None

    @property
    def running(self) -> float:
        """Return the seconds since it began."""
        return time.monotonic() - self.clock

    def end(self, error: PondflightError | None) -> None:
        """Record the end of the statement; a second end is ignored."""
        if self.seconds is not None:
            return
        self.seconds = self.running
        if error is None:
            self.state = "done"
        elif isinstance(error, Cancelled):
            self.state = "cancelled"
        else:
            self.state, self.error = "failed", error


class Journal:
    """The entries of one worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._running: set[Entry] = set()
        self._early: OrderedDict[str, Entry] = OrderedDict()

    def begin(self, call: Call, sql: str, kind: str) -> Entry:
        """Record the start of a statement; it ends with the call, if not before.

        Calls without an id are not a user's: the pool asks whether the worker is well.
        """
        entry = Entry(sql, kind, call)
        if call.identity.call_id is None:
            return entry
        with self._lock:
            self._running.add(entry)
        call.on_done(lambda error: self.end(entry, error))
        return entry

    def early(self, key: str, entry: Entry) -> None:
        """Keep the entry of a statement that ran early until its rows are fetched."""
        entry.end(None)
        with self._lock:
            self._early[key] = entry
            if len(self._early) > KEPT:
                self._early.popitem(last=False)

    def fetched(self, key: str) -> None:
        """Record a statement that ran early, since its rows were fetched."""
        with self._lock:
            entry = self._early.pop(key, None)
            if entry is not None:
                self._entries.append(entry)

    def end(self, entry: Entry, error: PondflightError | None = None) -> None:
        """Move a statement from the running ones to the recent ones."""
        with self._lock:
            if entry in self._running:
                self._running.discard(entry)
                self._entries.append(entry)
                entry.end(error)

    def refused(self, call: Call, sql: str, error: PondflightError) -> None:
        """Record that the call failed before or while it ran ``sql``; once per call."""
        with self._lock:
            if any(entry.call is call for entry in (*self._running, *self._entries)):
                return
        self.end(self.begin(call, sql, "REFUSED"), error)

    @contextmanager
    def during(self, call: Call, sql: str, kind: str) -> Iterator[Entry]:
        """Record a statement that ends with the block."""
        entry = self.begin(call, sql, kind)
        try:
            yield entry
        except PondflightError as error:
            self.end(entry, error)
            raise
        self.end(entry)

    def cancel(self, entry_id: str) -> bool:
        """Cancel a running statement; return whether there was one."""
        with self._lock:
            calls = [entry.call for entry in self._running if entry.id == entry_id]
        for call in calls:
            call.cancel(Cancelled("the statement was cancelled by an operator"))
        return bool(calls)

    def show(self, text: str) -> list[dict[str, object]]:
        """Return all entries, the newest first; ``text`` is ``masked``, ``full`` or ``none``."""
        with self._lock:
            entries = [*self._running, *self._entries]
        entries.sort(key=lambda entry: -entry.started)
        return [_shown(entry, text) for entry in entries]


def _shown(entry: Entry, text: str) -> dict[str, object]:
    seconds = entry.seconds
    sql, error = "", "failed"
    if text == "full":
        sql = entry.sql
        error = str(entry.error)
    elif text == "masked":
        sql = masked(entry.sql)
        error = "" if entry.error is None else _masked_error(entry.error, entry.sql, sql)
    return {
        "id": entry.id,
        "text": sql[:LONGEST_TEXT],
        "kind": entry.kind,
        "state": entry.state,
        "started": entry.started,
        "seconds": entry.running if seconds is None else seconds,
        "rows": entry.rows(),
        "error": None if entry.error is None else clip(error, _LONGEST_ERROR),
    }


def masked(sql: str) -> str:
    """Return ``sql`` with a question mark for each value, and without comments."""
    data = sql.encode()
    tokens = duckdb.tokenize(sql)
    pieces: list[str] = []
    for index, (start, kind) in enumerate(tokens):
        end = tokens[index + 1][0] if index + 1 < len(tokens) else len(data)
        piece = data[start:end].decode("utf-8", "replace")
        if pieces and pieces[-1] == "?":
            piece = _REST_OF_NUMBER.sub("", piece)
        if kind in _VALUES:
            pieces.append("? " if piece[-1:].isspace() else "?")
        else:
            name = _NAME.match(piece)
            said = name[0] if name is not None else ""
            pieces.append(said + _UNENDED.sub("? ", _COMMENT.sub(" ", piece[len(said) :])))
    return " ".join("".join(pieces).split())


def _masked_error(error: PondflightError, sql: str, shown: str) -> str:
    """Return the kind of an error, and the part of its first line that cannot contain a value.

    Only errors from before the run contain nothing but the statement's own names. A value may be a
    name as well (``nextval('s')``): what is masked in ``shown`` is masked in the error, too.
    """
    line = error.message.partition("\n")[0]
    found = _KIND.match(line)
    if found is None:
        if isinstance(error, SqlError):
            return "failed"
        return line if isinstance(error, Internal) else _without_values(line)
    kind, rest = found.groups()
    if kind not in _SAYS_NAMES_ONLY:
        return kind
    may_be_said = _words(shown)
    rest = _NAMED.sub(
        lambda named: named[0] if _words(named[1]) <= may_be_said else "with name ?", rest
    )
    hidden = _words(sql) - may_be_said
    rest = _WORD.sub(lambda word: "?" if word[0].casefold() in hidden else word[0], rest)
    return f"{kind}: {_without_values(rest)}"


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))


def _without_values(text: str) -> str:
    """Return ``text`` without numbers, and without anything between its first and last quotes."""
    return _NUMBER.sub("?", _QUOTED.sub("?", text))
