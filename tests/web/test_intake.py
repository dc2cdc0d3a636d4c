from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pondflight.web.intake import (
    BODY_BYTES_PER_SECOND,
    BODY_SECONDS,
    HEAD_SECONDS,
    MAX_BODY,
    TOO_LARGE,
    Intake,
)

PLAIN = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LENGTH = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n"


@given(st.sampled_from([PLAIN, LENGTH, CHUNKED, b"\r\n" + PLAIN]), st.data())
def test_request_is_complete_at_its_last_byte_however_it_comes(
    request: bytes, data: st.DataObject
) -> None:
    following = b"GET /next"
    stream = request + following
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1))))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    intake = Intake(0.0)
    came = 0
    for piece in pieces:
        assert intake.complete == (came >= len(request))
        assert intake.feed(piece) is None
        came += len(piece)
    assert intake.take() == (request, following)


@given(st.binary(max_size=400))
def test_any_bytes_are_taken_in(data: bytes) -> None:
    intake = Intake(0.0)
    intake.feed(data)
    if intake.complete:
        request, rest = intake.take()
        assert request + rest == data


def test_body_at_the_limit_is_taken_and_a_byte_more_is_not() -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
    assert Intake(0.0).feed(head % MAX_BODY) is None
    intake = Intake(0.0)
    assert intake.feed(head % (MAX_BODY + 1)) is None
    assert intake.feed(b"x" * MAX_BODY) is None
    assert len(intake) == 0
    assert intake.overdue is TOO_LARGE
    assert intake.feed(b"x") is TOO_LARGE
    assert not intake.complete


def test_client_that_asks_first_need_not_send_a_body_that_is_too_large() -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
    assert Intake(0.0).feed(head % (MAX_BODY + 1)) is TOO_LARGE


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 2), st.integers(0, 40), st.data())
def test_chunks_that_are_too_large_are_dropped_up_to_the_last_byte(
    large: int, small: int, data: st.DataObject
) -> None:
    chunks = [MAX_BODY] * large + [1] * small
    body = b"".join(b"%x\r\n%s\r\n" % (size, b"x" * size) for size in chunks)
    last = data.draw(st.sampled_from([b"0\r\n\r\n", b"0;a=b\r\nX: y\r\n\r\n"]))
    intake = Intake(0.0)
    refusal = intake.feed(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\ny\r\n")
    stream = body + last
    cut = data.draw(st.integers(len(stream) - 30, len(stream) - 1))
    for piece in (stream[: MAX_BODY // 2], stream[MAX_BODY // 2 : cut]):
        assert refusal is None
        refusal = intake.feed(piece)
    assert refusal is None
    assert intake.feed(stream[cut:]) is TOO_LARGE


def test_body_of_tiny_chunks_is_limited_by_what_is_sent() -> None:
    intake = Intake(0.0)
    refusal = intake.feed(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    sent = 0
    while refusal is None:
        refusal = intake.feed(b"1\r\nx\r\n" * 10_000)
        sent += 60_000
    assert refusal is TOO_LARGE
    assert sent < 3 * MAX_BODY


def test_body_has_more_time_the_more_of_it_has_come() -> None:
    intake = Intake(100.0)
    assert intake.deadline == 100 + HEAD_SECONDS
    intake.feed(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
    assert intake.deadline == 100 + HEAD_SECONDS + BODY_SECONDS
    intake.feed(b"x" * BODY_BYTES_PER_SECOND)
    assert intake.deadline == 100 + HEAD_SECONDS + BODY_SECONDS + 1


def test_only_a_body_that_is_awaited_is_asked_for() -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n"
    intake = Intake(0.0)
    intake.feed(head)
    assert intake.wants_continue
    intake = Intake(0.0)
    intake.feed(head + b"xx")
    assert not intake.wants_continue
    intake = Intake(0.0)
    intake.feed(head.replace(b"1.1", b"1.0"))
    assert not intake.wants_continue
