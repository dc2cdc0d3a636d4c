"""What every backend has to do: one suite, which each backend's own test module runs.

A subclass gives the fixture ``backend`` and the few things that need other hands than the
contract's: to kill a worker, to make it write a line, to come back as another proxy would. What
does not apply to a backend is skipped there, with the reason.
"""

from __future__ import annotations

import secrets
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator

import pytest

from pondflight.flightsql.status import ConnectionLost
from pondflight.workers.backends.base import (
    Backend,
    BackendUnreachable,
    NameTaken,
    NoRoom,
    NoSuchWorker,
    Phase,
    WorkerExit,
    WorkerHandle,
)
from pondflight.workers.connection import Connection, ControlConnection
from pondflight.workers.naming import Naming
from pondflight.workers.spec import WorkerSpec
from tests.waiting import wait_until

INSTANCE = "0123456789ab"
NAMING = Naming("the secret of this deployment", INSTANCE)

MakeSpec = Callable[..., WorkerSpec]


def make_spec(subject: str | None = None, **fields: object) -> WorkerSpec:
    key = NAMING.key(subject or secrets.token_hex(8))
    generation = secrets.token_hex(8)
    values: dict[str, object] = {
        "name": NAMING.of_user(key),
        "instance": INSTANCE,
        "user": key,
        "generation": generation,
        "credential": NAMING.credential(generation),
        "spec_hash": "abc",
        "memory_limit": 512 << 20,
        "cpu_limit": 1.0,
        "most": 100,
    }
    return WorkerSpec(**values | fields)  # type: ignore[arg-type]


def connect(handle: WorkerHandle) -> Connection:
    return ControlConnection(handle.location, NAMING.credential(handle.generation))


def configured(handle: WorkerHandle, owner: str) -> Connection:
    """A connection to a worker that has got ready."""
    connection = connect(handle)
    deadline = time.monotonic() + 30
    while True:
        try:
            connection.configure({}, owner=owner, timeout=10)
        except ConnectionLost:
            assert time.monotonic() < deadline, "the worker never listened"
            time.sleep(0.02)
        else:
            return connection


