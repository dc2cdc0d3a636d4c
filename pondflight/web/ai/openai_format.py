"""/v1: OpenAI's wire format, so that any client of theirs works with our address and a JWT."""

from __future__ import annotations

import base64
import secrets
import struct
import time
from typing import Any, Final, Literal

import falcon

from pondflight.ai.conversation import End, Usage
from pondflight.ai.models import Models
from pondflight.errors import InvalidArgument, LimitExceeded, PondflightError, Unauthenticated
from pondflight.web import problems
from pondflight.web.ai import answers, bodies
from pondflight.web.ai.callers import REQUESTS, Askers, account
from pondflight.web.ai.chat import EMBEDDING_MODEL

_MOST_DIMENSIONS: Final = 10_000
_HARMLESS: Final = ("user", "metadata", "store", "safety_identifier", "prompt_cache_key", "seed")
_OWNERS: Final = {"claude": "anthropic", "openai": "openai"}


class _Resource:
    """Errors in OpenAI's form."""

    def __init__(self, models: Models, askers: Askers) -> None:
        self._models = models
        self._askers = askers

    def fail(self, resp: falcon.Response, error: PondflightError) -> None:
        """Answer with the error."""
        document = problems.of_error(error)
        resp.status = falcon.code_to_http_status(document["status"])
        resp.set_headers(problems.headers_of(document))
        resp.media = _error(error)


class ChatCompletions(_Resource):
    """``POST /v1/chat/completions``."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Continue a conversation."""
        try:
            self._complete(req, resp)
        except PondflightError as error:
            self.fail(resp, error)

    def _complete(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._askers.admit(req)
        body = bodies.Body(req)
        settings = self._models.settings
        question = bodies.question(body, settings.default_model, settings.max_tokens)
        streamed = body.take("stream", bodies.flag, default=False)
        with_usage = body.take("stream_options", _include_usage, default=False)
        body.take("n", bodies.whole(1, 1), 1)
        body.take("response_format", _text_only, default=None)
        body.ignore(*_HARMLESS)
        body.done()
        answer = answers.ask(self._models, question, req)
        head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": question.model,
        }
        if streamed:
            answers.send(resp, answer, _Chunks(head, with_usage=with_usage))
            return
        text, end = answers.whole(answer)
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": end.reason, "logprobs": None}
        resp.media = {
            **head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": _usage(end.usage),
        }


class Embeddings(_Resource):
    """``POST /v1/embeddings``."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Turn texts into vectors."""
        try:
            resp.media = self._embed(req)
        except PondflightError as error:
            self.fail(resp, error)

    def _embed(self, req: falcon.Request) -> dict[str, Any]:
        self._askers.admit(req)
        body = bodies.Body(req)
        inputs = body.need("input", bodies.inputs)
        model = body.take("model", bodies.model, EMBEDDING_MODEL)
        dimensions = body.take("dimensions", bodies.whole(1, _MOST_DIMENSIONS), None)
        encoding = body.take("encoding_format", _encoding, "float")
        body.ignore("user")
        body.done()
        provider = self._models.provider(model)
        try:
            found = provider.embed(inputs, model, dimensions)
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

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The models that can be asked."""
        try:
            self._askers.identify(req)
            data = [
                {"id": name, "object": "model", "created": 0, "owned_by": _OWNERS[provider]}
                for name, provider in self._models.names()
            ]
            resp.media = {"object": "list", "data": data}
        except PondflightError as error:
            self.fail(resp, error)


class _Chunks:
    """``Form``: OpenAI's."""

    def __init__(self, head: dict[str, Any], *, with_usage: bool) -> None:
        self._head = head
        self._with_usage = with_usage
        self._begun = False

    def text(self, text: str) -> bytes:
        delta = {"content": text} if self._begun else {"role": "assistant", "content": text}
        self._begun = True
        return self._choice(delta, None)

    def end(self, end: End) -> bytes:
        data = self._choice({}, end.reason)
        if self._with_usage:
            data += self._chunk(choices=[], usage=_usage(end.usage))
        return data + b"data: [DONE]\n\n"

    def error(self, error: PondflightError) -> bytes:
        return answers.event(_error(error))

    def _choice(self, delta: dict[str, Any], reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return self._chunk(choices=[choice])

    def _chunk(self, **rest: Any) -> bytes:
        return answers.event({**self._head, "object": "chat.completion.chunk", **rest})


def _error(error: PondflightError) -> dict[str, Any]:
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


def _include_usage(name: str, value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() - {"include_usage", "include_obfuscation"}:
        raise InvalidArgument(f"{name!r} takes 'include_usage' only")
    return value.get("include_usage") is True


def _text_only(name: str, value: Any) -> None:
    if value != {"type": "text"}:
        raise InvalidArgument(f"{name!r}: only text is offered here")


def _encoding(name: str, value: Any) -> Literal["float", "base64"]:
    if value not in ("float", "base64"):
        raise InvalidArgument(f"{name!r} must be float or base64")
    encoding: Literal["float", "base64"] = value
    return encoding


def _base64(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
