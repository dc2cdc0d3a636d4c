"""Two pools over the same workers, as two proxies of one deployment have them."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress

import pytest
from pyarrow import flight

from pondflight.errors import PondflightError
from pondflight.workers import admission
from pondflight.workers.backends.base import BackendUnreachable, WorkerHandle
from pondflight.workers.backends.process import ProcessBackend
from pondflight.workers.connection import ControlConnection, WorkerStatus
from pondflight.workers.pool import Lease, Pool, User
from pondflight.workers.runtime import MACHINE
from pondflight.workers.spec import WorkerSpec
from pondflight.workers.states import Reason, State
from pondflight.workers.worker import Worker
from tests.waiting import wait_until
from tests.workers.conftest import MakePool, leased, stopped, visit

SECRET = "the secret that both proxies have, 32 characters and more"


def warm_ids(pool: Pool) -> set[str]:
    return {view.id for view in pool.workers() if not view.key and view.state == "ready"}


@pytest.fixture(name="pools")
def fixture_pools(make_pool: MakePool) -> tuple[Pool, Pool]:
    """Both know the one warm worker."""
    backend = ProcessBackend()
    one = make_pool(backend=backend, secret=SECRET, warm=1)
    wait_until(lambda: len(warm_ids(one)) == 1)
    two = make_pool(backend=backend, secret=SECRET, warm=1)
    assert warm_ids(two) == warm_ids(one)
    return one, two


def test_user_who_comes_through_the_other_proxy_finds_the_claimed_worker(
    pools: tuple[Pool, Pool],
) -> None:
    one, two = pools
    first = visit(one, "ann")
    assert visit(two, "ann") == first
    assert visit(one, "ann") == first
    assert stopped(two, Reason.SURPLUS) == 0


def test_both_proxies_claim_the_same_worker_for_the_same_user(pools: tuple[Pool, Pool]) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda pool=pool: found.append(visit(pool, "ann")))
        for pool in pools
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert [visit(pool, "ann") for pool in pools] == found


def test_sweep_sees_that_another_proxy_has_claimed_a_warm_worker(pools: tuple[Pool, Pool]) -> None:
    one, two = pools
    claimed = visit(one, "ann")
    wait_until(lambda: len(warm_ids(one)) == 1)
    for _ in range(2):
        two.sweep()
        assert warm_ids(two) == warm_ids(one)
    assert claimed not in warm_ids(two)
    assert two.lease_running(User("ann")) is not None
    assert stopped(two, Reason.SURPLUS) == 0


@pytest.mark.parametrize("reason", [Reason.SURPLUS, Reason.MAX_LIFETIME, Reason.OUTDATED])
def test_warm_worker_that_another_proxy_has_just_claimed_is_not_ended(
    pools: tuple[Pool, Pool], reason: Reason
) -> None:
    one, two = pools
    (spare,) = two._roster.spares
    claimed = visit(one, "ann")
    assert spare.handle.id == claimed
    two._roster.retire(spare, reason)
    wait_until(lambda: spare not in two._roster.spares)
    assert stopped(two, reason) == 0
    assert visit(one, "ann") == visit(two, "ann") == claimed


def test_warm_worker_that_is_ended_can_no_more_be_claimed(pools: tuple[Pool, Pool]) -> None:
    one, two = pools
    (spare,) = two._roster.spares
    (other,) = one._roster.spares
    assert two._roster._withdraw(spare)
    assert visit(one, "ann") != other.handle.id


def test_claim_that_is_under_way_elsewhere_is_left_alone(make_pool: MakePool) -> None:
    """Told its user, not yet renamed, and unknown to the proxy that has just come."""
    backend = ProcessBackend()
    one = make_pool(backend=backend, secret=SECRET, warm=1)
    wait_until(lambda: len(warm_ids(one)) == 1)
    (spare,) = one._roster.spares
    spare.claimed = True
    spare.connection.configure({}, owner=one.key_of("ann"), timeout=5)
    time.sleep(0.6)  # it is old by then
    two = make_pool(backend=backend, secret=SECRET, start_timeout=0.5)
    assert stopped(two, Reason.LEFTOVER) == 0
    assert os.path.exists(f"/proc/{spare.handle.id}")  # noqa: PTH110
    # Unless nobody goes on with it.
    time.sleep(0.6)
    two.sweep()
    assert stopped(two, Reason.LEFTOVER) == 1


class Claimed(ProcessBackend):
    """Where another proxy finds the first worker before it is ready, and claims it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ""

    def start(self, spec: WorkerSpec) -> WorkerHandle:
        handle = super().start(spec)
        if not self.first:
            self.first = handle.id
            connection = ControlConnection(handle.location, spec.credential)
            connection.configure({}, owner="a user's key", timeout=10)
            connection.close()
        return handle


def test_warm_worker_that_was_claimed_before_it_was_ready_is_left_to_its_user(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "_WARM_RETRY_SECONDS", 0.1)
    backend = Claimed()
    pool = make_pool(backend=backend, warm=1)
    wait_until(lambda: len(warm_ids(pool)) == 1, 30)
    assert backend.first not in warm_ids(pool)
    assert backend.first in {handle.id for handle in backend.list_workers()}
    assert stopped(pool, Reason.START_FAILED) == 0


