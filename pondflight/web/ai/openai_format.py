"""/v1: OpenAI's wire format, so any client for it works with our address and a JWT."""

from __future__ import annotations

import base64
import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Literal

import falcon
from falcon.asgi import Request, Response

from pondflight.ai.conversation import CallPiece, End, Usage
from pondflight.ai.models import Models
from pondflight.errors import (
    InvalidArgument,
    LimitExceeded,
    NotFound,
    PondflightError,
    Unauthenticated,
)
from pondflight.web import problems
from pondflight.web.ai import answers, bodies, functions
from pondflight.web.ai.callers import REQUESTS, Askers, account
from pondflight.web.ai.chat import EMBEDDING_MODEL

_MOST_DIMENSIONS: Final = 10_000
_HARMLESS: Final = (
    "metadata",
    "prompt_cache_key",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
)
_PENALTY: Final = 2.0
_OWNERS: Final = {"claude": "anthropic", "openai": "openai"}


class _Resource:
    """A resource that reports errors in OpenAI's format."""

    def __init__(self, models: Models, askers: Askers) -> None:
        self._models = models
        self._askers = askers

    def fail(self, resp: Response, error: PondflightError) -> None:
        """Answer with the error in OpenAI's format."""
        document = problems.of_error(error)
        resp.status = falcon.code_to_http_status(document["status"])
        resp.set_headers(problems.headers_of(document))
        resp.media = _error(error)


class ChatCompletions(_Resource):
    """``POST /v1/chat/completions``."""

    async def on_post(self, req: Request, resp: Response) -> None:
        """Answer a conversation, streamed or as one document."""
        try:
            await self._complete(req, resp)
        except PondflightError as error:
            self.fail(resp, error)

    async def _complete(self, req: Request, resp: Response) -> None:
        await self._askers.admit(req)
        body = await bodies.Body.of(req)
        settings = self._models.settings
        question = bodies.question(body, settings.default_model, settings.max_tokens)
        streamed = body.take("stream", bodies.flag, default=False)
        with_usage = body.take("stream_options", _include_usage, default=False)
        tools, choice = functions.read(body)
        options = {
            name: found
            for name, read in _OPTIONS.items()
            if (found := body.take(name, read, default=None)) is not None
        }
        body.take("n", bodies.whole(1, 1), 1)
        body.take("logprobs", _false, default=None)
        body.ignore(*_HARMLESS)
        body.done()
        question = replace(question, tools=tools, tool_choice=choice, options=options)
        answer = await answers.ask(self._models, question, req)
        head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": question.model,
        }
        if streamed:
            answers.send(resp, answer, _Chunks(head, with_usage=with_usage))
            return
        text, calls, end = await answers.whole(answer)
        message: dict[str, object] = {"role": "assistant", "content": text, "refusal": None}
        if calls:
            message |= {"content": text or None, "tool_calls": functions.written(calls)}
        only = {"index": 0, "message": message, "finish_reason": end.reason, "logprobs": None}
        resp.media = {
            **head,
            "object": "chat.completion",
            "choices": [only],
            "usage": _usage(end.usage),
        }


class Embeddings(_Resource):
    """``POST /v1/embeddings``."""

    async def on_post(self, req: Request, resp: Response) -> None:
        """Answer with one vector for each input."""
        try:
            resp.media = await self._embed(req)
        except PondflightError as error:
            self.fail(resp, error)

    async def _embed(self, req: Request) -> dict[str, object]:
        await self._askers.admit(req)
        body = await bodies.Body.of(req)
        inputs = body.need("input", bodies.inputs)
        model = body.take("model", bodies.model, EMBEDDING_MODEL)
        dimensions = body.take("dimensions", bodies.whole(1, _MOST_DIMENSIONS), None)
        encoding = body.take("encoding_format", _encoding, "float")
        body.ignore("user")
        body.done()
        provider = self._models.provider(model)
        try:
            found = await provider.embed(inputs, model, dimensions)
        except PondflightError:
            REQUESTS.labels(provider.name, "error").inc()
            raise
        account(provider.name, found.usage)
        encode = _base64 if encoding == "base64" else list
        data = [
            {"object": "embedding", "index": index, "embedding": encode(vector)}
            for index, vector in enumerate(found.vectors)
        ]
        tokens = found.usage.input_tokens
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": found.model, "usage": usage}


