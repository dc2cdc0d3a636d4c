"""The database of a server: attached while the server answers, detached while it does not.

It is detached because DuckDB asks every attached database for its tables whenever it lists any, and
fails if one does not answer. Bringing it back takes an ATTACH; under the sandbox, only one that
began before the sandbox closed can be used, so some are kept waiting. When they are used up, the
database stays attached whatever its server does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from enum import Enum, auto

import duckdb

from pondflight import control
from pondflight.engine.databases.attach import Attempt, NamesCollide
from pondflight.engine.databases.faults import Kind, fault_of
from pondflight.engine.databases.mysql_columns import lowered
from pondflight.engine.databases.plan import Plan
from pondflight.engine.databases.probe import Answer, ask
from pondflight.telemetry.logs import Event, get_logger

log = get_logger()

SPARE_ATTEMPTS = control.GATES - 1
"""ATTACHes that wait beside the first one."""

_BEGIN_SECONDS = 2.0
_GUESS_SECONDS = 0.25
_AWAY_SECONDS = 1.0
_PROBE_PAUSE_SECONDS = 0.2
_REFUSED_SECONDS = (1.0, 2.0, 5.0, 30.0)


class State(Enum):
    """The states of a server's database."""

    UNKNOWN = auto()
    """It is not known whether its server answers."""
    ANSWERING = auto()
    """Its server answers; it is being attached."""
    ATTACHED = auto()
    AWAY = auto()
    """Its server does not answer."""
    REFUSED = auto()
    """Its server refuses our login."""

    @property
    def settled(self) -> bool:
        """Return whether the state will stay as it is for the moment."""
        return self not in {State.UNKNOWN, State.ANSWERING}


