"""The pool over subprocesses: what needs no container engine to be seen."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from pondflight.errors import InvalidArgument, NotFound, PondflightError, Unavailable
from pondflight.telemetry import logs
from pondflight.workers import starting as starts
from pondflight.workers.backends.base import NameTaken, StartFailed, WorkerHandle
from pondflight.workers.backends.process import ProcessBackend
from pondflight.workers.connection import WorkerStatus
from pondflight.workers.policy import Shape
from pondflight.workers.pool import Lease, Pool, User
from pondflight.workers.spec import WorkerSpec
from pondflight.workers.states import Reason, State
from pondflight.workers.worker import Worker
from tests.waiting import wait_until
from tests.workers.conftest import MakePool, leased, stopped, visit


class Given(Exception):
    """Raised by a caller who gives up."""


# starting


def test_all_who_wait_share_one_start(make_pool: MakePool) -> None:
    pool = make_pool()
    with ThreadPoolExecutor(50) as executor:
        found = set(executor.map(lambda _: visit(pool, "ann"), range(50)))
    assert len(found) == 1
    assert pool.stats() == {"active": 1, "total_spawned": 1, "total_stopped": 0}


def test_caller_who_gives_up_leaves_the_others_waiting(make_pool: MakePool) -> None:
    pool = make_pool()

    def give_up() -> None:
        raise Given

    with ThreadPoolExecutor() as executor:
        other = executor.submit(visit, pool, "ann")
        with pytest.raises(Given):
            pool.lease(User("ann"), give_up)
        assert other.result(20)


class Failing(ProcessBackend):
    """Cannot start anything."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts = 0
        self.error: Exception = StartFailed("no space on the moon", ["first line", "last line"])

    def start(self, spec: WorkerSpec) -> WorkerHandle:
        self.attempts += 1
        raise self.error


