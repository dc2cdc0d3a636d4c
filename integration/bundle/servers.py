"""Debian's PostgreSQL and MariaDB, each in a directory of its own, and a SQLite file.

They contain the sample data of docker-compose.yml.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from integration.tools import require
from tests.ports import free_ports
from tests.waiting import wait_until

SAMPLES = Path(__file__).parents[2] / "deploy" / "compose"
PASSWORD = "p@ss:w/rd"
_SECONDS = 60.0


@contextlib.contextmanager
def postgres(folder: Path, host: str) -> Iterator[str]:
    """Run a PostgreSQL; yield a reader's connection string, with the server at ``host``."""
    binaries = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/nonexistent"))
    require(str(binaries / "initdb"), "apt-get install postgresql")
    (port,) = free_ports(1)
    user = _owner(folder, "postgres")
    data = folder / "data"
    _run(user, str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres")
    with (data / "pg_hba.conf").open("a") as access:
        access.write("host all all samenet scram-sha-256\n")
    server = _start(
        user,
        folder,
        *(str(binaries / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder)),
        *("-c", f"listen_addresses=127.0.0.1,{host}", "-c", "fsync=off"),
    )
    psql = [
        "psql",
        "-q",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-U",
        "postgres",
        "-v",
        "ON_ERROR_STOP=1",
    ]
    try:
        wait_until(lambda: _works(*psql, "-c", "SELECT 1"), _SECONDS)
        subprocess.run([*psql, "-c", "CREATE DATABASE shop"], check=True)
        subprocess.run(
            [*psql, "-d", "shop", "-f", str(SAMPLES / "postgres.sql")],
            env={**os.environ, "POSTGRES_PASSWORD": PASSWORD},
            check=True,
        )
        yield f"postgresql://reader:p%40ss%3Aw%2Frd@{host}:{port}/shop"
    finally:
        _stop(server, signal.SIGINT)


@contextlib.contextmanager
def mariadb(folder: Path, host: str) -> Iterator[str]:
    """Run a MariaDB; yield a reader's connection string, with the server at ``host``."""
    require("mariadbd", "apt-get install mariadb-server")
    (port,) = free_ports(1)
    user = _owner(folder, "mysql")
    data = folder / "data"
    install = ("mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db")
    _run(user, *install, "--auth-root-authentication-method=normal")
    server = _start(
        user,
        folder,
        *("mariadbd", "--no-defaults", f"--datadir={data}", f"--port={port}"),
        *(f"--bind-address={host}", f"--socket={folder}/socket", f"--pid-file={folder}/pid"),
    )
    client = ["mariadb", "--no-defaults", f"--socket={folder}/socket", "-u", "root"]
    try:
        wait_until(lambda: _works(*client, "-e", "SELECT 1", user=user), _SECONDS)
        _run(
            user,
            *client,
            "-e",
            "CREATE DATABASE crm; "
            f"CREATE USER reader@'%' IDENTIFIED BY '{PASSWORD}'; "
            "GRANT SELECT ON crm.* TO reader@'%'",
        )
        _run(user, *client, "crm", "-e", (SAMPLES / "mariadb.sql").read_text())
        yield f"mysql://reader:p%40ss%3Aw%2Frd@{host}:{port}/crm"
    finally:
        _stop(server, signal.SIGTERM)


def sqlite(folder: Path) -> str:
    """Return a SQLite file with countries."""
    path = folder / "countries.db"
    names = {"AT": "Austria", "DE": "Germany", "FI": "Finland", "NL": "Netherlands", "SE": "Sweden"}
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE countries (code TEXT PRIMARY KEY, name TEXT NOT NULL)")
        connection.executemany("INSERT INTO countries VALUES (?, ?)", names.items())
        connection.commit()
    return str(path)


def _owner(folder: Path, user: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    for parent in folder.parents:
        if parent.name.startswith("pytest-"):
            parent.chmod(parent.stat().st_mode | 0o011)
    shutil.chown(folder, user)
    return user


def _as(user: str) -> dict[str, Any]:
    return {"user": user, "group": pwd.getpwnam(user).pw_gid} if os.geteuid() == 0 else {}


def _run(user: str, *command: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd="/", **_as(user)
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _start(user: str, folder: Path, *command: str) -> subprocess.Popen[bytes]:
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=log, cwd="/", start_new_session=True, **_as(user)
        )


def _stop(server: subprocess.Popen[bytes], number: int) -> None:
    server.send_signal(number)
    try:
        server.wait(_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _works(*command: str, user: str = "") -> bool:
    done = subprocess.run(
        command, capture_output=True, check=False, cwd="/", **(_as(user) if user else {})
    )
    return done.returncode == 0
