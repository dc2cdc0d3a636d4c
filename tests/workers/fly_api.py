"""A small fake of Fly.io's Machines API: what its documentation says, as far as the backend asks.

Machines run as processes of this machine. Their addresses are IPv4 ones mapped into IPv6, so that
they have the form that real ones have.
"""

from __future__ import annotations

import itertools
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.workers.stand_in import StandIns, address

Json = dict[str, Any]
_ids = itertools.count(0x1857156B526DD8)


class Refusal(Exception):
    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class FlyApiFake:
    """One organization with the apps ``apps``; ``url`` is where its API is.

    ``refuse`` is how many of the next calls are answered with 429. ``broken``: all with 503.
    """

    def __init__(self, folder: Path, apps: tuple[str, ...] = ("ponds",)) -> None:
        self.token = secrets.token_hex(8)
        self.stand_ins = StandIns(folder)
        self.refuse = 0
        self.broken = False
        self.calls: list[str] = []
        self._apps: dict[str, dict[str, Json]] = {app: {} for app in apps}
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.stand_ins.close()

    def machine(self, app: str, name: str) -> Json:
        """The Machine of that name, as the API has it."""
        return next(one for one in self._apps[app].values() if one["name"] == name)

    # -- answers ------------------------------------------------------------------------------

    def answer(
        self, token: str, method: str, path: list[str], query: dict[str, str], body: Json
    ) -> Any:
        """What the API says; raises ``Refusal``."""
        if token != f"Bearer {self.token}":
            raise Refusal(401, "unauthorized")
        self.calls.append(f"{method} {'/'.join(path)}")
        if self.broken:
            raise Refusal(503, "unavailable")
        if self.refuse:
            self.refuse -= 1
            raise Refusal(429, "rate limit exceeded")
        app = self._apps.get(path[2])
        if app is None:
            raise Refusal(404, "app not found")
        with self._changed:
            if path[3:] == ["machines"]:
                return self._create(app, body) if method == "POST" else _listed(app, query)
            machine = app.get(path[4]) if path[3:] else {"name": path[2]}
            if machine is None:
                raise Refusal(404, "machine not found")
            match method, *path[5:]:
                case "POST", "start":
                    self._start(machine)
                case ("DELETE",):
                    self._destroy(machine, forced=query.get("force") == "true")
                case "GET", "wait":
                    self._wait(machine, query)
            return machine if method == "GET" and not path[5:] else {"ok": True}

    def _create(self, app: dict[str, Json], body: Json) -> Json:
        for other in app.values():
            if other["name"] == body["name"] and other["state"] != "destroyed":
                raise Refusal(
                    409,
                    "already_exists: unique machine name violation, machine ID "
                    f"{other['id']} already exists with name {body['name']}",
                )
        machine = {
            "id": f"{next(_ids):x}",
            "name": body["name"],
            "state": "created",
            "region": body.get("region", "ams"),
            "private_ip": f"::ffff:{address()}",
            "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "config": body["config"],
            "events": [],
        }
        app[machine["id"]] = machine
        if not body.get("skip_launch"):
            self._start(machine)
        return machine

    def _start(self, machine: Json) -> None:
        def ended(code: int) -> None:
            with self._changed:
                end = {"exit_code": code, "oom_killed": False}
                machine["events"].append(
                    {
                        "type": "exit",
                        "status": "stopped",
                        "timestamp": round(time.time() * 1000),
                        "request": {"exit_event": end},
                    }
                )
                if machine["state"] == "started":
                    machine["state"] = "stopped"
                self._changed.notify_all()

        machine["state"] = "started"
        at = machine["private_ip"].removeprefix("::ffff:")
        self.stand_ins.start(machine["id"], machine["config"]["init"]["cmd"], at, ended)
        self._changed.notify_all()

    def _destroy(self, machine: Json, *, forced: bool) -> None:
        if machine["state"] == "started" and not forced:
            raise Refusal(412, "failed_precondition: machine is running")
        machine["state"] = "destroyed"
        self._changed.notify_all()
        self.stand_ins.end(machine["id"])

    def _wait(self, machine: Json, query: dict[str, str]) -> None:
        wanted, seconds = query.get("state", "started"), float(query.get("timeout", 60))
        if not self._changed.wait_for(lambda: machine["state"] == wanted, seconds):
            raise Refusal(408, "deadline_exceeded: timeout reached waiting for machine's state")


def _listed(app: dict[str, Json], query: dict[str, str]) -> list[Json]:
    wanted = {key.removeprefix("metadata."): value for key, value in query.items()}
    return [
        machine
        for machine in app.values()
        if machine["state"] != "destroyed"
        and wanted.items() <= machine["config"]["metadata"].items()
    ]


def _handler(fake: FlyApiFake) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status = 200
            try:
                found = fake.answer(
                    self.headers.get("Authorization", ""),
                    self.command,
                    url.path.strip("/").split("/"),
                    dict(parse_qsl(url.query)),
                    json.loads(body or b"{}"),
                )
            except Refusal as refusal:
                status, found = refusal.status, {"error": str(refusal)}
            data = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler
