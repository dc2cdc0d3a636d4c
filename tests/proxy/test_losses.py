"""A worker ends, and those whose tables, settings or transactions went with it are told."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import adbc_driver_manager
import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight.control import SESSION_COOKIE
from pondflight.flightsql import wire
from pondflight.workers.backends.process import ProcessBackend
from pondflight.workers.states import Reason
from tests.flight import Client
from tests.proxy.conftest import Deployment, MakeDeployment
from tests.proxy.test_relay import worker_pid
from tests.waiting import wait_until

GONE = "this session are gone"


def test_a_session_that_lost_its_state_with_its_worker_is_told_once(
    make_deployment: MakeDeployment, user: str
) -> None:
    deployment = make_deployment()
    with (
        deployment.connect(user, autocommit=True) as stateful,
        deployment.connect(user, autocommit=True) as stateless,
    ):
        with stateful.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE t AS SELECT 1 AS i")
        with stateless.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()
        _lose_worker(deployment, user)
        with stateless.cursor() as cursor:
            cursor.execute("SELECT 2")
            assert cursor.fetchall() == [(2,)]
        with stateful.cursor() as cursor:
            with pytest.raises(Exception, match="temporary tables, settings and open transactions"):
                cursor.execute("SELECT 3")
            cursor.execute("SELECT 3")
            assert cursor.fetchall() == [(3,)]


def test_what_the_first_call_of_a_connection_kept_is_told_of_as_well(
    make_deployment: MakeDeployment, user: str
) -> None:
    """It had no session yet, and was offered one."""
    deployment = make_deployment()
    with deployment.connect(user, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SET VARIABLE x = 1")
        _lose_worker(deployment, user)
        with pytest.raises(Exception, match="this session are gone"):
            cursor.execute("SELECT getvariable('x')")


def test_clients_that_keep_no_session_are_told_once(
    make_deployment: MakeDeployment, user: str
) -> None:
    deployment = make_deployment()
    client = deployment.client(user)
    for name in "ab":  # the second time it is offered another session
        client.rows(f"CREATE TEMP TABLE {name} AS SELECT 1 AS i")
    _lose_worker(deployment, user)
    with pytest.raises(flight.FlightUnavailableError, match=GONE):
        client.rows("SELECT * FROM a")
    with pytest.raises(pa.ArrowInvalid, match="a does not exist"):
        client.rows("SELECT * FROM a")


def _create(client: Client) -> None:
    client.rows("CREATE TABLE t AS SELECT 1 AS i")


def _ingest(client: Client) -> None:
    options = wire.new("CommandStatementIngest", table="t")
    options.table_definition_options.if_not_exist = 1
    options.table_definition_options.if_exists = 1
    client.put(wire.pack(options), pa.table({"i": [1]}))


@pytest.mark.parametrize("make", [_create, _ingest])
def test_every_session_is_told_that_tables_in_memory_are_gone(
    make_deployment: MakeDeployment, user: str, make: Callable[[Client], None]
) -> None:
    deployment = make_deployment()
    make(deployment.client(user))
    reader, later = _session(deployment, user), _session(deployment, user)
    assert reader.rows("SELECT i FROM t") == [(1,)]
    _lose_worker(deployment, user)
    # Also a client that has just come: nobody can know that it is not the one that made them.
    for client in (reader, deployment.client(user)):
        with pytest.raises(flight.FlightUnavailableError, match="so are tables in memory"):
            client.rows("SELECT i FROM t")
    for client in (reader, later, deployment.client(user)):
        assert client.rows("SELECT 1") == [(1,)]


def test_nobody_is_told_where_nothing_was_lost(make_deployment: MakeDeployment, user: str) -> None:
    deployment = make_deployment()
    clients = [deployment.client(user), _session(deployment, user)]
    for client in clients:
        assert client.rows("SELECT 1") == [(1,)]
    _lose_worker(deployment, user)
    for client in clients:
        assert client.rows("SELECT 2") == [(2,)]


@pytest.mark.parametrize("reason", [Reason.EVICTED, Reason.MAX_LIFETIME, Reason.OUTDATED])
def test_what_an_idle_worker_had_is_missed_when_it_had_to_go_for_others(
    make_deployment: MakeDeployment, user: str, reason: Reason
) -> None:
    deployment = make_deployment()
    client = deployment.client(user)
    _create(client)

    (worker,) = deployment.pool._roster.users.values()
    wait_until(lambda: (worker.ask().idle_seconds or 0.0) > 0.2)  # else it is in use
    assert deployment.pool._roster.retire(worker, reason)
    wait_until(lambda: deployment.pool.stats()["total_stopped"])
    with pytest.raises(flight.FlightUnavailableError, match="so are tables in memory"):
        client.rows("SELECT i FROM t")


def test_what_a_session_had_through_another_proxy_is_told_of_by_this_one(
    make_deployment: MakeDeployment, user: str
) -> None:
    """As when a proxy is replaced, and the worker ends before its sessions have called again."""
    backend, secret = ProcessBackend(), secrets.token_urlsafe(32)
    before, deployment = (make_deployment(backend=backend, secret=secret) for _ in range(2))
    stateful = _session(before, user)
    stateful.rows("SET VARIABLE x = 1")
    deployment.pool.sweep()
    assert deployment.pool.stats()["active"] == 1
    stateless = _session(deployment, user)
    assert stateless.rows("SELECT 1") == [(1,)]
    _lose_worker(deployment, user)
    fresh = deployment.client(user)
    for client in (fresh, stateless):
        assert client.rows("SELECT 2") == [(2,)]
    again = deployment.client(user, **dict(_named(stateful)))
    with pytest.raises(flight.FlightUnavailableError, match=GONE):
        again.rows("SELECT getvariable('x')")
    assert again.rows("SELECT 3") == [(3,)]


def _session(deployment: Deployment, user: str) -> Client:
    """A client that keeps a session, by its cookie."""
    return deployment.client(user, cookie=f"{SESSION_COOKIE}={secrets.token_urlsafe(16)}")


def _named(client: Client) -> Iterator[tuple[str, str]]:
    for name, value in client.headers:
        if name == b"cookie":
            yield name.decode(), value.decode()


class BreaksBehindTheAnswer:
    """A worker's client: its worker is killed when a DoPut is answered, and has yet to end."""

    def __init__(self, client: flight.FlightClient, kill: Callable[[], None]) -> None:
        self._client = client
        self._kill = kill
        self._answered = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def do_put(self, *arguments: Any) -> tuple[flight.FlightStreamWriter, BreaksBehindTheAnswer]:
        up, self._answers = self._client.do_put(*arguments)
        return up, self

    def read(self) -> pa.Buffer | None:
        if not self._answered:
            self._answered = True
            answer: pa.Buffer | None = self._answers.read()
            return answer
        self._kill()
        raise flight.FlightUnavailableError("Flight returned unavailable error: gone")


def test_a_loss_behind_the_answer_is_left_for_the_next_call_to_tell(
    make_deployment: MakeDeployment, user: str
) -> None:
    """Clients leave an update with its count; what is said behind it, they do not hear."""
    deployment = make_deployment()
    with deployment.connect(user, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SET VARIABLE x = 1")
        (worker,) = (connection for _, connection in deployment.pool.connections())
        kill = partial(_lose_worker, deployment, user)
        worker.client = BreaksBehindTheAnswer(worker.client, kill)
        with suppress(adbc_driver_manager.Error):
            cursor.execute("SET VARIABLE x = 2")
        wait_until(lambda: deployment.pool.stats()["total_stopped"] and not deployment.proxy.calls)
        with pytest.raises(adbc_driver_manager.Error, match="this session are gone"):
            cursor.execute("SELECT getvariable('x')")


def _lose_worker(deployment: Deployment, user: str) -> None:
    os.kill(worker_pid(deployment, user), signal.SIGKILL)
    wait_until(lambda: deployment.pool.stats()["total_stopped"])
