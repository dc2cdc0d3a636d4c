"""Claude, through the official library."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import anthropic

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
from pondflight.errors import InvalidArgument

NAME = "Claude"
_SETTING = "ai.claude_api_key"
_REASONS: dict[str | None, FinishReason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
    "tool_use": "tool_calls",
}
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}
_DATA_URL = re.compile(r"data:(image/[\w.+-]+);base64,(.*)", re.DOTALL)
_MAX_MODELS = 100


class Claude:
    """Anthropic's Messages API as a ``Provider``."""

    name = "claude"

    def __init__(self, key: str, base_url: str | None, timeout: float) -> None:
        self._client = anthropic.AsyncAnthropic(
            api_key=key,
            base_url=base_url,
            timeout=timeout,
            max_retries=0,
            # Only the configuration decides who gets the key and the question: follow no redirect.
            http_client=anthropic.DefaultAsyncHttpxClient(follow_redirects=False),
        )

    async def ask(self, question: Question) -> ClaudeAnswer:
        """Send the question to the Messages API and return its streamed answer."""
        if isinstance(form := question.options.get("response_format"), dict):
            raise InvalidArgument(
                f"'response_format': Claude has no {form.get('type')}: give it a tool instead"
            )
        system = "\n\n".join(m.content for m in question.messages if m.role == "system")
        wanted: Json = {
            "model": question.model,
            "messages": _turns(question.messages),
            "max_tokens": question.max_tokens,
            "system": system or None,
            "temperature": question.temperature,
            "top_p": question.top_p,
            "stop_sequences": list(question.stop) or None,
            **_tools(question),
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        # The types of the arguments differ between releases of the library.
        body = {name: given.pop(name) for name in ("temperature", "top_p") if name in given}
        with provider_errors(anthropic, NAME, _SETTING):
            stream = await self._client.messages.create(
                **given, extra_body=body or None, stream=True
            )
        return ClaudeAnswer(stream)

    async def embed(self, inputs: Inputs, model: str, dimensions: int | None) -> Embeddings:
        """Raise ``InvalidArgument``: Anthropic has no embeddings."""
        raise InvalidArgument(
            "Claude has no embeddings: name a model such as text-embedding-3-small"
        )

    async def close(self) -> None:
        """Close the connections to the provider."""
        await self._client.close()

    async def models(self) -> list[str]:
        """Return the names of the models that the key gives access to."""
        with provider_errors(anthropic, NAME, _SETTING):
            return [model.id for model in (await self._client.models.list(limit=_MAX_MODELS)).data]


class ClaudeAnswer:
    """An ``Answer`` read from the events of a streamed message."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[Part]:
        read = written = calls = 0
        silent = False  # no piece was sent, as for a call without arguments
        reason: str | None = None
        with provider_errors(anthropic, NAME, _SETTING, in_the_middle=True):
            async for event in self._stream:
                match event.type:
                    case "message_start":
                        usage = event.message.usage
                        read, written = usage.input_tokens, usage.output_tokens
                    case "content_block_start" if event.content_block.type == "tool_use":
                        calls, silent = calls + 1, True
                        yield CallPiece(calls - 1, event.content_block.id, event.content_block.name)
                    case "content_block_delta" if event.delta.type == "text_delta":
                        yield Text(event.delta.text)
                    case "content_block_delta" if event.delta.type == "input_json_delta":
                        silent = silent and not event.delta.partial_json
                        yield CallPiece(calls - 1, arguments=event.delta.partial_json)
                    case "content_block_stop" if silent:
                        silent = False
                        yield CallPiece(calls - 1, arguments="{}")
                    case "message_delta":
                        reason = event.delta.stop_reason
                        written = event.usage.output_tokens
                    case "message_stop":
                        yield End(_REASONS.get(reason, "stop"), Usage(read, written))
                        return
        raise cut_off(NAME)

    async def close(self) -> None:
        """Close the stream; this aborts an unfinished answer."""
        await self._stream.close()


def _turns(messages: tuple[Message, ...]) -> list[Json]:
    turns: list[Json] = []
    for message in messages:
        match message.role:
            case "system":
                continue
            case "tool":
                result = {
                    "type": "tool_result",
                    "tool_use_id": message.answers,
                    "content": message.content,
                }
                if turns and _is_results(turns[-1]):  # the results of one turn go together
                    turns[-1]["content"].append(result)
                else:
                    turns.append({"role": "user", "content": [result]})
            case role:
                turns.append({"role": role, "content": _content(message)})
    return turns


def _is_results(turn: Json) -> bool:
    content = turn["content"]
    return isinstance(content, list) and content[0]["type"] == "tool_result"


def _content(message: Message) -> str | list[Json]:
    if not message.images and not message.calls:
        return message.content
    blocks = [{"type": "image", "source": _source(url)} for url in message.images]
    if message.content:
        blocks.append({"type": "text", "text": message.content})
    return blocks + [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call.arguments)}
        for call in message.calls
    ]


def _source(url: str) -> dict[str, str]:
    match = _DATA_URL.fullmatch(url)
    if match is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": match[1], "data": match[2]}


def _input(arguments: str) -> Json:
    try:
        found = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidArgument("the arguments of a call must be a JSON object")
    return found


def _tools(question: Question) -> Json:
    if not question.tools:
        return {}
    choice = question.tool_choice
    chosen: Json = {"type": _CHOICES[choice.mode]}
    if choice.name:
        chosen = {"type": "tool", "name": choice.name}
    if choice.parallel is not None and choice.mode != "none":
        chosen["disable_parallel_tool_use"] = not choice.parallel
    tools = [
        {"name": tool.name, "description": tool.description, "input_schema": dict(tool.parameters)}
        for tool in question.tools
    ]
    return {
        "tools": [{k: v for k, v in tool.items() if v is not None} for tool in tools],
        "tool_choice": chosen,
    }
