from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight import control
from pondflight.engine.guards.ownership import Ownership
from pondflight.errors import PermissionDenied, Unavailable
from tests.engine.conftest import MakeClient
from tests.flight import Client


def configure(client: Client, **body: object) -> object:
    (answer,) = client.act(control.CONFIGURE, json.dumps(body).encode())
    return json.loads(answer)


def test_first_owner_stays_and_every_other_is_refused(client: Client) -> None:
    assert configure(client) == {"attached": []}
    assert configure(client, owner="a") == {"attached": []}
    assert configure(client, owner="a") == {"attached": []}
    for other in ("b", ""):
        with pytest.raises(flight.FlightUnauthorizedError, match="serves another user"):
            configure(client, owner=other)
    with pytest.raises(pa.ArrowInvalid):
        configure(client, owner=1)
    (status,) = client.act(control.STATUS)
    assert json.loads(status)["owner"] == "a"


def test_of_many_who_claim_at_once_one_gets_it() -> None:
    ownership = Ownership()
    results: list[str] = []

    def slow(_: object) -> dict[str, object]:
        time.sleep(0.05)
        return {}

    def claim(owner: str) -> None:
        try:
            ownership.configure({"owner": owner}, slow)
            results.append(owner)
        except PermissionDenied:
            results.append("refused")

    threads = [threading.Thread(target=claim, args=(f"user{n}",)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results)[:4] == ["refused"] * 4
    assert ownership.owner in results


def test_configuration_that_fails_leaves_it_to_the_first_who_tried() -> None:
    ownership = Ownership()

    def fail(_: object) -> dict[str, object]:
        raise Unavailable("database 'x' cannot be attached")

    with pytest.raises(Unavailable):
        ownership.configure({"owner": "a"}, fail)
    assert ownership.owner == ""
    assert ownership.is_promised
    for other in ("b", ""):
        with pytest.raises(PermissionDenied):
            ownership.configure({"owner": other}, lambda _: {"attached": []})
    assert ownership.configure({"owner": "a"}, lambda _: {"attached": []}) == {"attached": []}
    assert ownership.owner == "a"
    assert not ownership.is_promised


def test_status_tells_memory_and_processor_time(make_client: MakeClient) -> None:
    (status,) = make_client().act(control.STATUS)
    told = json.loads(status)
    assert 1 << 20 < told["rss_bytes"] < 4 << 30
    assert told["cpu_seconds"] > 0


def test_worker_ends_when_no_proxy_speaks_to_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pondflight", "worker", f"--credential-sha256={'0' * 64}"]
    with subprocess.Popen(
        [*command, f"--scratch={tmp_path}", "--orphan-timeout=1s"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "port" in process.stdout.readline()
        began = time.monotonic()
        assert process.wait(20) == 0
        assert time.monotonic() - began > 0.5
        assert process.stderr is not None
        assert "no proxy has said anything" in process.stderr.read()


def test_users_call_is_refused_as_long_as_the_worker_knows_no_user(
    make_client: MakeClient,
) -> None:
    pool, user = make_client(), make_client(**{control.CALL_HEADER: "call-1"})
    assert pool.rows("SELECT 1") == [(1,)]
    for refused in (user.rows, user.info, user.schema):
        with pytest.raises(Exception, match="your worker was started anew"):
            refused("SELECT 1")
    configure(pool, owner="")
    with pytest.raises(flight.FlightUnavailableError, match="your worker was started anew"):
        user.rows("SELECT 1")
    configure(pool, owner="ann")
    assert user.rows("SELECT 1") == [(1,)]