class BackendContract:
    """Subclass it in a test module, named ``Test…``."""

    @pytest.fixture(autouse=True)
    def fixture_nothing_left(self, backend: Backend) -> Iterator[None]:
        """Each test begins and ends without workers."""
        yield
        for handle in backend.list_workers():
            backend.stop(handle)
        assert backend.list_workers() == []

    @abstractmethod
    def kill(self, handle: WorkerHandle) -> None:
        """Kill the worker, as the kernel would."""

    @abstractmethod
    def speak(self, handle: WorkerHandle, line: str) -> None:
        """Make the worker write a line to its standard error."""

    @abstractmethod
    def another(self, instance: str = INSTANCE) -> Backend:
        """The backend as another proxy has it; skips where workers are nobody else's."""

    @abstractmethod
    def unreachable(self) -> Backend:
        """A backend whose engine is away; skips where there is none."""

    # -- start, ready -------------------------------------------------------------------------

    def test_started_worker_gets_ready_and_answers_to_its_credential(
        self, backend: Backend
    ) -> None:
        spec = make_spec()
        handle = backend.start(spec)
        assert (handle.name, handle.user, handle.generation, handle.spec_hash, handle.phase) == (
            spec.name,
            spec.user,
            spec.generation,
            "abc",
            Phase.RUNNING,
        )
        assert abs(time.time() - handle.created) < 30
        connection = configured(handle, spec.user)
        connection.ping(timeout=5)
        status = connection.status()
        assert status.owner == spec.user
        assert status.running == 0
        assert status.memory is not None
        assert 1 << 20 < status.memory < 512 << 20

    def test_worker_refuses_every_other_credential(self, backend: Backend) -> None:
        spec = make_spec()
        handle = backend.start(spec)
        configured(handle, spec.user)
        for credential in ("", NAMING.credential("another"), spec.credential_sha256):
            with pytest.raises(Exception, match="authentication failed"):
                ControlConnection(handle.location, credential).ping(timeout=5)

    def test_worker_serves_one_user_only(self, backend: Backend) -> None:
        handle = backend.start(make_spec())
        connection = configured(handle, "")
        assert connection.status().owner == ""
        connection.configure({}, owner="a", timeout=5)
        connection.configure({}, owner="a", timeout=5)
        for other in ("b", ""):
            with pytest.raises(Exception, match="serves another user"):
                connection.configure({}, owner=other, timeout=5)
        assert connection.status().owner == "a"

    @pytest.mark.parametrize(
        "subject", ["a/b", "../../etc/passwd", "\U0001f426", "x" * 256, "Bob", "bob", "'; DROP"]
    )
    def test_whatever_the_user_is_called_there_is_a_worker(
        self, backend: Backend, subject: str
    ) -> None:
        spec = make_spec(subject)
        handle = backend.start(spec)
        assert backend.find(spec.name) == handle
        assert handle.user == NAMING.key(subject)

    # -- list, find, logs ---------------------------------------------------------------------

    def test_workers_are_listed_and_found(self, backend: Backend) -> None:
        handles = [backend.start(make_spec()) for _ in range(3)]
        assert sorted(backend.list_workers(), key=lambda h: h.id) == sorted(
            handles, key=lambda h: h.id
        )
        assert backend.find(handles[1].name) == handles[1]
        assert backend.find(NAMING.of_user("0" * 32)) is None

    def test_last_lines_of_the_log_are_kept(self, backend: Backend) -> None:
        spec = make_spec()
        handle = backend.start(spec)
        configured(handle, spec.user)
        for number in range(30):
            self.speak(handle, f"line {number} of it")
        wait_until(lambda: "line 29 of it" in backend.logs(handle))
        lines = backend.logs(handle)
        assert len(lines) <= 20
        assert lines[-2:] == ["line 28 of it", "line 29 of it"]

    # -- stop, crash --------------------------------------------------------------------------

    def test_stopped_worker_is_gone_and_its_name_free(self, backend: Backend) -> None:
        spec = make_spec()
        handle = backend.start(spec)
        backend.stop(handle)
        assert backend.find(spec.name) is None
        assert backend.exit_of(handle) == WorkerExit()
        assert backend.logs(handle) == []
        backend.stop(handle)
        again = backend.start(make_spec(name=spec.name))
        assert again.id != handle.id

    def test_stop_never_ends_another_worker_of_the_same_name(self, backend: Backend) -> None:
        spec = make_spec()
        old = backend.start(spec)
        backend.stop(old)
        new = backend.start(make_spec(name=spec.name, user=spec.user))
        backend.stop(old)
        assert backend.find(spec.name) == new

    def test_killed_worker_is_seen_to_have_ended(self, backend: Backend) -> None:
        spec = make_spec()
        handle = backend.start(spec)
        configured(handle, spec.user)
        assert backend.exit_of(handle) is None
        self.kill(handle)
        wait_until(lambda: backend.exit_of(handle) is not None)
        assert backend.exit_of(handle) == WorkerExit(137)
        (listed,) = backend.list_workers()
        assert (listed.id, listed.phase) == (handle.id, Phase.ENDED)
        with pytest.raises(NameTaken):
            backend.start(make_spec(name=spec.name))
        backend.stop(handle)
        backend.start(make_spec(name=spec.name))

    # -- names --------------------------------------------------------------------------------

    def test_name_that_is_taken_is_refused_and_the_first_goes_on(self, backend: Backend) -> None:
        spec = make_spec()
        handle = backend.start(spec)
        with pytest.raises(NameTaken):
            backend.start(make_spec(name=spec.name))
        assert backend.list_workers() == [handle]
        configured(handle, spec.user).ping(timeout=5)

    def test_of_many_starts_of_one_name_one_wins(self, backend: Backend) -> None:
        name = make_spec().name
        results: list[str] = []

        def start() -> None:
            try:
                results.append(backend.start(make_spec(name=name)).id)
            except NameTaken:
                results.append("taken")

        threads = [threading.Thread(target=start) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results)[-5:] == ["taken"] * 5
        assert len(backend.list_workers()) == 1

    def test_claimed_worker_is_the_same_worker(self, backend: Backend) -> None:
        generation = secrets.token_hex(8)
        spare = make_spec(
            name=NAMING.of_spare(generation),
            user="",
            generation=generation,
            credential=NAMING.credential(generation),
        )
        handle = backend.start(spare)
        assert handle.user == ""
        configured(handle, "")
        name = make_spec().name
        claimed = backend.claim(handle, name)
        assert (claimed.id, claimed.name, claimed.generation) == (handle.id, name, generation)
        assert NAMING.of_user(claimed.user) == name
        assert backend.list_workers() == [claimed]
        assert backend.find(handle.name) is None
        assert backend.claim(handle, name) == claimed  # as another proxy may do for its user
        connect(claimed).ping(timeout=5)
        other = backend.start(make_spec())
        with pytest.raises(NameTaken):
            backend.claim(other, name)
        backend.stop(other)
        with pytest.raises(NoSuchWorker):
            backend.claim(other, make_spec().name)

    # -- limits -------------------------------------------------------------------------------

    def test_duckdb_keeps_to_the_limits(self, backend: Backend) -> None:
        spec = make_spec(memory_limit=1 << 30, cpu_limit=2.0)
        connection = configured(backend.start(spec), spec.user)
        row = self.query(
            connection, "SELECT current_setting('memory_limit'), current_setting('threads')"
        )
        limit, unit = str(row[0]).split()
        assert unit == "MiB"
        assert 600 < float(limit) <= 820
        assert row[1] == 2

    @staticmethod
    def query(connection: Connection, sql: str) -> tuple[object, ...]:
        """The first row of a statement's result."""
        from pyarrow import flight  # noqa: PLC0415

        descriptor = flight.FlightDescriptor.for_command(sql.encode())
        info = connection.client.get_flight_info(descriptor, connection.options(timeout=30))
        ticket = info.endpoints[0].ticket
        table = connection.client.do_get(ticket, connection.options(timeout=30)).read_all()
        return tuple(column[0].as_py() for column in table.columns)

    def test_there_are_never_more_than_there_may_be(self, backend: Backend) -> None:
        most: list[int] = []
        errors: list[Exception] = []
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.01):
                running = [h for h in backend.list_workers() if h.phase is Phase.RUNNING]
                most.append(len(running))

        def start() -> None:
            try:
                backend.start(make_spec(most=3))
            except NoRoom as error:
                errors.append(error)

        watcher = threading.Thread(target=watch)
        watcher.start()
        threads = [threading.Thread(target=start) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        watcher.join()
        assert max(most) <= 3
        assert len(backend.list_workers()) == 6 - len(errors)
        for _ in range(3 - len(backend.list_workers())):
            backend.start(make_spec(most=3))
        with pytest.raises(NoRoom):
            backend.start(make_spec(most=3))

    # -- other proxies, and no engine ---------------------------------------------------------

    def test_another_proxy_finds_and_adopts_the_worker(self, backend: Backend) -> None:
        other = self.another()
        spec = make_spec()
        handle = backend.start(spec)
        connection = configured(handle, spec.user)
        self.query(connection, "CREATE TABLE t AS SELECT 42 AS n")
        backend.close()
        assert other.list_workers() == [handle]
        assert other.find(spec.name) == handle
        assert self.query(connect(handle), "SELECT n FROM t") == (42,)
        with pytest.raises(NameTaken):
            other.start(make_spec(name=spec.name))

    def test_another_deployment_neither_sees_nor_ends_the_worker(self, backend: Backend) -> None:
        other = self.another("ba9876543210")
        spec = make_spec()
        handle = backend.start(spec)
        assert other.list_workers() == []
        assert other.find(spec.name) is None
        assert backend.find(spec.name) == handle

    def test_engine_that_is_away_is_an_error_at_once_and_known(self) -> None:
        away = self.unreachable()
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(BackendUnreachable):
                away.list_workers()
            with pytest.raises(BackendUnreachable):
                away.start(make_spec())
            assert time.monotonic() - began < 5
        assert not away.reachable
        (problem,) = away.check()
        assert problem.message
        assert problem.advice
