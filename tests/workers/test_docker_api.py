"""Faults of a Docker engine that a real one does not produce on demand."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from docker.errors import APIError

from pondflight.workers.backends.base import (
    BackendUnreachable,
    NameTaken,
    StartFailed,
    WorkerExit,
    WorkerHandle,
)
from pondflight.workers.backends.container import Layout
from pondflight.workers.backends.docker import DockerBackend
from pondflight.workers.backends.docker_api import DockerApi
from pondflight.workers.circuit import Circuit
from pondflight.workers.engines import PondflightEngine
from tests.waiting import wait_until
from tests.workers.contract import INSTANCE, make_spec

# Docker's client for Python leaves a socket to the collector when it cannot connect.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:unclosed .*socket.*family=1:ResourceWarning",
    r"ignore:Exception ignored.*socket.*family=1:pytest.PytestUnraisableExceptionWarning",
)

VERSION = {"ApiVersion": "1.41", "Version": "20.10.24"}
Answer = Callable[[str, str], tuple[int, object] | None]


class FakeEngine:
    """Answers as ``answer`` says: a status and JSON, or nothing at all, ever."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "docker.sock"
        self.answer: Answer = lambda _method, _path: (500, {"message": "not scripted"})
        self.version: tuple[int, object] | None = (200, VERSION)
        self.calls: list[str] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.path))
        self._server.listen(64)
        self._held: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()
        for held in self._held:
            held.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            chunk = connection.recv(65536)
            if not chunk:
                connection.close()
                return
            data += chunk
        method, path, _ = data.split(b"\r\n", 1)[0].decode().split(" ", 2)
        path = path.split("?")[0]
        self.calls.append(f"{method} {path}")
        found = self.version if path == "/version" else self.answer(method, path)
        if found is None:
            self._held.append(connection)
            return
        body = json.dumps(found[1]).encode()
        head = f"HTTP/1.1 {found[0]} X\r\nContent-Type: application/json\r\nConnection: close\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        connection.close()


@pytest.fixture(name="engine")
def fixture_engine() -> Iterator[FakeEngine]:
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is too long for a socket
        engine = FakeEngine(Path(folder))
        yield engine
        engine.close()


@pytest.fixture(name="backend")
def fixture_backend(engine: FakeEngine) -> Iterator[DockerBackend]:
    api = DockerApi(f"unix://{engine.path}", timeout=0.3)
    backend = DockerBackend(api, Layout("pondflight:1", PondflightEngine()), INSTANCE)
    yield backend
    backend.close()


HANDLE = WorkerHandle("c" * 64, "name", "", "1" * 16, "")


def test_engine_that_never_answers_is_given_up_after_the_time_limit(
    engine: FakeEngine, backend: DockerBackend
) -> None:
    engine.answer = lambda _method, _path: None
    began = time.monotonic()
    with pytest.raises(BackendUnreachable, match=r"did not answer within 0\.3 s"):
        backend.list_workers()
    assert time.monotonic() - began < 2
    for _ in range(2):
        with pytest.raises(BackendUnreachable):
            backend.exit_of(HANDLE)
    assert not backend.reachable
    asked = len(engine.calls)
    began = time.monotonic()
    with pytest.raises(BackendUnreachable, match="not asked again"):
        backend.stop(HANDLE)
    assert time.monotonic() - began < 0.2
    assert len(engine.calls) == asked
    engine.answer = lambda _method, _path: (200, [])
    time.sleep(1.1)
    assert backend.list_workers() == []


def test_callers_wait_for_a_silent_engine_at_the_same_time(
    engine: FakeEngine, backend: DockerBackend
) -> None:
    engine.version = None
    began = time.monotonic()
    with ThreadPoolExecutor(8) as executor:
        calls = [executor.submit(backend.list_workers) for _ in range(8)]
    assert all(isinstance(call.exception(), BackendUnreachable) for call in calls)
    assert time.monotonic() - began < 8 * 0.3  # what they take one after the other
    engine.version = (200, VERSION)
    engine.answer = lambda _method, _path: (200, [])
    wait_until(lambda: listed(backend) == [])


