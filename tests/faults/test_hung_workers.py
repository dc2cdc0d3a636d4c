"""Workers that hang hold up their own users, and nobody else."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pondflight.flightsql import wire
from pondflight.proxy.aside import Aside
from tests.proxy.conftest import Deployment, MakeDeployment
from tests.waiting import wait_until

HUNG = 6
ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"
CLOSE = wire.pack(
    wire.new("ActionClosePreparedStatementRequest", prepared_statement_handle=b'{"x":"1"}')
)


@contextmanager
def stopped_workers(deployment: Deployment) -> Iterator[None]:
    """All workers that run now hang; they go on afterwards, if they are still there."""
    pids = [int(handle.id) for handle in deployment.backend.list_workers()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            continue


def test_closes_for_workers_that_hang_do_not_delay_the_cancel_of_another(
    make_deployment: MakeDeployment, user: str
) -> None:
    deployment = make_deployment(health_interval=60.0)
    clients = [deployment.client(f"hung{n}") for n in range(HUNG)]
    for client in clients:
        client.rows("SELECT 1")
    with stopped_workers(deployment):
        for client in clients:
            for _ in range(3):
                assert client.act("ClosePreparedStatement", CLOSE) == []
        other = deployment.client(user)
        other.rows("SELECT 1")
        (worker,) = (
            connection for view, connection in deployment.pool.connections() if view.user == user
        )
        thread = threading.Thread(target=lambda: _fails(other.reader, ENDLESS))
        thread.start()
        wait_until(lambda: (worker.status().running or 0) > 0)
        began = time.monotonic()
        for call in deployment.proxy.calls.running():
            call.cancel()
        wait_until(lambda: worker.status().running == 0, 3)
        assert time.monotonic() - began < 2
        thread.join()


def _fails(function: object, *arguments: object) -> None:
    assert callable(function)
    try:
        function(*arguments).read_all()
    except Exception:
        return


def test_a_worker_that_hangs_holds_one_thread_however_much_there_is_to_tell_it() -> None:
    aside, go_on, done = Aside(threads=2), threading.Event(), threading.Event()
    taken = [aside.submit("hangs", lambda: (go_on.wait(10), None)[1]) for _ in range(1000)]
    assert 200 < sum(taken) < 300  # the rest is dropped, and its caller told
    assert aside.submit("another", done.set)
    assert done.wait(5)
    go_on.set()
    aside.close()
    assert not aside.submit("another", done.set)