def test_worker_that_hangs_since_before_this_proxy_is_replaced(make_pool: MakePool) -> None:
    backend = ProcessBackend()
    one = make_pool(backend=backend, secret=SECRET, health_interval=60.0)
    with leased(one, "ann") as lease:
        first = lease.worker.handle.id
    os.kill(int(first), signal.SIGSTOP)
    time.sleep(5.1)
    two = make_pool(backend=backend, secret=SECRET, start_timeout=5.0, health_interval=60.0)
    assert visit(two, "ann") != first
    assert stopped(two, Reason.UNRESPONSIVE) == 1


def _streaming(lease: Lease) -> flight.FlightStreamReader:
    """A statement that runs: ten million rows, of which few have been read."""
    call = lease.worker.options(call_id=lease.call_id)
    info = lease.worker.client.get_flight_info(
        flight.FlightDescriptor.for_command(b"SELECT * FROM range(10000000)"), call
    )
    reader = lease.worker.client.do_get(info.endpoints[0].ticket, call)
    reader.read_chunk()
    return reader


def test_worker_in_use_by_another_proxy_is_not_ended(pools: tuple[Pool, Pool]) -> None:
    one, two = pools
    shared = visit(two, "ann")
    with leased(one, "ann") as lease:
        reader = _streaming(lease)
        # Two has seen it idle a moment ago.
        (worker,) = two._roster.users.values()
        two._roster.retire(worker, Reason.IDLE_TIMEOUT)
        wait_until(lambda: worker.state is State.GONE)
        assert stopped(two, Reason.IDLE_TIMEOUT) == 0
        assert sum(chunk.data.num_rows for chunk in reader) > 9_000_000
    assert visit(two, "ann") == shared


class Refusing(ProcessBackend):
    """An engine that ends no worker while it is ``away``."""

    away = False

    def stop(self, handle: WorkerHandle) -> None:
        if self.away:
            raise BackendUnreachable("it does not answer")
        super().stop(handle)


def test_a_worker_that_could_not_be_ended_and_runs_again_is_left_to_who_has_adopted_it(
    make_pool: MakePool,
) -> None:
    backend = Refusing()
    one, two = (make_pool(backend=backend, secret=SECRET, health_interval=60.0) for _ in range(2))
    shared = visit(one, "ann")
    assert visit(two, "ann") == shared
    (worker,) = one._roster.users.values()
    backend.away = True
    one._roster.retire(worker, Reason.UNRESPONSIVE)
    wait_until(lambda: worker.stop_failed)
    backend.away = False
    with leased(two, "ann") as lease:
        reader = _streaming(lease)
        one.sweep()
        wait_until(lambda: worker.state is State.GONE)
        assert stopped(one, Reason.UNRESPONSIVE) == 0
        assert sum(chunk.data.num_rows for chunk in reader) > 9_000_000
    assert visit(one, "ann") == shared


class Outliving(ProcessBackend):
    """Its workers stay when a pool lets go of it, as containers do."""

    outlives_proxy = True

    def close(self) -> None:
        pass


def test_a_proxy_that_ends_spares_the_workers_that_another_one_uses(make_pool: MakePool) -> None:
    backend = Outliving()
    try:
        one, two = (make_pool(backend=backend, secret=SECRET, keep_workers=False) for _ in range(2))
        # Both pools are of one process here: each needs an id of its own.
        shared, alone = visit(one, "ann"), visit(one, "bob")
        with leased(two, "ann") as lease:
            act = lease.worker.connection
            assert isinstance(act, ControlConnection)
            act._act("pondflight.status", b"another proxy", 5.0)
        one.close()
        assert visit(two, "ann") == shared
        assert visit(two, "bob") != alone
        assert stopped(one, Reason.SHUTDOWN) == 1
        with leased(two, "ann") as lease:
            act = lease.worker.connection
            assert isinstance(act, ControlConnection)
            act._act("pondflight.status", b"-another proxy", 5.0)
        two.close()
        assert stopped(two, Reason.SHUTDOWN) == 2
    finally:
        ProcessBackend.close(backend)


@pytest.mark.parametrize("subject", ["ann", None])
def test_a_worker_that_nobody_has_configured_serves_nobody(
    make_pool: MakePool, subject: str | None
) -> None:
    """Who started it may have given it up, and end it any moment: there was no telling it."""
    backend = ProcessBackend()
    one, two = (make_pool(backend=backend, secret=SECRET, start_timeout=8.0) for _ in range(2))
    user = None if subject is None else User(subject)
    worker = Worker(MACHINE, one.key(user) if user else "", generation="0123456789abcdef")
    left = one._starter._launch(worker, user)
    wait_until(lambda: _status(two, left).fresh)
    two.sweep()
    assert two.workers() == []
    if subject is not None:
        assert visit(two, subject) != left.id
        assert left.id not in {handle.id for handle in backend.list_workers()}


def _status(pool: Pool, handle: WorkerHandle) -> WorkerStatus:
    with suppress(PondflightError):
        return pool._sweeper._adoption.connect(handle).status(timeout=5)
    return WorkerStatus()
