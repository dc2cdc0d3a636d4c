"""Real PostgreSQL and MariaDB servers, on free ports and with data of their own.

Both refuse to run as root, so as root the suite runs them as the user ``nobody``. A server is a
folder, a port and a process; it can be stopped, killed, paused and started again on the same port,
as tests of broken connections need.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from integration.tools import require, signal_family
from tests.ports import free_ports

_START_SECONDS = 60.0
_POLL_SECONDS = 0.05
_POSTGRES_PROGRAMS = "/usr/lib/postgresql/*/bin"
_HINT = "apt-get install postgresql mariadb-server-core mariadb-client-core"


class Server(ABC):
    """A database server for tests; ``password`` belongs to its one login, ``user``."""

    user: str
    stop_signal: int

    def __init__(self, *options: str) -> None:
        self.options = options
        self.mark = secrets.token_hex(8)
        """Part of the password that no encoding or quoting changes."""
        self.password = f"p@ss/w:rd%'\\ {self.mark}"
        (self.port,) = free_ports(1)
        self.folder = Path(tempfile.mkdtemp(prefix=f"pondflight-{type(self).__name__.lower()}-"))
        self.log_file = self.folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._account = _unprivileged()
        if self._account is not None:
            os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
        self._install()

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start, and wait until it answers."""
        assert self._process is None
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as()
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Stop it gracefully, and wait; open connections are cut."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(self.stop_signal)
            process.wait(_START_SECONDS)

    def kill(self) -> None:
        """Kill it, as a crash does."""
        process, self._process = self._process, None
        if process is not None:
            signal_family(process.pid, signal.SIGKILL)
            process.wait(_START_SECONDS)

    def pause(self) -> None:
        """Let it accept connections and answer nothing, as a machine that hangs."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume it after ``pause``."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop it, and remove its data."""
        with contextlib.suppress(ProcessLookupError):
            self.resume()
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def running(self) -> bool:
        """Return whether it was started and not stopped."""
        return self._process is not None

    # -- use ----------------------------------------------------------------------------------

    def url(self, database: str, *, user: str = "", password: str = "", **options: str) -> str:
        """Return the connection string for a configuration."""
        login = f"{quote(user or self.user, safe='')}:{quote(password or self.password, safe='')}"
        query = f"?{urlencode(options, quote_via=quote)}" if options else ""
        return f"{self.scheme}://{login}@127.0.0.1:{self.port}/{database}{query}"

    def log(self) -> str:
        """Return what it has logged so far."""
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""

    @property
    @abstractmethod
    def scheme(self) -> str:
        """Return the scheme of its URLs."""

    @abstractmethod
    def run(self, sql: str, database: str = "") -> str:
        """Run SQL as its administrator; return the rows as text, cells separated by tabs."""

    @abstractmethod
    def _install(self) -> None: ...

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    def _as(self) -> dict[str, Any]:
        """Return arguments of Popen that run the process as nobody."""
        options: dict[str, Any] = {"cwd": self.folder, "start_new_session": True}
        if self._account is not None:
            groups = {"group": self._account.pw_gid, "extra_groups": []}
            options |= {"user": self._account.pw_uid} | groups
        return options

    def _do(self, *command: str | Path, text: str = "") -> str:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [str(word) for word in command],
            input=text,
            capture_output=True,
            text=True,
            timeout=_START_SECONDS * 5,
            check=False,
            **self._as(),
        )
        assert done.returncode == 0, f"{command[0]}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def _signal(self, number: int) -> None:
        if self._process is not None:
            signal_family(self._process.pid, number)


class Postgres(Server):
    """PostgreSQL; ``options`` are settings: ``Postgres("log_statement=all")``."""

    scheme = "postgresql"
    user = "reader"
    stop_signal = signal.SIGINT  # SIGTERM waits for clients to leave

    def run(self, sql: str, database: str = "postgres") -> str:
        """Run SQL as the superuser, over the socket."""
        arguments = ("-h", self.folder, "-p", str(self.port), "-U", "admin", "-d", database)
        flags = ("-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1")
        return self._do(postgres_program("psql"), *arguments, *flags, text=sql)

    def _install(self) -> None:
        data = self.folder / "data"
        self._do(
            postgres_program("initdb"),
            *("-D", data, "-U", "admin", "--auth-local=trust", "--auth-host=scram-sha-256"),
            *("--no-sync", "--encoding=UTF8", "--locale=C"),
        )
        self.start()
        password = self.password.replace("'", "''")
        self.run(f"CREATE ROLE {self.user} LOGIN PASSWORD '{password}'")
        self.stop()

    def _command(self) -> list[str]:
        settings = (
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.folder}",
            "fsync=off",
            "synchronous_commit=off",
            *self.options,
        )
        words = [postgres_program("postgres"), "-D", str(self.folder / "data")]
        return words + [word for setting in settings for word in ("-c", setting)]

    def _answers(self) -> bool:
        command = [
            postgres_program("pg_isready"),
            "-q",
            "-h",
            str(self.folder),
            "-p",
            str(self.port),
        ]
        return subprocess.run(command, check=False).returncode == 0


class MariaDB(Server):
    """MariaDB; ``options`` are command-line options: ``MariaDB("--general-log")``."""

    scheme = "mysql"
    user = "reader"
    stop_signal = signal.SIGTERM

    @property
    def socket(self) -> Path:
        """Return the socket on which root connects without a password."""
        return self.folder / "mariadb.sock"

    def run(self, sql: str, database: str = "") -> str:
        """Run SQL as root, over the socket."""
        arguments = (f"--socket={self.socket}", "--user=root", "--batch", "--skip-column-names")
        client = require("mariadb", _HINT)
        return self._do(client, "--no-defaults", *arguments, *filter(None, [database]), text=sql)

    def _install(self) -> None:
        self._do(
            require("mariadb-install-db", _HINT),
            *("--no-defaults", f"--datadir={self.folder / 'data'}", "--skip-test-db"),
            *("--auth-root-authentication-method=normal", "--innodb-flush-method=fsync"),
            f"--tmpdir={self.folder}",
        )
        self.start()
        password = self.password.replace("\\", "\\\\").replace("'", "''")
        self.run(f"CREATE USER {self.user}@'%' IDENTIFIED BY '{password}'")
        self.stop()

    def _command(self) -> list[str]:
        return [
            require("mariadbd", _HINT),
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.socket}",
            f"--pid-file={self.folder / 'mariadb.pid'}",
            # A server that starts removes the temporary tables that it finds there.
            f"--tmpdir={self.folder}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            f"--general-log-file={self.folder / 'general.log'}",
            "--innodb-flush-log-at-trx-commit=0",
            *self.options,
        ]

    def _answers(self) -> bool:
        command = [require("mariadb", _HINT), "--no-defaults", f"--socket={self.socket}"]
        done = subprocess.run(
            [*command, "--user=root", "--execute=SELECT 1"],
            capture_output=True,
            check=False,
            timeout=10,
        )
        return done.returncode == 0


def postgres_program(program: str) -> str:
    """Return the path of a PostgreSQL program: Debian keeps most of them outside of the PATH."""
    found = sorted(Path("/").glob(f"{_POSTGRES_PROGRAMS[1:]}/{program}"))
    return str(found[-1]) if found else require(program, _HINT)


def _unprivileged() -> pwd.struct_passwd | None:
    """Return the user who runs the servers; ``None``: the user who runs the tests."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None