class ServerDatabase:
    """One database of a PostgreSQL or MySQL server, and the thread that looks after it."""

    def __init__(self, database: duckdb.DuckDBPyConnection, plan: Plan) -> None:
        self.alias = plan.spec.alias
        self.system = plan.spec.type
        self.exact = plan.spec.exact
        self._database = database
        self._plan = plan
        self._attempts: list[Attempt] = []
        self._current: Attempt | None = None
        self._changed = threading.Condition()
        self._state = State.UNKNOWN
        self._present = False
        self._closed = threading.Event()
        self._doubt = threading.Event()
        self._wake = threading.Event()
        self._broken = 0.0
        self._settled = 0.0
        self._ports = {address.port for address in plan.dsn.addresses if not plan.upstream}
        self._asked = 0
        self._reported: Event | None = None
        self._refusal = Kind.REFUSED

    @property
    def state(self) -> State:
        """Return the current state of the database."""
        return self._state

    @property
    def present(self) -> bool:
        """Return whether DuckDB has it in its catalog."""
        return self._present

    @property
    def hindrance(self) -> Kind:
        """Return why it is not attached."""
        return self._refusal if self._state is State.REFUSED else Kind.AWAY

    @property
    def twins(self) -> frozenset[str]:
        """Return the names of tables, in lower case, that are equal to DuckDB."""
        return frozenset() if self._current is None else lowered(self._current.twins)

    # -- life ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin its ATTACHes, and look after it from now on."""
        count = 1 + (SPARE_ATTEMPTS if self._plan.upstream else 0)
        attempts = [self._new_attempt() for _ in range(count)]
        seconds = _BEGIN_SECONDS if self._plan.upstream else _GUESS_SECONDS
        self._attempts = [one for one in attempts if one.under_way(seconds)] or attempts[:1]
        threading.Thread(target=self._run, name=f"database-{self.alias}", daemon=True).start()

    def close(self) -> None:
        """Close its connections and end its thread."""
        self._closed.set()
        self._doubt.set()
        self._wake.set()
        for attempt in [*self._attempts, self._current]:
            if attempt is not None and attempt.gate is not None:
                attempt.gate.shut()

    # -- for statements -----------------------------------------------------------------------

    def wait(self, until: Callable[[State], bool], seconds: float) -> bool:
        """Wait up to ``seconds`` for a state; return whether it was reached."""
        with self._changed:
            return self._changed.wait_for(lambda: until(self._state), seconds)

    def look(self, seconds: float = 0.0) -> None:
        """Check now whether the server answers.

        Waits up to ``seconds`` for the result, and for the database if it may come.
        """
        with self._changed:
            earlier = self._asked
            self._wake.set()
            self._doubt.set()
            self._changed.wait_for(lambda: self._asked > earlier and self._state.settled, seconds)

    def owns(self, port: int | None) -> bool:
        """Return whether DuckDB reaches this server by that port: a gate's, or its own.

        ``None``: the error has no port in it, which is so when there is a gate.
        """
        return port in self._ports if port is not None else self._plan.upstream is None

    @property
    def broken(self) -> float:
        """Return when a connection last broke or could not be made; monotonic."""
        return self._broken

    def changed(self, since: float) -> bool:
        """Return whether it was attached or detached after ``since``; monotonic."""
        return self._settled >= since

    @property
    def crowded(self) -> float:
        """Return when its worker last had no connection left; monotonic."""
        current = self._current
        return 0.0 if current is None or current.gate is None else current.gate.crowded

    @property
    def writable(self) -> bool:
        """Return whether it is attached for writing."""
        return not self._plan.spec.read_only

    def cut_waiting(self, since: float) -> None:
        """End the connections with a question asked after ``since`` and not yet answered."""
        current = self._current
        if current is not None and current.gate is not None:
            current.gate.cut_waiting(since)

    # -- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._look_after()
            except Exception:
                logging.getLogger(__name__).exception("database %r is not looked after", self.alias)
                self._closed.wait(_AWAY_SECONDS)
            else:
                return

    def _look_after(self) -> None:
        failures = 0
        while (attempt := self._next_attempt()) is not None:
            self._await_server()
            if self._closed.is_set():
                return
            self._set(State.ANSWERING)
            self._current = attempt
            if not attempt.finish():
                self._refused(attempt)
                self._closed.wait(_REFUSED_SECONDS[min(failures, len(_REFUSED_SECONDS) - 1)])
                failures += 1
                continue
            failures = 0
            self._set(State.ATTACHED)
            self._report(Event.DATABASE_ATTACHED)
            for schema, names in attempt.twins.items():
                place = {"alias": self.alias, "schema": schema}
                for name in sorted(names):
                    log.warning(Event.DATABASE_OBJECT_LEFT_OUT, **place, name=name)
            self._await_loss()
            if self._closed.is_set():
                return
            attempt.undo()
            self._away()
        self._set(State.REFUSED)

    def _next_attempt(self) -> Attempt | None:
        """Return an attempt that is under way; begin one if DuckDB allows it."""
        if not self._attempts:
            attempt = self._new_attempt()
            if not attempt.under_way(_BEGIN_SECONDS):
                attempt.undo()
                return None
            self._attempts.append(attempt)
        return self._attempts.pop(0)

    def _new_attempt(self) -> Attempt:
        attempt = Attempt(self._database, self._plan, self._on_break)
        if attempt.gate is not None:
            self._ports.add(attempt.gate.port)
        return attempt

    def _await_server(self) -> None:
        """Return when the server answers."""
        while not self._closed.is_set() and self._ask() is not Answer.READY:
            if self._state is not State.REFUSED:
                self._away(present=self._present)
            self._wake.wait(_AWAY_SECONDS)
            self._wake.clear()

    def _await_loss(self) -> None:
        """Return when the server is gone and there is a way to attach its database again."""
        while not self._closed.is_set():
            self._doubt.wait()
            self._doubt.clear()
            if self._closed.is_set() or self._ask() is not Answer.NONE:
                self._closed.wait(_PROBE_PAUSE_SECONDS)
                continue
            spare = self._next_attempt()
            if spare is not None:
                self._attempts.insert(0, spare)
                return
            self._away(present=True)
            self._await_server()
            self._set(State.ATTACHED)
            self._report(Event.DATABASE_ATTACHED)

    def _ask(self) -> Answer:
        plan, answer = self._plan, Answer.READY
        if plan.upstream is not None:  # else only an ATTACH would tell
            answer = ask(plan.spec.type, plan.dsn, plan.upstream)
        with self._changed:
            self._asked += 1
            self._changed.notify_all()
        return answer

    def _away(self, *, present: bool = False) -> None:
        self._report(Event.DATABASE_AWAY)
        self._set(State.AWAY, present=present)

    def _refused(self, attempt: Attempt) -> None:
        fault = fault_of(str(attempt.error))
        collide = isinstance(attempt.error, NamesCollide)
        self._refusal = Kind.TWINS if collide else Kind.REFUSED
        if collide:
            names = ", ".join(sorted(name for names in attempt.twins.values() for name in names))
            self._report(Event.DATABASE_REFUSED, reason=f"names differ only by case: {names}")
            self._set(State.REFUSED)
        elif fault is not None and fault.kind is not Kind.REFUSED:
            self._away()
        else:
            reason = "DuckDB cannot attach it" if fault is None else fault.reason
            self._report(Event.DATABASE_REFUSED, reason=reason)
            self._set(State.REFUSED)
        attempt.undo()

    def _report(self, event: Event, **fields: str) -> None:
        """Log what has happened to the database, unless that was the last thing logged of it."""
        if event is not self._reported:
            self._reported = event
            write = log.info if event is Event.DATABASE_ATTACHED else log.warning
            write(event, alias=self.alias, **fields)

    def _set(self, state: State, *, present: bool = False) -> None:
        with self._changed:
            self._settled = time.monotonic()
            self._present = present or state is State.ATTACHED
            self._state = state
            self._changed.notify_all()

    def _on_break(self) -> None:
        self._broken = time.monotonic()
        self._doubt.set()
