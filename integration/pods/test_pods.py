"""Proxies and workers as pods of a real node: what the manifests say, with the project's image."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from adbc_driver_flightsql import dbapi

from integration.pods.conftest import EARLY, IDLE_SECONDS, PROXIES, Installation
from integration.pods.node import NAME, RealNode
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(600)  # the first of them imports the images
MEMORY = 512 << 20


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def proxies() -> list[int]:
    """The processes of the proxies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"serve" in command and b"/etc/pondflight/config.yaml" in command:
            found.append(int(path.parent.name))
    return found


def test_each_user_has_a_pod_through_every_proxy(installation: Installation) -> None:
    visits = [(user, proxy) for user in ("ann", "bob") for proxy in range(PROXIES)]
    with ThreadPoolExecutor(len(visits)) as executor:
        found = list(
            executor.map(lambda one: installation.rows(one[0], "SELECT 42", one[1]), visits)
        )
    assert found == [[(42,)]] * len(visits)
    for user in ("ann", "bob"):
        installation.rows(user, f"CREATE TABLE t AS SELECT '{user}' AS who")
        assert installation.rows(user, "SELECT who FROM t", PROXIES - 1) == [(user,)]
    pods = [installation.pod_of(user) for user in ("ann", "bob")]
    assert {pod["status"]["phase"] for pod in pods} == {"Running"}
    assert {pod["spec"]["nodeName"] for pod in pods} == {NAME}
    assert len({pod["status"]["podIP"] for pod in pods}) == 2


def test_kernel_holds_what_the_pod_asks_for(installation: Installation) -> None:
    installation.rows("ann", "SELECT 1")
    pid = installation.process_of("ann")
    status = status_of(pid)
    assert status["Uid"].split() == status["Gid"].split() == ["1000"] * 4
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert {
        int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")
    } == {0}

    mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    options = {fields[4]: fields[5].split(",") for fields in mounts}
    assert "ro" in options["/"]
    assert "rw" in options["/scratch"]
    assert not [path for path in options if "serviceaccount" in path]
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    credential = installation.naming.credential(
        installation.pod_of("ann")["metadata"]["labels"]["pondflight.generation"]
    )
    assert credential.encode() not in environment + Path(f"/proc/{pid}/cmdline").read_bytes()
    for kind in ("ipc", "mnt", "net", "pid", "uts"):
        ours, theirs = (Path(f"/proc/{one}/ns/{kind}").readlink() for one in ("self", pid))
        assert ours != theirs, kind
    with pytest.raises(Exception, match=r"disabled|not allowed|[Pp]ermission|may not"):
        installation.rows("ann", "FROM read_text('/etc/passwd')")


def test_doctor_in_a_proxys_pod_finds_all_well(installation: Installation) -> None:
    """Also the walls that a worker has around itself: kubelet's seccomp profile lets it."""
    text = installation.in_proxy(
        *("pondflight", "doctor", "--config", "/etc/pondflight/config.yaml", "--json")
    )
    found = {row["check"]: row for row in json.loads(text)["checks"]}
    assert found["kubernetes"]["verdict"] == "ok"
    assert found["worker on a pod"]["message"].startswith("ready after ")
    assert "confinement on a pod" not in found
    assert json.loads(text)["ok"]


def test_worker_that_is_killed_is_replaced(installation: Installation) -> None:
    installation.rows("bob", "SELECT 1")
    first = installation.pod_of("bob")["metadata"]["uid"]
    os.kill(installation.process_of("bob"), signal.SIGKILL)

    def is_another() -> bool:
        with contextlib.suppress(dbapi.Error):  # told that the worker is gone
            installation.rows("bob", "SELECT 1")
            return bool(installation.pod_of("bob")["metadata"]["uid"] != first)
        return False

    wait_until(is_another, 30)


def test_proxies_that_are_killed_find_their_users_workers_again(
    installation: Installation,
) -> None:
    installation.rows("ann", "CREATE OR REPLACE TABLE kept AS SELECT 42 AS n")
    before = installation.pod_of("ann")["metadata"]["uid"]
    killed = proxies()
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: bool(set(proxies()) - set(killed)), 30)
    wait_until(lambda: len(installation.addresses()) == PROXIES, 60)
    assert installation.rows("ann", "SELECT n FROM kept") == [(42,)]
    assert installation.pod_of("ann")["metadata"]["uid"] == before


def test_worker_answers_while_its_node_has_no_kubelet(
    installation: Installation, node: RealNode
) -> None:
    installation.rows("ann", "CREATE OR REPLACE TABLE kept AS SELECT 43 AS n")
    node.kill("kubelet")
    try:
        assert installation.rows("ann", "SELECT n FROM kept") == [(43,)]
    finally:
        node.start_kubelet()
        wait_until(lambda: _knows_its_pods(installation), 30)


def _knows_its_pods(installation: Installation) -> bool:
    with contextlib.suppress(AssertionError):
        installation.in_proxy("true")
        return True
    return False


def test_pod_of_a_user_who_is_gone_is_removed(installation: Installation) -> None:
    wait_until(lambda: not installation.pods(EARLY), IDLE_SECONDS + 30)
    assert installation.rows(EARLY, "SELECT 2") == [(2,)]