def listed(backend: DockerBackend) -> list[WorkerHandle] | None:
    try:
        return backend.list_workers()
    except BackendUnreachable:
        return None


def test_probe_that_fails_in_an_unforeseen_way_is_not_the_last_one(engine: FakeEngine) -> None:
    def broken(_: object) -> None:
        raise KeyError

    def silent(_: object) -> None:
        raise OSError

    engine.answer = lambda _method, _path: (200, [])
    now = 0.0
    api = DockerApi(f"unix://{engine.path}", circuit=Circuit(clock=lambda: now))
    for _ in range(3):
        with pytest.raises(BackendUnreachable):
            api.call(silent)
    now = 2.0
    with pytest.raises(KeyError):
        api.call(broken)
    now = 10.0
    assert api.call(lambda client: client.containers()) == []
    assert api.reachable
    api.close()


def test_container_that_was_made_though_the_answer_got_lost_is_removed(
    engine: FakeEngine, backend: DockerBackend
) -> None:
    spec = make_spec()
    found = {
        "Id": "d" * 64,
        "Name": f"/{spec.name}",
        "State": {"Status": "created"},
        "Config": {
            "Labels": {"pondflight.instance": INSTANCE, "pondflight.generation": spec.generation}
        },
        "NetworkSettings": {"Networks": {}, "Ports": {}},
    }

    def answer(method: str, path: str) -> tuple[int, object] | None:
        if path.endswith("/containers/create"):
            return None
        return (200, found) if method == "GET" else (204, {})

    engine.answer = answer
    with pytest.raises(BackendUnreachable):
        backend.start(spec)
    assert engine.calls[-1] == f"DELETE /v1.41/containers/{'d' * 64}"


@pytest.mark.parametrize(
    ("status", "message", "error", "words"),
    [
        (409, "Conflict. The container name is already in use", NameTaken, "pondflight-"),
        (404, "No such image: pondflight:1", StartFailed, "has no image pondflight:1"),
        (400, "invalid CPU count", StartFailed, "invalid CPU count"),
        (500, "no space left on device", StartFailed, "no space left on device"),
        (403, "forbidden", BackendUnreachable, "POST /v1.41/containers/create"),
    ],
)
def test_refusal_to_create_is_told_apart(
    engine: FakeEngine,
    backend: DockerBackend,
    status: int,
    message: str,
    error: type[Exception],
    words: str,
) -> None:
    engine.answer = lambda _method, _path: (status, {"message": message})
    with pytest.raises(error, match=words):
        backend.start(make_spec())
    assert backend.reachable  # it did answer
    assert [call.split()[0] for call in engine.calls if "create" in call] == ["POST"]


def test_container_that_does_not_start_is_removed(
    engine: FakeEngine, backend: DockerBackend
) -> None:
    def answer(method: str, path: str) -> tuple[int, object]:
        if path.endswith("/create"):
            return 201, {"Id": "e" * 64}
        if path.endswith("/start"):
            return 500, {"message": "OCI runtime create failed"}
        return (200, []) if method == "GET" else (204, {})

    engine.answer = answer
    with pytest.raises(StartFailed, match="OCI runtime create failed"):
        backend.start(make_spec())
    assert engine.calls[-1] == f"DELETE /v1.41/containers/{'e' * 64}"


@pytest.mark.parametrize("status", [404, 409])
def test_stop_of_what_is_gone_or_going_is_no_error(
    engine: FakeEngine, backend: DockerBackend, status: int
) -> None:
    engine.answer = lambda _method, _path: (status, {"message": "x"})
    backend.stop(HANDLE)


def test_end_by_memory_is_known(engine: FakeEngine, backend: DockerBackend) -> None:
    state = {"Status": "exited", "ExitCode": 137, "OOMKilled": True}
    engine.answer = lambda _method, _path: (200, {"State": state})
    assert backend.exit_of(HANDLE) == WorkerExit(137, out_of_memory=True)
    engine.answer = lambda _method, _path: (404, {"message": "x"})
    assert backend.exit_of(HANDLE) == WorkerExit()


