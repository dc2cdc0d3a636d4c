"""What is refused in good order before a limit of threads or descriptors is reached."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pondflight import threads
from pondflight.errors import Unavailable
from pondflight.limits import headroom
from pondflight.limits.headroom import Headroom


def test_calls_are_refused_while_some_threads_are_left() -> None:
    room = Headroom(threads=lambda: 30, descriptors=lambda: None)
    for _ in range(3):
        room.require(threads=2)
    with pytest.raises(Unavailable, match="at its limit of threads") as caught:
        room.require(threads=2)
    assert caught.value.retry_after == 1.0


def test_what_was_set_aside_is_counted_anew_after_a_look() -> None:
    left = [30]
    room = Headroom(threads=lambda: left[0], descriptors=lambda: None)
    with pytest.raises(Unavailable):
        room.require(threads=40)
    left[0] = 1000
    time.sleep(0.05)
    room.require(threads=40)


def test_descriptors_are_a_limit_of_their_own() -> None:
    room = Headroom(threads=lambda: None, descriptors=lambda: 33)
    room.require()
    with pytest.raises(Unavailable, match="at its limit of file descriptors"):
        room.require()


def test_without_limits_nothing_is_refused() -> None:
    room = Headroom(threads=lambda: None, descriptors=lambda: None)
    for _ in range(1000):
        room.require()


def test_descriptors_of_this_process_are_counted() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 4096), hard))
    try:
        before = headroom.descriptors_left()
        opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(10)]
        after = headroom.descriptors_left()
        for descriptor in opened:
            os.close(descriptor)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert before is not None
    assert after is not None
    assert 8 <= before - after <= 12


def test_refusals_come_before_the_system_says_no() -> None:
    script = """
import os, resource
from pondflight.errors import Unavailable
from pondflight.limits.headroom import Headroom
resource.setrlimit(resource.RLIMIT_NOFILE, (90, 90))
room, opened = Headroom(), []
try:
    while True:
        room.require()
        opened.append(os.open("/dev/null", os.O_RDONLY))
except Unavailable:
    print("refused", len(opened) > 20)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "refused True", done.stderr


@pytest.mark.parametrize(
    ("cgroup", "folder"),
    [
        ("0::/ours/inner", "ours/inner"),  # version 2
        ("0::/ours/inner", "ours"),  # the limit is that of the cgroup around it
        ("4:pids:/docker/abc", "pids/docker/abc"),  # version 1
        ("4:cpu,pids:/docker/abc", "pids"),  # version 1 in a container: its own is the root
    ],
)
def test_the_limit_of_a_cgroup(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cgroup: str, folder: str
) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroups"
    (proc / "self").mkdir(parents=True)
    (proc / "self/cgroup").write_text(f"3:memory:/elsewhere\n{cgroup}\n")
    (cgroups / folder).mkdir(parents=True)
    (cgroups / folder / "pids.max").write_text("100\n")
    (cgroups / folder / "pids.current").write_text("88\n")
    monkeypatch.setattr(headroom, "_PROC", proc)
    monkeypatch.setattr(headroom, "_CGROUPS", cgroups)
    monkeypatch.setattr(headroom, "_FOLDERS", headroom._folders())
    assert list(headroom._left_to_cgroups()) == [12]


def test_a_started_pool_needs_no_thread_later(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = threads.started(3, "here")
    monkeypatch.setattr(threading.Thread, "start", _no_thread)
    held = threading.Event()
    futures = [pool.submit(held.wait, 10) for _ in range(6)]
    held.set()
    assert all(future.result(10) for future in futures)
    pool.shutdown()


def test_a_pool_that_cannot_be_started_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", _no_thread)
    with pytest.raises(RuntimeError, match="can't start"):
        threads.started(2, "here")


def _no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
