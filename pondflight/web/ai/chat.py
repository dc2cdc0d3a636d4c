"""POST /ai/chat and POST /ai/embed: models, in our own format."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Final

from falcon.asgi import Request, Response

from pondflight.ai.conversation import CallPiece, End, Message
from pondflight.ai.models import Models
from pondflight.ai.sql import describe
from pondflight.errors import PondflightError
from pondflight.web import problems
from pondflight.web.ai import answers, bodies
from pondflight.web.ai.callers import REQUESTS, Asker, Askers, account
from pondflight.web.ai.reader import Reader
from pondflight.web.ai.tables import tables_of
from pondflight.web.exchange import Exchange
from pondflight.web.upstream import Upstream

EMBEDDING_MODEL: Final = "text-embedding-3-small"
_MOST_DIMENSIONS: Final = 10_000
_SCHEMA: Final = (
    "The user's databases are reached through DuckDB. These are their tables, each with its "
    "columns and their types:\n\n"
)


class Chat:
    """``POST /ai/chat``."""

    def __init__(self, models: Models, askers: Askers, upstream: Upstream) -> None:
        self._models = models
        self._askers = askers
        self._upstream = upstream

    async def on_post(self, req: Request, resp: Response) -> None:
        """Continue a conversation: as events, or with ``"stream": false`` as one object."""
        asker = await self._askers.admit(req)
        body = await bodies.Body.of(req)
        settings = self._models.settings
        question = bodies.question(body, settings.default_model, settings.max_tokens)
        streamed = body.take("stream", bodies.flag, default=True)
        with_schema = body.take("schema", bodies.flag, default=False)
        body.done()
        self._models.provider(question.model)  # fail without a key before any table is read
        if with_schema:
            schema = Message("system", _SCHEMA + await self._schema(asker, req, question.messages))
            question = replace(question, messages=(schema, *question.messages))
        answer = await answers.ask(self._models, question, req)
        if streamed:
            answers.send(resp, answer, _Events(question.model))
            return
        text, _, end = await answers.whole(answer)
        resp.media = {"content": text, **_ending(question.model, end)}

    async def _schema(self, asker: Asker, req: Request, messages: tuple[Message, ...]) -> str:
        words = " ".join(message.content for message in messages if message.role == "user")
        Exchange.of(req).cancel_on_disconnect()
        return describe(words, await Reader(self._upstream, asker.token).call(tables_of))


class _Events:
    """The ``Form`` of /ai/chat: server-sent events."""

    def __init__(self, model: str) -> None:
        self._model = model

    def text(self, text: str) -> bytes:
        return answers.event({"delta": text})

    def call(self, piece: CallPiece) -> bytes:
        return b""  # this format offers no tools

    def end(self, end: End) -> bytes:
        return answers.event(_ending(self._model, end), "end")

    def error(self, error: PondflightError) -> bytes:
        return answers.event(problems.of_error(error), "error")


def _ending(model: str, end: End) -> dict[str, object]:
    return {"model": model, "finish_reason": end.reason, "usage": asdict(end.usage)}


class Embed:
    """``POST /ai/embed``."""

    def __init__(self, models: Models, askers: Askers) -> None:
        self._models = models
        self._askers = askers

    async def on_post(self, req: Request, resp: Response) -> None:
        """Answer with one vector for each text."""
        await self._askers.admit(req)
        body = await bodies.Body.of(req)
        inputs = body.need("input", bodies.inputs)
        model = body.take("model", bodies.model, EMBEDDING_MODEL)
        dimensions = body.take("dimensions", bodies.whole(1, _MOST_DIMENSIONS), None)
        body.done()
        provider = self._models.provider(model)
        try:
            found = await provider.embed(inputs, model, dimensions)
        except PondflightError:
            REQUESTS.labels(provider.name, "error").inc()
            raise
        account(provider.name, found.usage)
        resp.media = {
            "embeddings": found.vectors,
            "model": found.model,
            "usage": asdict(found.usage),
        }
