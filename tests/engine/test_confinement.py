"""The walls alone: a worker as it is started, told to run user SQL without any sandbox."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight import control
from pondflight.control import Walls
from pondflight.engine.guards import confinement, landlock, seccomp
from tests.engine.conftest import CREDENTIAL
from tests.engine.sandbox_corpus import DATABASES, FILES, OUTSIDE_WORLD, SETTINGS, WALLS, lines
from tests.engine.test_sandbox import make_places, run_all
from tests.flight import Client

pytestmark = pytest.mark.skipif(
    bool(list(confinement.missing_walls())), reason="this kernel has not all walls"
)

MEMORY = 512 << 20


class Worker:
    """A worker behind its walls, and without the layer of SQL."""

    def __init__(self, folder: Path, walls: Walls, databases: list[dict[str, str]]) -> None:
        folder.mkdir()
        self.files = folder / "files"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "pondflight", "worker", "--lifeline"),
                f"--credential-sha256={hashlib.sha256(CREDENTIAL.encode()).hexdigest()}",
                *(f"--scratch={folder}", f"--memory-limit={MEMORY}", f"--walls={walls.text()}"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TMPDIR": str(folder)},
        )
        assert self.process.stdout is not None
        port = json.loads(self.process.stdout.readline())["port"]
        self.client = Client(f"grpc://127.0.0.1:{port}", CREDENTIAL, x_pondflight_session="one")
        configuration = {"databases": databases, "sandbox": None, "extensions": ["postgres"]}
        self.client.act(control.CONFIGURE, json.dumps(configuration).encode())
        self.client.info("CREATE TABLE t (i INT)")

    def try_all(self, sql: str) -> str:
        """What came of it: the rows as text, or the error."""
        try:
            return str(self.client.rows(sql))
        except (pa.ArrowException, flight.FlightError, OSError) as error:
            return f"ERROR {error}"

    def close(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


class Ward:
    """Workers behind the same walls, one after the other: some statements end theirs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places = make_places(folder)
        self.secret = folder / "others" / "private.csv"
        self.secret.parent.mkdir()
        self.secret.write_text("a\nsecret\n")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.0)
        self.places |= {"secret": str(self.secret), "port": str(self.port)}
        self._worker: Worker | None = None
        self._count = 0

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    @property
    def worker(self) -> Worker:
        if self._worker is not None and self._worker.process.poll() is not None:
            self._worker.close()
            self._worker = None
        if self._worker is None:
            self._count += 1
            databases = [
                {"alias": "shop", "type": "sqlite", "connection_string": self.places["shop"]},
                {"alias": "arch", "type": "duckdb", "connection_string": self.places["arch"]},
            ]
            readable = (self.places["shop"], self.places["arch"])
            walls = Walls(mode="required", readable=readable, heap=True)
            self._worker = Worker(self.folder / f"worker{self._count}", walls, databases)
        return self._worker

    def renew(self) -> Worker:
        """A worker that nothing has been tried on."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        return self.worker

    def outside(self) -> dict[str, bytes]:
        """All files but those of the workers."""
        return {
            str(path): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and not path.relative_to(self.folder).parts[0].startswith("worker")
        }

    def close(self) -> None:
        self.listener.close()
        if self._worker is not None:
            self._worker.close()


@pytest.fixture(name="ward", scope="module")
def fixture_ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    ward = Ward(tmp_path_factory.mktemp("ward"))
    yield ward
    ward.close()


def text_of(ward: Ward, sql: str) -> str:
    files = str(ward.worker.files)
    return sql.format(**ward.places | {"files": files})


@pytest.mark.parametrize("part", [FILES, DATABASES, SETTINGS, OUTSIDE_WORLD, WALLS])
def test_without_the_layer_of_sql_the_walls_keep_files_and_network(ward: Ward, part: str) -> None:
    """Each statement may succeed, as far as it concerns the worker itself."""
    before = ward.outside()
    for sql in lines(part):
        if ward.worker.process.poll() is None:
            with suppress(ValueError):
                told = ward.worker.try_all(text_of(ward, sql))
                assert told.startswith("ERROR") or "secret" not in told, sql
                assert "root:" not in told, sql
        assert ward.outside() == before, sql
    assert not list(Path("/tmp").glob("owned*"))
    assert not Path("/etc/owned").exists()
    with pytest.raises(BlockingIOError):
        ward.listener.accept()


def test_what_is_ones_own_is_there(ward: Ward) -> None:
    worker = ward.renew()
    assert worker.client.rows("SELECT * FROM shop.goods, arch.goods") == [(1, 1)]
    run_all(worker.client, f"COPY (SELECT 7 AS n) TO '{worker.files}/mine.csv'")
    assert worker.client.rows(f"FROM '{worker.files}/mine.csv'") == [(7,)]
    assert worker.client.rows("SELECT count(*) FROM range(3000000) ORDER BY 1") == [(3_000_000,)]


def test_a_statement_that_needs_more_memory_than_there_is_fails(ward: Ward) -> None:
    worker, peak = ward.renew(), 0
    worker.client.info("SET memory_limit = '100GB'")
    told = worker.try_all("SELECT len(range(250000000))")
    assert told.startswith("ERROR")
    with suppress(OSError):
        status = Path(f"/proc/{worker.process.pid}/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) << 10
    assert peak < 2 * MEMORY


def test_a_worker_is_the_first_to_go_and_leaves_no_core(ward: Ward) -> None:
    pid = ward.worker.process.pid
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "500"
    assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
    status = Path(f"/proc/{pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status


def confined(code: str, **walls: object) -> str:
    """What a confined Python says."""
    head = (
        "import sys; from pathlib import Path; from pondflight.control import Walls\n"
        "from pondflight.engine.guards import confinement\n"
        f"confinement.confine(Walls(**{ ({'mode': 'required'} | walls)!r}),"
        " folders=[Path(sys.argv[1])], ports=[], listen=0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", head + code, "/nonexistent"],
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stdout + done.stderr).strip().rpartition("\n")[2]


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.fork()",
        "import os; os.execv('/bin/true', ['true'])",
        "import subprocess; subprocess.run(['/bin/true'])",
        "import os; os.kill(os.getppid(), 0)",
        "import socket; socket.socket(socket.AF_UNIX)",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "import socket; socket.create_connection(('127.0.0.1', 22))",
        "open('/etc/passwd')",
        "open('/proc/self/environ')",
        "open('/tmp/owned', 'w')",
        "import os; os.mkdir('/tmp/owned')",
        "import ctypes; ctypes.CDLL(None, use_errno=True).ptrace(16, 1, 0, 0); "  # noqa: ISC004
        "raise OSError(ctypes.get_errno(), 'ptrace')",
    ],
)
def test_a_confined_process_cannot(code: str) -> None:
    assert confined(code).startswith("PermissionError")


def test_what_is_opened_is_open(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"print(open({str(file)!r}).read())"
        assert confined(code, readable=(str(file),)) == "text"
        code = f"import socket; socket.create_connection(('127.0.0.1', {port})); print('in')"
        assert confined(code, ports=(port,)) == "in"
        assert confined(code, ports=None) == "in"
        assert confined(code).startswith("PermissionError")


def test_a_missing_wall_is_an_error_only_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    monkeypatch.setattr(confinement, "_harden", lambda: None)
    monkeypatch.setattr(seccomp, "restrict", lambda _: None)
    confinement.confine(Walls(mode="best_effort"), folders=[], ports=[], listen=0)
    with pytest.raises(confinement.CannotConfine, match="Landlock needs Linux"):
        confinement.confine(Walls(mode="required"), folders=[], ports=[], listen=0)


@pytest.mark.parametrize("wall", [landlock, seccomp])
def test_a_wall_that_fails_is_an_error_where_it_is_required_and_logged_where_it_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, wall: ModuleType
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))

    monkeypatch.setattr(confinement, "_harden", lambda: None)
    for part in (landlock, seccomp):
        monkeypatch.setattr(part, "restrict", fail if part is wall else lambda *_: None)
    expected = f"{wall.__name__.rpartition('.')[2]}.*: Argument list too long"
    with pytest.raises(confinement.CannotConfine, match=f"(?i){expected}.*confinement: required"):
        confinement.confine(Walls(mode="required"), folders=[], ports=[], listen=0)
    assert not caplog.records
    confinement.confine(Walls(mode="best_effort"), folders=[], ports=[], listen=0)
    assert re.search(f"(?i){expected}", caplog.text)


def test_a_worker_whose_walls_fail_ends_and_says_why(tmp_path: Path) -> None:
    """The kernel has all of them, and no more than 16 layers of Landlock for one process."""
    code = (
        "import sys; from pondflight.control import Walls\n"
        "from pondflight.engine.guards import confinement\n"
        "from pondflight.cli import main\n"
        "for _ in range(16):\n"
        "    confinement.confine(Walls(mode='required'), folders=[], ports=[], listen=0)\n"
        "main(sys.argv[1:])\n"
    )
    walls = Walls(mode="required").text()
    options = [f"--credential-sha256={'0' * 64}", f"--scratch={tmp_path}", f"--walls={walls}"]
    done = subprocess.run(
        [sys.executable, "-c", code, "worker", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode not in (0, 1)
    assert "no wall around files and the network (Landlock): Argument list too long" in done.stderr
    assert "workers.confinement: required" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("call", "wall"),
    [((446, 446), "files and the network"), ((157, 167), "system calls")],
    ids=["landlock_restrict_self", "prctl"],
)
def test_a_wall_that_something_else_refuses_is_told_and_may_be_required(
    call: tuple[int, int], wall: str
) -> None:
    """A container's own filter may forbid what the kernel can do."""
    code = (
        "from pondflight.control import Walls\n"
        "from pondflight.engine.guards import confinement, seccomp\n"
        "confinement._harden()\n"
        f"seccomp._REFUSED = {{'it': {call}}}\n"
        "seccomp.restrict(Walls())\n"
        "confinement._harden = lambda: None\n"
        "missing = confinement.confine(Walls(mode='best_effort'), folders=[], ports=[], listen=0)\n"
        "print(missing)\n"
        "confinement.confine(Walls(mode='required'), folders=[], ports=[], listen=0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"no wall around {wall}" in done.stdout
    assert "CannotConfine: no wall around" in done.stderr


def test_walls_pass_through_a_command_line() -> None:
    walls = Walls(mode="required", readable=("/a b", "/ü"), ports=None, gates=4)
    assert Walls.of(walls.text()) == walls
    assert Walls.of("{}") == control.NO_WALLS


def test_the_walls_cost_no_more_than_some_milliseconds() -> None:
    code = (
        "import time; from pathlib import Path; from pondflight.control import Walls\n"
        "from pondflight.engine.guards import confinement\n"
        "begin = time.process_time()\n"
        "confinement.confine(Walls(mode='required'), folders=[], ports=[], listen=0)\n"
        "print(time.process_time() - begin)\n"
    )
    best = min(
        float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(3)
    )
    assert best < 0.010


def test_a_worker_of_the_smallest_memory_has_room_for_its_threads() -> None:
    """One for each call and each attempt to attach a database: their stacks count as memory."""
    code = (
        "import threading\n"
        "from pondflight.engine.guards import confinement\n"
        "confinement.limit_heap(64 << 20)\n"
        "end = threading.Event()\n"
        "threads = [threading.Thread(target=end.wait) for _ in range(200)]\n"
        "[thread.start() for thread in threads]\n"
        "end.set()\n"
        "import duckdb\n"
        "deep = '(' * 900 + '1' + ' + 1)' * 900\n"
        "found = []\n"
        "ask = lambda: found.append(duckdb.connect().execute(f'SELECT {deep}').fetchone())\n"
        "asking = threading.Thread(target=ask)\n"
        "asking.start()\n"
        "asking.join()\n"
        "print(found)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[(901,)]\n"), done.stderr
