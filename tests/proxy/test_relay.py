"""Every RPC through the proxy to a real worker, and clients that go away."""

from __future__ import annotations

import os
import signal
import threading
import time

import adbc_driver_manager
import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight.flightsql import wire
from pondflight.workers.pool import User
from tests.proxy.conftest import Deployment, MakeDeployment
from tests.waiting import wait_until

ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"


def worker_pid(deployment: Deployment, user: str) -> int:
    key = deployment.pool.key_of(user)
    (handle,) = [h for h in deployment.backend.list_workers() if h.user == key]
    return int(handle.id)


def test_two_users_at_once_do_not_see_each_other(shared: Deployment, user: str) -> None:
    with shared.connect(user, autocommit=True) as mine, shared.connect(f"{user}x") as theirs:
        with mine.cursor() as cursor:
            cursor.execute("CREATE TABLE secret AS SELECT 1 AS n")
            cursor.execute("SELECT n FROM secret WHERE n = ?", (1,))
            assert cursor.fetchall() == [(1,)]
        with theirs.cursor() as cursor:
            with pytest.raises(adbc_driver_manager.ProgrammingError, match="does not exist"):
                cursor.execute("SELECT * FROM secret")
    assert worker_pid(shared, user) != worker_pid(shared, f"{user}x")


def test_names_that_only_look_alike_are_different_users(shared: Deployment) -> None:
    names = ["bob", "Bob", "bob ", "b\u00f6b", "bo\u0308b", "a/b", "../../etc", "\U0001f426"]
    assert len({shared.pool.key_of(name) for name in names}) == len(names)


def test_everything_of_adbc_works_through_the_proxy(shared: Deployment, user: str) -> None:
    with shared.connect(user) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (i INT, s VARCHAR)")
        cursor.executemany("INSERT INTO t VALUES (?, ?)", [(1, "a"), (2, "b")])
        assert cursor.rowcount == 2
        connection.commit()
        cursor.execute("DELETE FROM t")
        connection.rollback()
        cursor.execute("SELECT count(*) FROM t")
        assert cursor.fetchall() == [(2,)]
        more = pa.table({"i": pa.array([3], pa.int32()), "s": ["c"]})
        assert cursor.adbc_ingest("t", more, mode="append") == 1
        connection.rollback()  # the ingest was in the session's transaction
        cursor.execute("UPDATE t SET s = 'z' WHERE i = 1 RETURNING i, s")
        assert cursor.fetchall() == [(1, "z")]
        connection.commit()
        cursor.execute("SELECT * FROM t ORDER BY i")
        assert cursor.fetchall() == [(1, "z"), (2, "b")]
        for depth in ("catalogs", "db_schemas", "tables", "columns", "all"):
            assert connection.adbc_get_objects(depth=depth).read_all().num_rows
        assert connection.adbc_get_table_schema("t").names == ["i", "s"]
        assert connection.adbc_get_info()["vendor_name"] == "pondflight"


def test_a_million_rows_in_and_out(shared: Deployment, user: str) -> None:
    batch = pa.record_batch({"n": pa.array(range(100_000)), "s": pa.array(["some text"] * 100_000)})
    reader = pa.RecordBatchReader.from_batches(batch.schema, [batch] * 10)
    with shared.connect(user, autocommit=True) as connection, connection.cursor() as cursor:
        assert cursor.adbc_ingest("big", reader) == 1_000_000
        cursor.execute("SELECT n, s FROM big")
        table = cursor.fetch_arrow_table()
        assert table.num_rows == 1_000_000
        assert sum(table.column("n").to_pylist()) == 10 * sum(range(100_000))


def test_dictionaries_pass_through(shared: Deployment, user: str) -> None:
    client = shared.client(user)
    client.info("CREATE TYPE mood AS ENUM ('calm', 'busy')")
    found = client.rows(
        "SELECT (CASE WHEN range % 2 = 0 THEN 'calm' ELSE 'busy' END)::mood FROM range(50000)"
    )
    assert found[:2] == [("calm",), ("busy",)]
    assert len(found) == 50_000


def test_plain_pyarrow_with_sql_text_alone(shared: Deployment, user: str) -> None:
    client = shared.client(user)
    assert client.rows("CREATE TABLE t AS SELECT * FROM range(5)") == [(5,)]
    assert client.rows("SELECT count(*) FROM t") == [(5,)]
    assert client.schema("SELECT 1 AS a, 'x' AS b").names == ["a", "b"]


def test_two_hundred_clients_of_a_new_user_start_one_worker(shared: Deployment, user: str) -> None:
    before = shared.pool.started
    errors: list[Exception] = []

    def visit() -> None:
        try:
            client = shared.client(user)
            assert client.rows("SELECT 42") == [(42,)]
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=visit) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert shared.pool.started == before + 1


def test_errors_of_the_worker_arrive_clean(shared: Deployment, user: str) -> None:
    client = shared.client(user)
    with pytest.raises(pa.ArrowInvalid) as caught:
        client.info("SELEC 1")
    assert str(caught.value).startswith('Parser Error: syntax error at or near "SELEC"')
    half_way = "SELECT (CASE WHEN range > 500000 THEN 'x' ELSE '1' END)::INT FROM range(1000000)"
    with pytest.raises(pa.ArrowInvalid, match="Could not convert string 'x'") as caught:
        client.rows(half_way)
    sent = str(caught.value).split(". gRPC client debug context")[0]
    assert "127.0.0.1" not in sent
    assert sent.count("Could not convert") == 1


