"""``docker compose up --scale proxy=2``: both serve, and one that ends loses nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.bundle.test_compose import V2, Compose, build, needs_engine
from integration.docker.engine import Engine

pytestmark = [pytest.mark.timeout(300), needs_engine]
USERS = [f"user{n}" for n in range(3)]


@pytest.fixture(name="engine")
def fixture_engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    engine = Engine.current()
    build(engine, tmp_path_factory.mktemp("images"), "caddy")
    return engine


@pytest.fixture(name="compose")
def fixture_compose(engine: Engine, tmp_path: Path) -> Iterator[Compose]:
    compose = Compose(str(V2), engine, tmp_path, "")
    env = tmp_path / ".env"
    env.write_text(env.read_text().replace("/dev.yaml", "/config.yaml"))
    try:
        compose.up("--scale", "proxy=2")
        yield compose
    finally:
        compose("down", "--volumes")


def test_two_proxies_share_and_one_that_ends_loses_nothing(
    compose: Compose, engine: Engine
) -> None:
    failed: list[str] = []
    counted = dict.fromkeys(USERS, 0)
    stop = threading.Event()

    def work(user: str) -> None:
        while not stop.is_set():
            # Each connection has a token of its own, and the token decides on the proxy.
            with compose.connect(user) as connection:
                for _ in range(8):
                    try:
                        with connection.cursor() as cursor:
                            cursor.execute("SELECT count(*) FROM range(2000000)")
                            assert cursor.fetchone() == (2000000,)
                        counted[user] += 1
                    except Exception as error:
                        failed.append(f"{user}: {error}")
                    time.sleep(0.25)

    for user in USERS:  # each has a worker before anything counts
        with compose.connect(user) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    callers = [threading.Thread(target=work, args=(user,)) for user in USERS]
    for caller in callers:
        caller.start()
    try:
        proxies = compose.container("proxy").split()
        deadline = time.monotonic() + 90
        while not (all(counted.values()) and all(_served(engine, one) for one in proxies)):
            assert time.monotonic() < deadline, (counted, failed)
            time.sleep(0.5)
        time.sleep(10)  # each has asked the workers of the other
        before = dict(counted)
        engine.docker("stop", "--time", "60", proxies[0])
        time.sleep(5)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert failed == []
    assert all(counted[user] > before[user] for user in USERS)


def _served(engine: Engine, container: str) -> bool:
    text = engine.docker("exec", container, "curl", "-s", "http://127.0.0.1:8080/metrics")
    (rows,) = [n for n in text.splitlines() if n.startswith("pondflight_result_rows_total ")]
    return float(rows.split()[1]) > 0
