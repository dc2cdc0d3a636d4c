"""OpenAI, and servers that speak its wire format, through the official library."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, get_args

import openai

from pondflight.ai.conversation import (
    CallPiece,
    Embeddings,
    End,
    FinishReason,
    Inputs,
    Message,
    Part,
    Question,
    Text,
    Usage,
)
from pondflight.ai.faults import cut_off, provider_errors
from pondflight.control import Json

NAME = "OpenAI"
_SETTING = "ai.openai_api_key"
_MAX_MODELS = 100


class Gpt:
    """OpenAI's Chat Completions API as a ``Provider``."""

    name = "openai"

    def __init__(self, key: str, base_url: str | None, timeout: float) -> None:
        self._client = openai.AsyncOpenAI(
            api_key=key,
            base_url=base_url,
            timeout=timeout,
            max_retries=0,
            # Only the configuration decides who gets the key and the question: follow no redirect.
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
        )

    async def ask(self, question: Question) -> GptAnswer:
        """Send the question to the Chat Completions API and return its streamed answer."""
        wanted: Json = {
            "model": question.model,
            "messages": [_message(message) for message in question.messages],
            "max_completion_tokens": question.max_tokens,
            "temperature": question.temperature,
            "top_p": question.top_p,
            "stop": list(question.stop) or None,
            **_tools(question),
            **question.options,
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        with provider_errors(openai, NAME, _SETTING):
            stream = await self._client.chat.completions.create(
                **given, stream=True, stream_options={"include_usage": True}
            )
        return GptAnswer(stream)

    async def embed(self, inputs: Inputs, model: str, dimensions: int | None) -> Embeddings:
        """Return one vector of floats for each input, in order."""
        given: Json = {} if dimensions is None else {"dimensions": dimensions}
        with provider_errors(openai, NAME, _SETTING):
            answer = await self._client.embeddings.create(
                input=inputs, model=model, encoding_format="float", **given
            )
        vectors = sorted(answer.data, key=lambda item: item.index)
        numbers = tuple(tuple(vector.embedding) for vector in vectors)
        return Embeddings(numbers, answer.model, Usage(_prompt_tokens(answer)))

    async def close(self) -> None:
        """Close the connections to the provider."""
        await self._client.close()

    async def models(self) -> list[str]:
        """Return the names of the models that the key gives access to."""
        with provider_errors(openai, NAME, _SETTING):
            return [model.id for model in (await self._client.models.list()).data[:_MAX_MODELS]]


class GptAnswer:
    """An ``Answer`` read from the chunks of a streamed completion."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[Part]:
        usage = Usage()
        reason: FinishReason | None = None
        with provider_errors(openai, NAME, _SETTING, in_the_middle=True):
            async for chunk in self._stream:
                if chunk.usage is not None:  # in a chunk of its own, after the finish reason
                    usage = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
                for choice in chunk.choices[:1]:
                    if words := choice.delta.content or choice.delta.refusal:
                        yield Text(words)
                    for call in choice.delta.tool_calls or ():
                        yield _piece(call)
                    if choice.finish_reason is not None:
                        known = choice.finish_reason in get_args(FinishReason)
                        reason = choice.finish_reason if known else "stop"
        if reason is not None:
            yield End(reason, usage)
        else:
            raise cut_off(NAME)

    async def close(self) -> None:
        """Close the stream; this aborts an unfinished answer."""
        await self._stream.close()


def _message(message: Message) -> Json:
    body: Json = {"role": message.role, "content": message.content}
    if message.images:
        words = [{"type": "text", "text": message.content}] if message.content else []
        images = [{"type": "image_url", "image_url": {"url": url}} for url in message.images]
        body["content"] = words + images
    if message.calls:
        body["content"] = message.content or None
        body["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.calls
        ]
    if message.role == "tool":
        body["tool_call_id"] = message.answers
    return body


def _tools(question: Question) -> Json:
    if not question.tools:
        return {}
    functions = [
        {
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
            "strict": tool.strict,
        }
        for tool in question.tools
    ]
    choice = question.tool_choice
    return {
        "tools": [
            {"type": "function", "function": {k: v for k, v in f.items() if v is not None}}
            for f in functions
        ],
        "tool_choice": {"type": "function", "function": {"name": choice.name}}
        if choice.name
        else choice.mode,
        "parallel_tool_calls": choice.parallel,
    }


def _piece(call: Any) -> CallPiece:
    name = call.function.name if call.function else None
    arguments = call.function.arguments if call.function else None
    return CallPiece(call.index, call.id or "", name or "", arguments or "")


def _prompt_tokens(answer: Any) -> int:
    """Return the number of prompt tokens; 0 for local servers that do not report usage."""
    return answer.usage.prompt_tokens if answer.usage is not None else 0