def test_the_longest_error_keeps_its_status(shared: Deployment, user: str) -> None:
    client = shared.client(user)
    with pytest.raises(pa.ArrowInvalid, match="Could not convert string"):
        client.rows(f"SELECT '{'long ' * 20000}'::INT")


@pytest.mark.parametrize("moment", ["get_flight_info", "do_get", "do_put"])
def test_a_client_that_leaves_stops_its_statement_in_the_worker(
    shared: Deployment, user: str, moment: str
) -> None:
    """Also before the first batch, when a Flight client could not cancel."""
    client = shared.client(user)
    client.rows("SELECT 1")
    with pytest.raises((flight.FlightTimedOutError, flight.FlightCancelledError)):
        if moment == "get_flight_info":
            client.info(f"CREATE TABLE t AS {ENDLESS}", timeout=0.5)
        elif moment == "do_get":
            ticket = client.info(ENDLESS).endpoints[0].ticket
            client.flight.do_get(ticket, client.options(timeout=0.5)).read_all()
        else:
            command = wire.pack(
                wire.new("CommandStatementUpdate", query=f"CREATE TABLE t AS {ENDLESS}")
            )
            descriptor = flight.FlightDescriptor.for_command(command)
            writer, answers = client.flight.do_put(descriptor, pa.schema([]), client.options(0.5))
            writer.done_writing()
            answers.read()
            writer.close()
    left = time.monotonic()
    lease = shared.pool.lease_running(User(user))
    assert lease is not None
    try:
        wait_until(lambda: lease.worker.ask().running == 0, 5)
    finally:
        lease.release()
    assert time.monotonic() - left < 2
    wait_until(lambda: lease.worker.in_flight == 0)
    assert len(shared.proxy.calls) == 0


def test_a_reader_that_stops_half_way_stops_the_stream(shared: Deployment, user: str) -> None:
    client = shared.client(user)
    reader = client.reader("SELECT * FROM range(1000000000)")
    reader.read_chunk()
    reader.cancel()
    wait_until(lambda: len(shared.proxy.calls) == 0, 5)
    assert client.rows("SELECT 1") == [(1,)]


def test_a_worker_killed_mid_stream_is_an_error_and_the_next_call_starts_another(
    make_deployment: MakeDeployment, user: str
) -> None:
    deployment = make_deployment()
    client, other = deployment.client(user), deployment.client("somebody else")
    other.rows("SELECT 1")
    reader = client.reader("SELECT * FROM range(1000000000)")
    reader.read_chunk()
    os.kill(worker_pid(deployment, user), signal.SIGKILL)
    killed = time.monotonic()
    with pytest.raises(flight.FlightUnavailableError, match="your worker ended"):
        for _ in reader:
            pass
    assert time.monotonic() - killed < 2
    assert other.rows("SELECT 1") == [(1,)]
    assert client.rows("SELECT 42") == [(42,)]
    assert deployment.pool.stats() == {"active": 2, "total_spawned": 3, "total_stopped": 1}


def test_an_update_whose_worker_is_killed_is_not_sent_again(
    make_deployment: MakeDeployment, user: str
) -> None:
    deployment = make_deployment()
    client = deployment.client(user)
    client.rows("SELECT 1")
    errors: list[Exception] = []

    def update() -> None:
        command = wire.new("CommandStatementUpdate", query=f"CREATE TABLE t AS {ENDLESS}")
        try:
            client.put(wire.pack(command), pa.table({}))
        except flight.FlightError as error:
            errors.append(error)

    thread = threading.Thread(target=update)
    thread.start()
    ((_, worker),) = deployment.pool.connections()
    wait_until(lambda: worker.status().running == 1)
    os.kill(worker_pid(deployment, user), signal.SIGKILL)
    thread.join(20)  # anew it would never end
    assert isinstance(errors[0], flight.FlightUnavailableError)
    assert "while this call was running" in str(errors[0])
    assert deployment.pool.stats()["total_spawned"] == 1


def test_a_statement_that_a_worker_refuses_since_it_is_being_ended_runs_on_the_next(
    make_deployment: MakeDeployment, user: str
) -> None:
    deployment = make_deployment()
    client = deployment.client(user)
    assert client.rows("SELECT 1") == [(1,)]
    # As another proxy does that shares the worker.
    ((_, connection),) = deployment.pool.connections()
    assert connection.retire(0.0, timeout=5)
    assert client.rows("SELECT 2") == [(2,)]
    assert deployment.pool.stats()["total_spawned"] == 2


@pytest.mark.parametrize(
    "command",
    [
        b"",
        b"\xff\xfe",
        b"SELECT 'a\0b'",
        b"SELEC 1",
        wire.pack(wire.new("CommandGetTables", catalog="abc"))[:-1],
        wire.pack(wire.new("FlightInfo")),
        wire.pack(wire.new("CommandPreparedStatementQuery", prepared_statement_handle=b"x")),
        b"x" * 20_000_000,
    ],
)
def test_bad_input_is_refused_in_words_and_the_proxy_lives_on(
    shared: Deployment, user: str, command: bytes
) -> None:
    client = shared.client(user)
    with pytest.raises((pa.ArrowInvalid, pa.ArrowKeyError)) as caught:
        client.info(command)
    with pytest.raises((pa.ArrowInvalid, pa.ArrowKeyError)) as caught_ticket:
        client.flight.do_get(flight.Ticket(command[:10_000_000]), client.options()).read_all()
    for error in (caught.value, caught_ticket.value):
        assert "Traceback" not in str(error)
        assert ".py" not in str(error)
    assert client.rows("SELECT 1") == [(1,)]