def test_start_that_fails_is_told_to_all_logged_and_not_repeated_at_once(
    make_pool: MakePool, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure()
    backend = Failing()
    pool = make_pool(backend=backend)

    def error(_: int) -> str:
        with pytest.raises(Unavailable) as caught:
            visit(pool, "ann")
        return str(caught.value)

    with ThreadPoolExecutor(10) as executor:
        (message,) = set(executor.map(error, range(10)))
    assert backend.attempts == 1
    reference = message.split("reference ")[1]
    log = capsys.readouterr().err
    assert "no space on the moon" in log
    assert "last line" in log
    assert log.count(reference) == 3
    assert "moon" not in message
    assert pool.workers() == []


def test_back_off_doubles_and_is_each_users_own(make_pool: MakePool) -> None:
    backend = Failing()
    pool = make_pool(backend=backend)
    for sub in ("ann", "bob"):
        with pytest.raises(Unavailable):
            visit(pool, sub)
    assert backend.attempts == 2

    def attempts_within(seconds: float) -> int:
        before, deadline = backend.attempts, time.monotonic() + seconds
        while time.monotonic() < deadline:
            with pytest.raises(Unavailable):
                visit(pool, "ann")
            time.sleep(0.01)
        return backend.attempts - before

    assert attempts_within(1.2) == 1  # after 0.5 s, and the next after another 1 s
    assert attempts_within(1.0) <= 1


def test_error_that_nobody_foresaw_tells_nothing_but_a_reference(make_pool: MakePool) -> None:
    backend = Failing()
    backend.error = RuntimeError("password hunter2 in /etc/passwd")
    with pytest.raises(Unavailable, match=r"reference [0-9a-f]{8}") as caught:
        visit(make_pool(backend=backend), "ann")
    assert "hunter2" not in str(caught.value)


# room


def test_longest_idle_makes_room_and_the_busy_are_spared(make_pool: MakePool) -> None:
    pool = make_pool(max_workers=2)
    with leased(pool, "busy") as busy:
        visit(pool, "idle")
        visit(pool, "new")
        assert stopped(pool, Reason.EVICTED) == 1
        assert {view.user for view in pool.workers()} == {"busy", "new"}
        busy.worker.connection.ping(timeout=5)


def in_line(pool: Pool, count: int) -> bool:
    return bool(pool.counts()["queued"] == count)


def test_users_wait_in_line_and_are_served_in_the_order_in_which_they_came(
    make_pool: MakePool,
) -> None:
    pool = make_pool(max_workers=1)
    order: list[str] = []

    def queue(sub: str) -> None:
        with leased(pool, sub):
            order.append(sub)

    with ThreadPoolExecutor() as executor:
        with leased(pool, "first"):
            waiting = []
            for number in range(3):
                waiting.append(executor.submit(queue, f"user{number}"))
                wait_until(partial(in_line, pool, number + 1))
        for future in waiting:
            future.result(60)
    assert order == [f"user{number}" for number in range(3)]


def test_line_is_bounded_and_so_is_the_wait(make_pool: MakePool) -> None:
    pool = make_pool(max_workers=1, queue_size=1, queue_timeout=1.5)
    with leased(pool, "busy"), ThreadPoolExecutor() as executor:
        began = time.monotonic()
        first = executor.submit(visit, pool, "first")
        wait_until(lambda: pool.counts()["queued"] == 1)
        with pytest.raises(Unavailable, match=r"1 users wait already") as hit:
            visit(pool, "second")
        assert hit.value.retry_after == 5.0
        with pytest.raises(Unavailable, match=r"all 1 workers were busy for 1\.5 s"):
            first.result(10)
        assert 1.4 < time.monotonic() - began < 5
    assert visit(pool, "second")


def test_waiting_for_busy_workers_keeps_no_core_busy(make_pool: MakePool) -> None:
    pool = make_pool(max_workers=1)
    with ThreadPoolExecutor() as executor:
        with leased(pool, "busy"):
            waiting = executor.submit(visit, pool, "next")
            wait_until(partial(in_line, pool, 1))
            began = time.process_time()
            time.sleep(1.5)
            assert time.process_time() - began < 0.5
            assert pool.counts()["queued"] == 1
        assert waiting.result(30)


def test_who_left_the_line_evicts_nobody(make_pool: MakePool) -> None:
    pool = make_pool(max_workers=1)

    def give_up() -> None:
        if pool.counts()["queued"]:
            raise Given

    with leased(pool, "busy"):
        with pytest.raises(Given):
            pool.lease(User("gone"), give_up)
    wait_until(lambda: pool.counts()["queued"] == 0)
    time.sleep(1.5)
    assert [view.user for view in pool.workers()] == ["busy"]


def test_who_left_the_middle_of_the_line_takes_no_place_in_it(make_pool: MakePool) -> None:
    pool = make_pool(max_workers=1, queue_size=2)
    gone = threading.Event()

    def give_up() -> None:
        if gone.is_set():
            raise Given

    with ThreadPoolExecutor() as executor:
        with leased(pool, "busy"):
            first = executor.submit(visit, pool, "first")
            wait_until(lambda: pool.counts()["queued"] == 1)
            second = executor.submit(pool.lease, User("second"), give_up)
            wait_until(lambda: pool.counts()["queued"] == 2)
            gone.set()
            assert isinstance(second.exception(5), Given)
            wait_until(lambda: pool.counts()["queued"] == 1, 3)
            third = executor.submit(visit, pool, "third")
            wait_until(lambda: pool.counts()["queued"] == 2)
        assert first.result(30)
        assert third.result(30)


def test_prestart_takes_no_place_from_anybody(make_pool: MakePool) -> None:
    pool = make_pool(max_workers=1)
    visit(pool, "ann")
    pool.prestart(User("bob"))
    assert [view.user for view in pool.workers()] == ["ann"]


class Stranger(ProcessBackend):
    """Where something that is no worker has the names of all of them."""

    def start(self, spec: WorkerSpec) -> WorkerHandle:
        raise NameTaken(spec.name)


def test_name_that_somebody_else_has_is_an_error_and_not_tried_for_ever(
    make_pool: MakePool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.configure()
    monkeypatch.setattr(starts, "_TAKEN_SECONDS", 0.5)
    pool = make_pool(backend=Stranger())
    with pytest.raises(Unavailable, match="could not be started"):
        visit(pool, "ann")
    assert f"{pool.key_of('ann')} is taken" in capsys.readouterr().err
    assert pool.workers() == []


# ending


def test_idle_worker_ends_and_a_leased_one_does_not(make_pool: MakePool) -> None:
    pool = make_pool(idle_timeout=1.0)
    with leased(pool, "busy"):
        visit(pool, "idle")
        wait_until(lambda: stopped(pool, Reason.IDLE_TIMEOUT) == 1)
        time.sleep(1.5)
        assert [view.user for view in pool.workers()] == ["busy"]
    wait_until(lambda: stopped(pool, Reason.IDLE_TIMEOUT) == 2)


def test_crashed_worker_is_noticed_and_replaced(make_pool: MakePool) -> None:
    pool = make_pool()
    first = visit(pool, "ann")
    os.kill(int(first), signal.SIGKILL)
    wait_until(lambda: stopped(pool, Reason.CRASHED) == 1)
    assert visit(pool, "ann") != first


def test_worker_that_hangs_is_killed_after_three_checks(make_pool: MakePool) -> None:
    pool = make_pool(health_interval=0.5)
    first = visit(pool, "ann")
    os.kill(int(first), signal.SIGSTOP)
    wait_until(lambda: stopped(pool, Reason.UNRESPONSIVE) == 1, 15)
    assert visit(pool, "ann") != first


def test_lost_connection_to_a_worker_that_lives_does_not_end_it(make_pool: MakePool) -> None:
    pool = make_pool()
    with leased(pool, "ann") as lease:
        assert "not known" in str(pool.lost(lease, User("ann")))
    assert visit(pool, "ann") == lease.worker.handle.id


def test_killed_worker_is_told_to_have_been_killed(make_pool: MakePool) -> None:
    pool = make_pool()
    with leased(pool, "ann") as lease:
        os.kill(int(lease.worker.handle.id), signal.SIGKILL)
        told = str(pool.lost(lease, User("ann")))
    assert "killed, by its memory limit of 512m or from outside" in told
    wait_until(lambda: stopped(pool, Reason.CRASHED) == 1)


def test_closed_pool_refuses_and_has_ended_its_workers(make_pool: MakePool) -> None:
    pool = make_pool()
    worker = visit(pool, "ann")
    pool.close()
    assert not os.path.exists(f"/proc/{worker}")  # noqa: PTH110
    assert stopped(pool, Reason.SHUTDOWN) == 1
    with pytest.raises(Unavailable, match="shutting down"):
        visit(pool, "ann")
    assert not pool.ready


def test_closing_turns_away_who_waits(make_pool: MakePool) -> None:
    pool = make_pool(max_workers=1)
    lease = pool.lease(User("busy"), lambda: None)
    with ThreadPoolExecutor() as executor:
        waiting = executor.submit(visit, pool, "ann")
        wait_until(lambda: pool.counts()["queued"] == 1)
        pool.close()
        with pytest.raises(Unavailable, match="shutting down"):
            waiting.result(10)
    lease.release()


# warm


def warm_ids(pool: Pool) -> set[str]:
    return {v.id for v in pool.workers() if not v.key and v.state == State.READY}


def test_new_user_gets_a_warm_worker_and_another_is_warmed(make_pool: MakePool) -> None:
    pool = make_pool(warm=1, preparation={"extensions": ["json"]})
    wait_until(lambda: len(warm_ids(pool)) == 1)
    (spare,) = warm_ids(pool)
    assert visit(pool, "ann") == spare
    wait_until(lambda: len(warm_ids(pool)) == 1)
    assert spare not in warm_ids(pool)
    assert visit(pool, "bob") != spare


def test_warm_workers_leave_the_last_places_to_users(make_pool: MakePool) -> None:
    pool = make_pool(warm=2, max_workers=2)
    wait_until(lambda: len(warm_ids(pool)) == 2)
    for sub in ("ann", "bob"):
        visit(pool, sub)
    time.sleep(0.5)
    assert len(pool.workers()) == 2
    assert warm_ids(pool) == set()


def test_warm_worker_that_died_is_not_handed_out(make_pool: MakePool) -> None:
    pool = make_pool(warm=1)
    wait_until(lambda: len(warm_ids(pool)) == 1)
    (spare,) = warm_ids(pool)
    os.kill(int(spare), signal.SIGKILL)
    assert visit(pool, "ann") != spare


def test_warm_worker_that_another_proxy_has_claimed_is_passed_over(make_pool: MakePool) -> None:
    pool = make_pool(warm=1)
    wait_until(lambda: len(warm_ids(pool)) == 1)
    (worker,) = pool._roster.spares
    worker.connection.configure({}, owner="somebody else's user", timeout=5)
    assert visit(pool, "ann") != worker.handle.id


def test_warm_worker_makes_room_for_a_user_whom_it_cannot_serve(make_pool: MakePool) -> None:
    small, large = Shape(256 << 20, 1.0), Shape(512 << 20, 1.0)
    pool = make_pool(
        warm=1, max_workers=1, shape=lambda user: small if user and user.demo else large
    )
    wait_until(lambda: len(warm_ids(pool)) == 1)
    pool.lease(User("ann", demo=True), lambda: None).release()
    assert stopped(pool, Reason.SURPLUS) == 1
    assert [view.user for view in pool.workers()] == ["ann"]


# administration


def test_workers_are_shown_as_they_are(make_pool: MakePool) -> None:
    pool = make_pool(health_interval=0.3)
    visit(pool, "idle")
    with leased(pool, "busy"):
        wait_until(lambda: all(v.memory and v.cpu is not None for v in pool.workers()))
        idle, busy = pool.workers()
        states = pool.counts()["states"]
    assert (idle.user, idle.state, busy.user, busy.state) == ("idle", "idle", "busy", "busy")
    assert (idle.running, busy.running) == (0, 1)
    assert idle.idle is not None
    assert idle.age >= idle.idle
    assert busy.idle is None
    assert not idle.outdated
    assert states == {"starting": 0, "ready": 0, "busy": 1, "idle": 1, "stopping": 0}


def test_worker_is_stopped_by_id_name_or_user_and_a_busy_one_by_force(make_pool: MakePool) -> None:
    pool = make_pool()
    for what in ("id", "name", "user", "key"):
        visit(pool, "ann")
        (view,) = pool.workers()
        assert pool.stop_worker(getattr(view, what)).id == view.id
        wait_until(lambda: pool.workers() == [])
    assert stopped(pool, Reason.REQUESTED) == 4
    with leased(pool, "ann"):
        with pytest.raises(InvalidArgument, match="a statement is running"):
            pool.stop_worker("ann")
        pool.stop_worker("ann", force=True)
        wait_until(lambda: pool.workers() == [])
    for nobody in ("ann", "", "x" * 10_000):
        with pytest.raises(NotFound):
            pool.stop_worker(nobody)


def test_call_that_comes_while_its_worker_is_asked_keeps_it(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool()
    first = visit(pool, "ann")
    leases: list[Lease] = []
    ask = Worker.ask

    def ask_and_be_late(worker: Worker, **options: float) -> WorkerStatus:
        status = ask(worker, **options)
        if not leases:
            leases.append(pool.lease(User("ann"), lambda: None))
        return status

    monkeypatch.setattr(Worker, "ask", ask_and_be_late)
    with pytest.raises(InvalidArgument, match="a statement is running"):
        pool.stop_worker("ann")
    leases[0].release()
    assert visit(pool, "ann") == first


def test_worker_that_does_not_answer_is_stopped_by_force_only(make_pool: MakePool) -> None:
    pool = make_pool(health_interval=60.0)
    first = visit(pool, "ann")
    os.kill(int(first), signal.SIGSTOP)
    wait_until(lambda: Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    with pytest.raises(Unavailable, match="does not answer: use --force"):
        pool.stop_worker("ann")
    pool.stop_worker("ann", force=True)
    wait_until(lambda: pool.workers() == [], 10)


class SlowList(ProcessBackend):
    """Lists what is there, and takes its time to say so."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = threading.Event()
        self.looked = threading.Event()
        self.go_on = threading.Event()

    def start(self, spec: WorkerSpec) -> WorkerHandle:
        self.wanted.set()
        assert self.looked.wait(10)
        return super().start(spec)

    def list_workers(self) -> list[WorkerHandle]:
        found = super().list_workers()
        if self.wanted.is_set() and not self.looked.is_set():
            self.looked.set()
            assert self.go_on.wait(30)
        return found


def test_worker_that_started_while_the_engine_was_asked_is_not_taken_for_removed(
    make_pool: MakePool,
) -> None:
    backend = SlowList()
    pool = make_pool(backend=backend)
    with ThreadPoolExecutor() as executor:
        started = executor.submit(visit, pool, "ann")
        assert backend.wanted.wait(10)
        swept = executor.submit(pool.sweep)
        first = started.result(30)
        backend.go_on.set()
        swept.result(30)
    assert stopped(pool, Reason.REMOVED) == 0
    assert visit(pool, "ann") == first


def test_lease_of_a_worker_that_is_gone_can_still_be_released(make_pool: MakePool) -> None:
    pool = make_pool()
    lease = pool.lease(User("ann"), lambda: None)
    pool.stop_worker("ann", force=True)
    wait_until(lambda: pool.workers() == [])
    lease.release()
    lease.release()
    assert lease.worker.state is State.GONE


def test_many_threads_many_users_nothing_gets_lost(make_pool: MakePool) -> None:
    pool = make_pool(max_workers=3, queue_timeout=60.0)
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            visit(pool, f"user{number % 6}")
        except PondflightError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    stats = pool.stats()
    assert stats["active"] <= 3
    wait_until(lambda: pool.stats()["total_spawned"] - pool.stats()["total_stopped"] <= 3)


# threads that go on


def test_a_start_for_which_there_is_no_thread_is_told_and_the_next_one_works(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool()
    refuse = partial(_refuse, "can't start new thread")
    with monkeypatch.context() as broken:
        broken.setattr(pool._admission._executor, "submit", refuse)
        with pytest.raises(PondflightError, match="reference"):
            visit(pool, "ann")
    assert visit(pool, "ann")


def test_an_end_that_fails_unforeseen_is_asked_for_again(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool()
    first = visit(pool, "ann")
    with monkeypatch.context() as broken:
        broken.setattr(pool.backend, "stop", partial(_refuse, "a mistake"))
        pool.stop_worker("ann")
        wait_until(lambda: any(worker.stop_failed for worker in pool._roster.all()))
    assert visit(pool, "ann") != first


def test_health_checks_go_on_after_a_mistake(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(health_interval=0.05)
    visit(pool, "ann")
    (worker,) = pool._roster.usable()
    with monkeypatch.context() as broken:
        broken.setattr(pool._pulse._executor, "submit", partial(_refuse, "a mistake"))
        wait_until(lambda: not pool._pulse._asking)
        time.sleep(0.2)
    heard = worker.last_heard
    wait_until(lambda: worker.last_heard > heard)


def test_a_worker_is_asked_often_only_while_a_call_waits_for_it(make_pool: MakePool) -> None:
    pool = make_pool(health_interval=0.25)
    visit(pool, "idle")
    with leased(pool, "busy") as lease:
        (idle,) = (worker for worker in pool._roster.usable() if worker is not lease.worker)
        asked = {idle: set[float](), lease.worker: set[float]()}
        deadline = time.monotonic() + 3.0
        while time.monotonic() < deadline:
            for worker, moments in asked.items():
                moments.add(worker.asked)
            time.sleep(0.01)
    assert len(asked[lease.worker]) > len(asked[idle]) > 1


def _refuse(message: str, *_: object) -> None:
    raise RuntimeError(message)


class Dated(ProcessBackend):
    """Its workers have a date of two hours ago, as if the clock had been set while they start."""

    def start(self, spec: WorkerSpec) -> WorkerHandle:
        return replace(super().start(spec), created=time.time() - 7200)


def test_a_worker_is_as_old_as_its_start_though_the_clock_is_set_meanwhile(
    make_pool: MakePool,
) -> None:
    pool = make_pool(backend=Dated(), warm=1)
    visit(pool, "ann")
    wait_until(lambda: any(one.state is State.READY for one in pool._roster.spares))
    assert all(worker.age < 3600 for worker in pool._roster.all())
