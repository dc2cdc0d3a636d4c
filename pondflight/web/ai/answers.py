"""Streams a model's answer to a client, counts it, and aborts it when the client disconnects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final, Protocol

from falcon.asgi import Request, Response

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
from pondflight.errors import PondflightError
from pondflight.flightsql.status import leaf_of
from pondflight.web.ai.callers import REQUESTS, account
from pondflight.web.exchange import Exchange

EVENT_STREAM: Final = "text/event-stream"


class Form(Protocol):
    """How the parts of an answer are encoded as server-sent events."""

    def text(self, text: str) -> bytes:
        """Encode a piece of the answer's text."""

    def call(self, piece: CallPiece) -> bytes:
        """Encode a piece of a call of one of the caller's tools."""

    def end(self, end: End) -> bytes:
        """Encode the end of a complete answer."""

    def error(self, error: PondflightError) -> bytes:
        """Encode the error that ended an answer early."""


class Counted:
    """Passes on another ``Answer``, and counts it in the metrics."""

    def __init__(self, answer: Answer, provider: str) -> None:
        self._answer = answer
        self._provider = provider

    async def __aiter__(self) -> AsyncIterator[Part]:
        ended = False
        try:
            async for part in self._answer:
                if isinstance(part, End):
                    account(self._provider, part.usage)
                    ended = True
                yield part
        except (asyncio.CancelledError, GeneratorExit):
            if not ended:
                REQUESTS.labels(self._provider, "cancelled").inc()
            raise
        except Exception:
            REQUESTS.labels(self._provider, "error").inc()
            raise

    async def close(self) -> None:
        """Close the answer; this aborts it if it is unfinished."""
        await self._answer.close()


async def ask(models: Models, question: Question, req: Request) -> Counted:
    """Send the question; the answer ends when the client of ``req`` hangs up."""
    exchange = Exchange.of(req)
    exchange.cancel_on_disconnect()
    provider = models.provider(question.model)
    try:
        answer = await provider.ask(question)
    except PondflightError:
        REQUESTS.labels(provider.name, "error").inc()
        raise
    exchange.at_end(answer.close)
    return Counted(answer, provider.name)


async def whole(answer: Answer) -> tuple[str, list[ToolCall], End]:
    """Return a complete answer: its text, the calls that it requests, and its ending."""
    words: list[str] = []
    calls: dict[int, ToolCall] = {}
    async for part in answer:
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


async def _events(answer: Answer, form: Form) -> AsyncIterator[bytes]:
    """Yield each piece as an event, as soon as it comes."""
    try:
        async for part in answer:
            match part:
                case Text(text):
                    yield form.text(text)
                case CallPiece():
                    yield form.call(part)
                case End():
                    yield form.end(part)
    except Exception as error:  # noqa: BLE001 - the status is sent: the stream has to say it
        yield form.error(leaf_of(error))


def send(resp: Response, answer: Answer, form: Form) -> None:
    """Stream an answer."""
    resp.content_type = EVENT_STREAM
    resp.set_header("x-accel-buffering", "no")  # nginx holds events back otherwise
    resp.stream = _events(answer, form)


def event(data: object, name: str = "") -> bytes:
    """Encode one server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()
