"""Answers on their way from a model to a client: counted, and broken off with whoever hangs up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, Protocol

import falcon

from pondflight.ai.conversation import (
    Answer,
    CallPiece,
    End,
    Part,
    Question,
    Text,
    ToolCall,
)
from pondflight.ai.models import Models
from pondflight.errors import Cancelled, PondflightError
from pondflight.flightsql.status import leaf_of
from pondflight.web.ai.callers import REQUESTS, Place, account
from pondflight.web.worker import HANG_UP

EVENT_STREAM: Final = "text/event-stream"


class Form(Protocol):
    """How the parts of an answer are written as server-sent events."""

    def text(self, text: str) -> bytes:
        """A piece of the answer."""

    def call(self, piece: CallPiece) -> bytes:
        """A piece of a call of one of the caller's tools."""

    def end(self, end: End) -> bytes:
        """The end of a whole one."""

    def error(self, error: PondflightError) -> bytes:
        """What ended it early."""


class Counted:
    """``Answer``: another one, accounted for."""

    def __init__(self, answer: Answer, provider: str) -> None:
        self._answer = answer
        self._provider = provider

    def __iter__(self) -> Iterator[Part]:
        try:
            for part in self._answer:
                if isinstance(part, End):
                    account(self._provider, part.usage)
                yield part
        except GeneratorExit:
            raise
        except Exception as error:
            outcome = "cancelled" if isinstance(error, Cancelled) else "error"
            REQUESTS.labels(self._provider, outcome).inc()
            raise

    def close(self) -> None:
        """Break off."""
        self._answer.close()


def ask(models: Models, question: Question, req: falcon.Request) -> Counted:
    """Send the question; the answer ends when the client of ``req`` hangs up."""
    provider = models.provider(question.model)
    try:
        answer = provider.ask(question)
    except PondflightError:
        REQUESTS.labels(provider.name, "error").inc()
        raise
    watch = req.env.get(HANG_UP)
    if watch is not None:
        watch(answer.close)
    return Counted(answer, provider.name)


def whole(answer: Answer) -> tuple[str, list[ToolCall], End]:
    """All of an answer: what it says, what it wants to be called, and how it ended."""
    words: list[str] = []
    calls: dict[int, ToolCall] = {}
    for part in answer:
        match part:
            case Text(text):
                words.append(text)
            case CallPiece(index):
                known = calls.get(index, ToolCall("", "", ""))
                calls[index] = ToolCall(
                    known.id or part.id,
                    known.name or part.name,
                    known.arguments + part.arguments,
                )
            case End():
                return "".join(words), list(calls.values()), part
    raise AssertionError("an answer ends with its End, or raises")


class EventStream:
    """The body of an answer that is streamed: a piece of text is passed on as it comes."""

    def __init__(self, answer: Answer, form: Form, place: Place) -> None:
        self._answer = answer
        self._form = form
        self._place = place

    def __iter__(self) -> Iterator[bytes]:
        try:
            for part in self._answer:
                match part:
                    case Text(text):
                        yield self._form.text(text)
                    case CallPiece():
                        yield self._form.call(part)
                    case End():
                        yield self._form.end(part)
        except Cancelled:
            return  # nobody is there to be told
        except Exception as error:  # noqa: BLE001 - the status is sent: the stream has to say it
            yield self._form.error(leaf_of(error))

    def close(self) -> None:
        """Called by the server when the body is sent or given up."""
        self._place.leave()
        self._answer.close()


def send(req: falcon.Request, resp: falcon.Response, answer: Answer, form: Form) -> None:
    """Stream an answer."""
    resp.content_type = EVENT_STREAM
    resp.set_header("x-accel-buffering", "no")  # nginx holds events back otherwise
    resp.stream = EventStream(answer, form, req.context.place)


def event(data: Any, name: str = "") -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()
