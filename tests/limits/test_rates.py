from __future__ import annotations

import sys
import time

import pyarrow as pa
import pytest
from adbc_driver_flightsql import DatabaseOptions, dbapi
from pyarrow import flight

from pondflight.errors import ConfigError
from pondflight.flightsql import wire
from pondflight.limits import memory as limits_memory
from pondflight.limits.memory import Hits, Payments, Windows
from pondflight.limits.rates import Counter, Rate
from pondflight.proxy.rate_limits import Limits
from pondflight.telemetry import logs
from tests.stack import Stack


@pytest.mark.parametrize(
    ("per_minute", "burst", "expected"),
    [
        (100, 200, (200, 120)),
        (60, 5, (5, 5)),
        (5, 5, (5, 60)),
        (1, 1000, (1000, 60_000)),
        (100, 33, (33, 20)),
        (6000, 10, (100, 1)),
    ],
)
def test_rate_allows_the_burst_and_the_average(
    per_minute: int, burst: int, expected: tuple[int, int]
) -> None:
    rate = Rate.of("x", per_minute, burst)
    assert (rate.amount, rate.seconds) == expected
    assert rate.amount * 60 / rate.seconds <= per_minute * 1.01


def test_counter_says_how_long_to_wait_and_that_is_enough() -> None:
    counter, rate = Counter(), Rate("x", 2, 1)
    assert counter.take(rate, "a") is None
    assert counter.take(rate, "a") is None
    wait = counter.take(rate, "a")
    assert wait is not None
    assert 0 < wait <= 1
    assert counter.take(rate, "b") is None
    assert counter.take(Rate("y", 2, 1), "a") is None
    time.sleep(wait + 0.05)
    assert counter.take(rate, "a") is None


def test_counter_goes_on_alone_where_the_redis_is_gone() -> None:
    counter, rate = Counter("redis://127.0.0.1:1/0"), Rate("x", 1, 60)
    assert counter.take(rate, "a") is None
    assert counter.take(rate, "a") is not None
    counter.pay("ticket", "a")
    assert counter.spend("ticket", "a")
    assert not counter.spend("ticket", "a")


def connect(stack: Stack, sub: str) -> dbapi.Connection:
    authorization = DatabaseOptions.AUTHORIZATION_HEADER.value
    return dbapi.connect(
        stack.flight_uri, db_kwargs={authorization: f"Bearer {stack.token(sub)}"}, autocommit=True
    )


def test_one_execute_of_adbc_is_one_statement() -> None:
    stack = Stack(limits=Limits(6, 6))
    try:
        with connect(stack, "alice") as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE t (a INT)")
            cursor.executemany("INSERT INTO t VALUES (?)", [(1,), (2,), (3,)])
            cursor.execute("SELECT a FROM t WHERE a > ?", (1,))
            assert len(cursor.fetchall()) == 2
            for _ in range(10):
                connection.adbc_get_table_types()
            cursor.execute("SELECT 1")
            cursor.fetchall()
            cursor.execute("SELECT 2")
            assert stack.query("alice", "SELECT 3").status == 200
            assert cursor.fetchall() == [(2,)]
            with pytest.raises(dbapi.OperationalError, match=r"retry after \d+ s") as caught:
                cursor.execute("SELECT 4")
            assert caught.value.status_code.name == "IO"  # ADBC's word for UNAVAILABLE
        refused = stack.query("alice", "SELECT 5")
        assert refused.status == refused.json["status"] == 429
        assert refused.json["type"] == "urn:pondflight:problem:limit-exceeded"
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert refused.json["retry_after"] == int(refused.headers["retry-after"])
        assert stack.query("bob", "SELECT 6").status == 200
    finally:
        stack.close()


def test_a_text_of_several_statements_is_as_many() -> None:
    """By whatever door it comes."""
    stack = Stack(limits=Limits(9, 9))
    text = "SELECT 1; SELECT ';'; SELECT 3"
    try:
        with connect(stack, "alice") as connection, connection.cursor() as cursor:
            cursor.execute(text)  # prepared
            assert cursor.fetchall() == [(3,)]
        assert stack.query("alice", text).status == 200
        client = stack.flight("alice")
        client.info(text)
        with pytest.raises(flight.FlightUnavailableError, match="limit exceeded"):
            client.info("SELECT 4")
        client.close()
        client = stack.flight("bob")
        update = wire.pack(wire.new("CommandStatementUpdate", query="SELECT 1;" * 9))
        client.put(update, pa.table({}))
        with pytest.raises(flight.FlightUnavailableError, match="this text has 2"):
            client.info("SELECT 4; SELECT 5")
        client.close()
        assert stack.query("carol", "SELECT 1;" * 10).status == 429
    finally:
        stack.close()


