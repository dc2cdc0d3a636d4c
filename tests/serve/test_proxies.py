"""Several proxy processes behind one port, started as a person starts them."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from multiprocessing.connection import Client as Pipe
from pathlib import Path

import pytest
from pyarrow import flight

from pondflight.auth.tokens import Tokens
from pondflight.errors import ConfigError
from pondflight.limits.headroom import Headroom
from pondflight.serve import shared_port
from pondflight.serve.desk import Asker, Desk
from pondflight.serve.proxies import Proxies
from pondflight.settings.loading import load
from pondflight.workers.backends.base import Backend, NoRoom, StartFailed
from tests.flight import Client
from tests.serve.test_serve import Served, family
from tests.waiting import wait_until

SECRET = "Hd7sWq2mVx9zLp4nTc8bRf3kYj6gAe5u"
PROCESSES = 3
BURST = 7
CONFIG = f"""
server: {{processes: {PROCESSES}}}
auth: {{demo: {{rate_limit: {{requests_per_minute: 1, burst_size: {BURST}}}}}}}
"""


def proxies(served: Served) -> set[int]:
    """Process ids of those that are alive."""
    return {
        pid
        for pid in family(served.process.pid)
        if b"one_of_proxies" in Path(f"/proc/{pid}/cmdline").read_bytes()
    }


def _is_worker(pid: int) -> bool:
    return b"--lifeline" in Path(f"/proc/{pid}/cmdline").read_bytes()


def connected(pid: int) -> int:
    """How many connections a proxy process has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def start(folder: Path, **environ: str) -> Served:
    config = folder / "config.yaml"
    config.write_text(CONFIG)
    served = Served(folder, "--no-caddy", "--config", str(config), JWT_SECRET=SECRET, **environ)
    served.wait_ready()
    return served


@pytest.fixture(name="served", scope="module")
def fixture_served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = start(tmp_path_factory.mktemp("proxies"))
    yield served
    if served.process.poll() is None:
        served.stop(signal.SIGKILL)


def connect(served: Served, user: str, **claims: bool) -> Client:
    token = Tokens(SECRET).mint(user, timedelta(hours=1), **claims)
    # Else all clients of a process share one connection.
    options = [("grpc.use_local_subchannel_pool", 1)]
    client = Client(f"grpc://127.0.0.1:{served.ports['GRPC_PORT']}", token)
    client.flight = flight.FlightClient(
        f"grpc://127.0.0.1:{served.ports['GRPC_PORT']}", generic_options=options
    )
    return client


def metric(served: Served, name: str) -> float:
    url = f"http://127.0.0.1:{served.ports['PORT']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert len(found) == 1, (name, found)
    return float(found[0])


def test_all_take_connections_and_share_a_users_worker(served: Served) -> None:
    before = {pid: connected(pid) for pid in proxies(served)}
    assert len(before) == PROCESSES
    clients = [connect(served, "ann") for _ in range(24)]
    counted = metric(served, 'pondflight_statements_total{kind="query",outcome="ok"}')
    workers = len([pid for pid in family(served.process.pid) if _is_worker(pid)])
    clients[0].rows("CREATE TABLE kept AS SELECT 7 AS n")
    assert [client.rows("SELECT n FROM kept") for client in clients] == [[(7,)]] * 24
    assert all(connected(pid) > number for pid, number in before.items())
    after = metric(served, 'pondflight_statements_total{kind="query",outcome="ok"}')
    assert after - counted == 25
    assert len([pid for pid in family(served.process.pid) if _is_worker(pid)]) == workers + 1


def test_tickets_and_sessions_are_good_at_each(served: Served) -> None:
    one, *others = [connect(served, "ben") for _ in range(12)]
    session = (b"cookie", b"arrow_flight_session_id=a-session-of-ben-0")
    for client in (one, *others):
        client.headers.append(session)
    one.rows("CREATE TEMP TABLE mine AS SELECT 5 AS n")
    ticket = one.info("SELECT n FROM mine").endpoints[0].ticket
    for other in others:
        assert other.flight.do_get(ticket, other.options()).read_all().to_pylist() == [{"n": 5}]


def test_a_rate_limit_holds_for_all_together(served: Served) -> None:
    outcomes = [_outcome(connect(served, "visitor", demo=True)) for _ in range(4 * BURST)]
    assert outcomes.count("answered") == BURST
    assert all("a minute are allowed" in outcome for outcome in set(outcomes) - {"answered"})


def _outcome(client: Client) -> str:
    try:
        client.rows("SELECT 1")
    except flight.FlightError as error:
        return str(error)
    return "answered"


def test_administrators_see_what_any_of_them_has_started(served: Served) -> None:
    connect(served, "cleo").rows("SELECT 1")
    for _ in range(4):
        (answer,) = connect(served, "root", admin=True).act("pondflight.workers")
        assert '"user": "cleo"' in answer.decode()