class ModelList(_Resource):
    """``GET /v1/models``."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer with the list of available models."""
        try:
            await self._askers.identify(req)
            data = [_model(name, provider) for name, provider in await self._models.names()]
            resp.media = {"object": "list", "data": data}
        except PondflightError as error:
            self.fail(resp, error)


class OneModel(_Resource):
    """``GET /v1/models/{name}``."""

    async def on_get(self, req: Request, resp: Response, name: str) -> None:
        """Answer with one model, or 404 if it is unknown."""
        try:
            await self._askers.identify(req)
            owner = dict(await self._models.names()).get(name)
            if owner is None:
                raise NotFound("there is no such model here: GET /v1/models lists them")
            resp.media = _model(name, owner)
        except PondflightError as error:
            self.fail(resp, error)


class _Chunks:
    """Encodes the answer of /v1/chat/completions as OpenAI's chunks."""

    def __init__(self, head: dict[str, object], *, with_usage: bool) -> None:
        self._head = head
        self._with_usage = with_usage
        self._begun = False

    def text(self, text: str) -> bytes:
        return self._choice(self._first() | {"content": text}, None)

    def call(self, piece: CallPiece) -> bytes:
        return self._choice(self._first() | {"tool_calls": [functions.delta(piece)]}, None)

    def end(self, end: End) -> bytes:
        data = self._choice({}, end.reason)
        if self._with_usage:
            data += self._chunk(choices=[], usage=_usage(end.usage))
        return data + b"data: [DONE]\n\n"

    def error(self, error: PondflightError) -> bytes:
        return answers.event(_error(error))

    def _first(self) -> dict[str, object]:
        begun, self._begun = self._begun, True
        return {} if begun else {"role": "assistant"}

    def _choice(self, delta: dict[str, object], reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return self._chunk(choices=[choice])

    def _chunk(self, **rest: object) -> bytes:
        return answers.event({**self._head, "object": "chat.completion.chunk", **rest})


def _error(error: PondflightError) -> dict[str, object]:
    kind = "server_error"
    if isinstance(error, Unauthenticated):
        kind = "authentication_error"
    elif isinstance(error, LimitExceeded):
        kind = "rate_limit_error"
    elif isinstance(error, InvalidArgument):
        kind = "invalid_request_error"
    message = str(problems.of_error(error)["detail"])
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _include_usage(name: str, value: object) -> bool:
    if not isinstance(value, dict) or value.keys() - {"include_usage", "include_obfuscation"}:
        raise InvalidArgument(f"{name!r} takes 'include_usage' only")
    return value.get("include_usage") is True


def _model(name: str, provider: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": _OWNERS[provider]}


def _false(name: str, value: object) -> None:
    if value is not False:
        raise InvalidArgument(f"{name!r} is not offered here")


def _form(name: str, value: object) -> dict[str, object] | None:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise InvalidArgument(f"{name!r} must be an object with a 'type'")
    return None if value["type"] == "text" else value


def _penalty(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _PENALTY:
        raise InvalidArgument(f"{name!r} must be a number from {-_PENALTY:g} to {_PENALTY:g}")
    return float(value)


def _biases(name: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise InvalidArgument(f"{name!r} must be an object")
    return value


_OPTIONS: Final[dict[str, Callable[[str, object], object]]] = {
    "frequency_penalty": _penalty,
    "logit_bias": _biases,
    "presence_penalty": _penalty,
    "reasoning_effort": bodies.text,
    "response_format": _form,
    "seed": bodies.whole(-(1 << 63), (1 << 63) - 1),
    "verbosity": bodies.text,
}
"""Options that are passed on to OpenAI's models, and that Claude's do not have."""


def _encoding(name: str, value: object) -> Literal["float", "base64"]:
    if value not in ("float", "base64"):
        raise InvalidArgument(f"{name!r} must be float or base64")
    encoding: Literal["float", "base64"] = value
    return encoding


def _base64(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