def test_listed_container_is_told_from_its_labels_and_its_name(
    engine: FakeEngine, backend: DockerBackend
) -> None:
    def row(name: str, state: str, address: str = "172.17.0.2") -> dict[str, object]:
        return {
            "Id": name[-4:] * 16,
            "Names": [f"/{name}"],
            "State": state,
            "Labels": {"pondflight.generation": "g", "pondflight.created": "12.5"},
            "NetworkSettings": {"Networks": {"bridge": {"IPAddress": address}}},
            "Ports": [],
        }

    user = f"pondflight-{INSTANCE}-{'a' * 32}"
    spare = f"pondflight-{INSTANCE}-spare-{'b' * 16}"
    engine.answer = lambda _method, _path: (
        200,
        [
            row(user, "running"),
            row(spare, "paused"),
            row(f"pondflight-{INSTANCE}-{'c' * 32}", "dead", ""),
        ],
    )
    one, two, three = backend.list_workers()
    assert (one.user, one.location, one.created) == ("a" * 32, "grpc://172.17.0.2:8815", 12.5)
    assert (two.user, two.phase) == ("", "running")
    assert (three.phase, three.location) == ("ended", "")


def test_what_only_looks_like_a_worker_is_left_alone_and_logged_once(
    engine: FakeEngine, backend: DockerBackend, caplog: pytest.LogCaptureFixture
) -> None:
    def row(name: str, **labels: str) -> dict[str, object]:
        return {"Id": name, "Names": [f"/{name}"], "State": "running", "Labels": labels}

    ours = f"pondflight-{INSTANCE}-{'a' * 32}"
    label = {"pondflight.generation": "g"}
    rows: list[dict[str, object]] = [
        row(ours, **label | {"pondflight.created": "2026-11-27T10:00:00Z"}),  # another version's
        row("committed", **label),  # docker commit keeps labels
        row(f"pondflight-ffffffffffff-{'a' * 32}", **label),  # another deployment's name
        row(f"pondflight-{INSTANCE}-{'b' * 32}"),  # a name of ours without our labels
        {"Id": "1", "Names": None},
        {"Id": "2", "Names": [f"/{ours}"], "State": None, "Labels": "x"},
        {},
    ]
    engine.answer = lambda _method, _path: (200, rows)
    for _ in range(3):
        (worker,) = backend.list_workers()
    assert (worker.name, worker.created) == (ours, 0.0)
    assert len(caplog.records) == len(rows) - 1


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "", "x"])
def test_a_date_that_cannot_be_read_is_none(
    engine: FakeEngine, backend: DockerBackend, text: str
) -> None:
    name = f"pondflight-{INSTANCE}-{'a' * 32}"
    labels = {"pondflight.generation": "g", "pondflight.created": text}
    row = {"Id": "1", "Names": [f"/{name}"], "State": "running", "Labels": labels}
    engine.answer = lambda _method, _path: (200, [row])
    (worker,) = backend.list_workers()
    assert worker.created == 0.0


def test_newer_engines_are_spoken_to_in_a_version_that_both_know(engine: FakeEngine) -> None:
    engine.answer = lambda _method, _path: (200, [])
    api = DockerApi(f"unix://{engine.path}")
    api.call(lambda client: client.containers())
    assert engine.calls == ["GET /version", "GET /v1.41/containers/json"]
    api.close()


def test_answer_with_an_error_is_no_failure_of_the_engine(engine: FakeEngine) -> None:
    api = DockerApi(f"unix://{engine.path}")
    for _ in range(5):
        with pytest.raises(APIError):
            api.call(lambda client: client.containers())
    assert api.reachable
    api.close()


def test_tls_is_asked_for_as_with_dockers_own_client(tmp_path: Path) -> None:
    environ = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    api = DockerApi("tcp://127.0.0.1:2376", environ=environ)
    with pytest.raises(BackendUnreachable, match=r"tcp://127\.0\.0\.1:2376 cannot be reached"):
        api.call(lambda client: client.version())