def test_one_that_crashes_is_replaced_and_nothing_of_users_is_lost(served: Served) -> None:
    clients = [connect(served, "dora") for _ in range(12)]
    clients[0].rows("CREATE TABLE kept AS SELECT 9 AS n")
    counted = metric(served, 'pondflight_statements_total{kind="update",outcome="ok"}')
    before = proxies(served)
    victim = max(before)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in family(served.process.pid))
    assert 'level=error msg="Proxy process ended unasked" process=' in served.log()
    wait_until(lambda: len(proxies(served)) == PROCESSES, 30)
    for _ in range(12):
        wait_until(lambda: _answers(connect(served, "dora")), 30)
    assert proxies(served) - before
    assert served.get("/ready") == (200, {"ready": True})
    assert metric(served, 'pondflight_statements_total{kind="update",outcome="ok"}') == counted


def _answers(client: Client) -> bool:
    try:
        return client.rows("SELECT n FROM kept") == [(9,)]
    except flight.FlightUnavailableError:
        return False


def test_a_worker_that_dies_is_replaced_for_all(served: Served) -> None:
    clients = [connect(served, "emil") for _ in range(6)]
    clients[0].rows("SELECT 1")
    (answer,) = connect(served, "root", admin=True).act("pondflight.worker", b"emil")
    found = re.search(r'"id": "(\d+)"', answer.decode())
    assert found is not None
    os.kill(int(found[1]), signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{found[1]}").exists())
    assert [client.rows("SELECT 2") for client in clients] == [[(2,)]] * 6


def test_sigterm_lets_statements_end_at_each(tmp_path: Path) -> None:
    served = start(tmp_path, SERVER_PROCESSES="2")
    clients = [connect(served, "fay") for _ in range(6)]
    readers = [client.reader("SELECT * FROM range(2000000)") for client in clients]
    rows: list[int] = []
    threads = [
        threading.Thread(target=lambda reader=reader: rows.append(_read_slowly(reader)))
        for reader in readers
    ]
    for thread in threads:
        thread.start()
    everyone = family(served.process.pid)
    assert served.stop() == 0
    for thread in threads:
        thread.join()
    assert rows == [2_000_000] * 6
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in everyone))
    assert "Traceback" not in served.log()


def _read_slowly(reader: flight.FlightStreamReader) -> int:
    rows = 0
    for chunk in reader:
        rows += chunk.data.num_rows
        time.sleep(0.02)
    return rows


def test_where_a_port_cannot_be_shared_it_says_so_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> int:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(shared_port, "_filter_bind", refuse)
    settings = load(None, {"JWT_SECRET": SECRET, "SERVER_PROCESSES": "2"})
    with pytest.raises(ConfigError, match=r"server.processes is 2, but .* not permitted.*to 1"):
        Proxies(settings, None, headroom=Headroom())


def test_sockets_that_others_bind_do_not_share_their_ports() -> None:
    shared_port.check()
    with pytest.raises(OSError, match="without SO_REUSEPORT"):
        _check_without_filter()


def _check_without_filter() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_port, "listening", lambda make: make())
        shared_port.check()


class TestDesk:
    def test_errors_come_back_as_they_were(self, tmp_path: Path) -> None:
        def start(_: object) -> None:
            raise StartFailed("no", ["a line"], advice="do this")

        def stop(_: object) -> None:
            raise NoRoom(3)

        with closing(Desk(tmp_path, "it", b"key", {"start": start, "stop": stop})):
            asker = Asker(tmp_path, "it", b"key")
            with pytest.raises(StartFailed, match="no") as failed:
                asker.ask(Backend.start, None)  # type: ignore[arg-type]
            assert (failed.value.log, failed.value.advice) == (["a line"], "do this")
            with pytest.raises(NoRoom) as full:
                asker.ask(Backend.stop, None)  # type: ignore[arg-type]
            assert full.value.fits == 3
            asker.close()

    def test_who_has_not_the_key_is_not_read(self, tmp_path: Path) -> None:
        asked: list[object] = []
        with closing(Desk(tmp_path, "it", b"key", {"logs": asked.append})):
            with Pipe(str(tmp_path / "it"), "AF_UNIX") as stranger:
                stranger.send_bytes(b"kex")
                stranger.send(("logs", (1,), {}))
                with pytest.raises((EOFError, ConnectionError)):
                    stranger.recv()
        assert not asked

    def test_one_that_does_not_answer_is_not_waited_for(self, tmp_path: Path) -> None:
        with closing(Desk(tmp_path, "it", b"key", {"logs": lambda _: time.sleep(1)})):
            asker = Asker(tmp_path, "it", b"key", timeout=0.05)
            with pytest.raises(TimeoutError):
                asker.ask(Backend.logs, None)  # type: ignore[arg-type]