def test_ticket_is_paid_for_once() -> None:
    stack = Stack(limits=Limits(3, 3))
    client = stack.flight("alice")
    try:
        ticket = client.info("SELECT 1").endpoints[0].ticket
        for _ in range(3):
            client.flight.do_get(ticket, client.options()).read_all()
        with pytest.raises(flight.FlightUnavailableError, match="retry after"):
            client.flight.do_get(ticket, client.options()).read_all()
    finally:
        client.close()
        stack.close()


class Trailers(flight.ClientMiddlewareFactory):
    """Collects what comes behind an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, list[str]] = {}

    def start_call(self, info: flight.CallInfo) -> flight.ClientMiddleware:
        seen = self.seen

        class Middleware(flight.ClientMiddleware):
            def received_headers(self, headers: dict[str, list[str]]) -> None:
                seen.update(headers)

        return Middleware()


def test_refusal_has_the_seconds_in_a_trailer_and_a_log_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure()
    stack = Stack(limits=Limits(1, 1))
    trailers = Trailers()
    client = flight.FlightClient(stack.flight_uri, middleware=[trailers])
    header = (b"authorization", f"Bearer {stack.token('alice')}".encode())
    options = flight.FlightCallOptions(headers=[header])
    descriptor = flight.FlightDescriptor.for_command(b"SELECT 1")
    try:
        client.get_flight_info(descriptor, options)
        for _ in range(3):
            with pytest.raises(flight.FlightUnavailableError, match="limit exceeded"):
                client.get_flight_info(descriptor, options)
    finally:
        client.close()
        stack.close()
    (seconds,) = trailers.seen["retry-after"]
    assert 1 <= int(seconds) <= 60
    lines = [line for line in capsys.readouterr().err.splitlines() if "Rate limit" in line]
    assert lines == ['level=warn msg="Rate limit exceeded" user_id=alice address=127.0.0.1']


class Clock:
    """The time, moved on by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_window_moves_with_the_time() -> None:
    clock = Clock()
    windows = Windows(clock=clock)

    def taken(key: str, amount: int = 1) -> bool:
        return isinstance(windows.take(key, 3, 10, amount), Hits)

    assert [taken("a") for _ in range(4)] == [True, True, True, False]
    clock.now += 9.9
    assert windows.take("a", 3, 10) == pytest.approx(0.1)
    clock.now += 0.2
    assert taken("a")
    assert not taken("a", 3)
    assert taken("a", 2)
    assert taken("b", 3)


def test_what_is_given_back_can_be_taken_again() -> None:
    clock = Clock()
    windows = Windows(clock=clock)
    hits = windows.take("a", 10, 10, 2, share=4, ahead=1.0)
    assert isinstance(hits, Hits)
    assert hits.amount == 4  # two of the eight that were left come with it
    windows.give_back("a", hits, 2)
    assert isinstance(windows.take("a", 10, 10, 8), Hits)
    assert isinstance(windows.take("a", 10, 10), float)
    clock.now += 10.5
    assert isinstance(windows.take("a", 10, 10, 8), float)  # it counts until the lease was over
    clock.now += 0.6
    assert isinstance(windows.take("a", 10, 10, 10), Hits)
    windows.give_back("a", hits, 2)  # too late: it has been forgotten
    assert isinstance(windows.take("a", 10, 10), float)


def test_payments_are_spent_once_and_the_oldest_are_forgotten() -> None:
    payments = Payments()
    for _ in range(2):
        payments.add("a")
    assert [payments.spend("a") for _ in range(3)] == [True, True, False]
    payments.add("a")
    for number in range(limits_memory.MOST_PAYMENTS):
        payments.add(number)
    assert not payments.spend("a")
    assert len(payments._left) == limits_memory.MOST_PAYMENTS


def test_users_who_are_gone_are_forgotten() -> None:
    clock = Clock()
    windows = Windows(clock=clock)
    for number in range(500):
        windows.take(f"user-{number}", 3, 10)
    clock.now += 100
    for _ in range(limits_memory._TIDY_EVERY):
        windows.take("b", 10_000, 10)
    assert set(windows._windows) == {"b"}


def test_redis_without_its_client_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match=r"pondflight\[redis\]"):
        Counter("redis://127.0.0.1:9/0")


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_step_of_the_clock_changes_no_limit(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    counter, rate = Counter(), Rate("x", 1, 30)
    assert counter.take(rate, "a") is None
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + step)
    wait = counter.take(rate, "a")
    assert wait is not None
    assert 25 < wait <= 30
