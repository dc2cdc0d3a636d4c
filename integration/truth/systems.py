"""The databases to compare with, each by its own client, without DuckDB in between."""

from __future__ import annotations

import csv
import io
import os
import secrets
import sqlite3
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import pymysql

from integration.servers import MariaDB, Postgres, postgres_program

Answer = list[tuple[str | bytes | None, ...]]
"""Rows as the client gives them: text, or bytes of what is no text."""


class Refused(Exception):
    """The database refuses the statement, for a reason."""


class System(ABC):
    """A database with the tables of the harness, and its own client.

    ``alias`` is its name in pondflight, ``schema`` where its tables are there.
    """

    name: str
    alias: str
    schema: str

    @property
    def prefix(self) -> str:
        """Return what precedes a table's name in pondflight."""
        return f"{self.schema.removesuffix('.main')}."

    @abstractmethod
    def script(self, *statements: str) -> None:
        """Run statements as its owner."""

    @abstractmethod
    def ask(self, sql: str) -> Answer:
        """Return the rows of one query. Raises ``Refused``."""

    @abstractmethod
    def entry(self) -> dict[str, Any]:
        """Return its entry for ``duckdb.attached_databases``."""

    @abstractmethod
    def literal(self, value: str | bytes) -> str:
        """Return text or bytes as a literal of its own SQL."""

    @abstractmethod
    def close(self) -> None:
        """Close its client."""


class PostgresSystem(System):
    """PostgreSQL by ``psql``, which stays open and writes CSV."""

    name = "postgres"
    _null = "\x01null\x01"

    def __init__(self, server: Postgres, alias: str = "shop", options: str = "") -> None:
        self._server, self._database = server, f"truth_{alias}"
        self.alias, self.schema = alias, f"{alias}.public"
        server.run(f"CREATE DATABASE {self._database} TEMPLATE template0 {options}")
        socket = ("-h", str(server.folder), "-p", str(server.port), "-U", "admin")
        self._process = subprocess.Popen(
            [postgres_program("psql"), "-X", "-q", "--csv", "-t", *socket, "-d", self._database],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PGCLIENTENCODING": "UTF8"},
        )
        self._send(
            f"\\pset null '{self._null}'\nSET TimeZone = 'UTC'; SET IntervalStyle = iso_8601;"
        )

    def script(self, *statements: str) -> None:
        for statement in (
            *statements,
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {self._server.user}",
        ):
            self.ask(statement)

    def ask(self, sql: str) -> Answer:
        state, text = self._send(sql + "\n;")
        if state != "00000":
            raise Refused(" ".join(text.split()))
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        # A row of one empty text is an empty line.
        return [tuple(None if cell == self._null else cell for cell in row or [""]) for row in rows]

    def entry(self) -> dict[str, Any]:
        url = self._server.url(self._database)
        return {"alias": self.alias, "type": "postgres", "connection_string": url}

    def literal(self, value: str | bytes) -> str:
        if isinstance(value, bytes):
            return f"'\\x{value.hex()}'::bytea"
        return _quoted(value)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _send(self, sql: str) -> tuple[str, str]:
        """Return the SQLSTATE, and everything that psql prints."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        mark = secrets.token_hex(8)
        self._process.stdin.write(f"{sql}\n\\echo {mark} :SQLSTATE\n".encode())
        self._process.stdin.flush()
        lines: list[bytes] = []
        for line in self._process.stdout:
            if line.startswith(mark.encode()):
                state = line.decode().split()[-1]
                return ("00000" if state == ":SQLSTATE" else state), b"".join(lines).decode()
            lines.append(line)
        raise AssertionError(f"psql has ended: {b''.join(lines).decode()}")


class MariaDBSystem(System):
    """MariaDB by PyMySQL: ``mariadb`` writes NULL and the text NULL alike."""

    name = "mariadb"

    def __init__(
        self, server: MariaDB, alias: str = "crm", collation: str = "utf8mb4_general_ci"
    ) -> None:
        self._server, self._database = server, f"truth_{alias}"
        self.alias, self.schema = alias, f"{alias}.main"
        server.run(
            f"CREATE DATABASE {self._database} CHARACTER SET utf8mb4 COLLATE {collation};"
            f" GRANT SELECT ON {self._database}.* TO {server.user}@'%'"
        )
        self._connection = pymysql.connect(
            unix_socket=str(server.socket),
            user="root",
            database=self._database,
            charset="utf8mb4",
            conv={},
            autocommit=True,
        )
        # Dates of 0 may be written; || is what it is elsewhere; literals agree with every column;
        # of numbers of two types, a materialized subquery behind NOT IN would lose its NULLs.
        self.ask(
            "SET SESSION sql_mode = 'PIPES_AS_CONCAT', time_zone = '+00:00',"
            " collation_connection = 'utf8mb4_nopad_bin', optimizer_switch = 'materialization=off'"
        )

    def script(self, *statements: str) -> None:
        for statement in statements:
            self.ask(statement)

    def ask(self, sql: str) -> Answer:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql)
                return [tuple(row) for row in cursor.fetchall()]
        except pymysql.Error as error:
            raise Refused(str(error)) from None

    def entry(self) -> dict[str, Any]:
        url = self._server.url(self._database)
        return {"alias": self.alias, "type": "mysql", "connection_string": url}

    def literal(self, value: str | bytes) -> str:
        if isinstance(value, bytes):
            return f"x'{value.hex()}'"
        return _quoted(value.replace("\\", "\\\\"))

    def close(self) -> None:
        self._connection.close()


class SqliteSystem(System):
    """SQLite by Python's own module."""

    name = "sqlite"

    def __init__(self, file: Path, alias: str = "lite") -> None:
        self._file = file
        self.alias, self.schema = alias, f"{alias}.main"
        self._connection = sqlite3.connect(file, isolation_level=None)
        self._connection.text_factory = _decoded

    def script(self, *statements: str) -> None:
        for statement in statements:
            self.ask(statement)

    def ask(self, sql: str) -> Answer:
        try:
            rows = self._connection.execute(sql).fetchall()
        except sqlite3.Error as error:
            raise Refused(str(error)) from None
        return [tuple(_text(cell) for cell in row) for row in rows]

    def entry(self) -> dict[str, Any]:
        return {"alias": self.alias, "type": "sqlite", "connection_string": str(self._file)}

    def literal(self, value: str | bytes) -> str:
        return f"x'{value.hex()}'" if isinstance(value, bytes) else _quoted(value)

    def close(self) -> None:
        self._connection.close()


def _decoded(raw: bytes) -> str:
    r"""Return text; bytes that are not UTF-8 become \xFF."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 128 else f"\\x{byte:02X}" for byte in raw)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _text(cell: Any) -> str | bytes | None:
    return cell if cell is None or isinstance(cell, bytes) else str(cell)
