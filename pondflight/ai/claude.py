"""Claude, by the official library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic

from pondflight.ai.conversation import Embeddings, End, FinishReason, Question, Text, Usage
from pondflight.ai.faults import cut_off, provider_errors
from pondflight.ai.hangup import hang_up
from pondflight.errors import InvalidArgument

NAME = "Claude"
_SETTING = "ai.claude_api_key"
_REASONS: dict[str | None, FinishReason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
_MAX_MODELS = 100


class Claude:
    """``Provider``: Anthropic's messages."""

    name = "claude"

    def __init__(self, key: str, base_url: str | None, timeout: float) -> None:
        self._client = anthropic.Anthropic(
            api_key=key, base_url=base_url, timeout=timeout, max_retries=0
        )

    def ask(self, question: Question) -> ClaudeAnswer:
        """Messages, streamed."""
        turns = [m for m in question.messages if m.role != "system"]
        system = "\n\n".join(m.content for m in question.messages if m.role == "system")
        wanted: dict[str, Any] = {
            "model": question.model,
            "messages": [{"role": m.role, "content": m.content} for m in turns],
            "max_tokens": question.max_tokens,
            "system": system or None,
            "temperature": question.temperature,
            "top_p": question.top_p,
            "stop_sequences": list(question.stop) or None,
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        # Older releases of the library and newer disagree on what arguments they type.
        body = {name: given.pop(name) for name in ("temperature", "top_p") if name in given}
        with provider_errors(anthropic, NAME, _SETTING):
            stream = self._client.messages.create(**given, extra_body=body or None, stream=True)
        return ClaudeAnswer(stream)

    def embed(self, inputs: list[str], model: str, dimensions: int | None) -> Embeddings:
        """Anthropic has no embeddings."""
        raise InvalidArgument(
            "Claude has no embeddings: name a model such as text-embedding-3-small"
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def models(self) -> list[str]:
        """The models of the key."""
        with provider_errors(anthropic, NAME, _SETTING):
            return [model.id for model in self._client.models.list(limit=_MAX_MODELS).data]


class ClaudeAnswer:
    """``Answer`` from the events of a message."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._closed = False

    def __iter__(self) -> Iterator[Text | End]:
        read = written = 0
        reason: str | None = None
        with self._stream, provider_errors(anthropic, NAME, _SETTING, lambda: self._closed):
            for event in self._stream:
                match event.type:
                    case "message_start":
                        usage = event.message.usage
                        read, written = usage.input_tokens, usage.output_tokens
                    case "content_block_delta" if event.delta.type == "text_delta":
                        yield Text(event.delta.text)
                    case "message_delta":
                        reason = event.delta.stop_reason
                        written = event.usage.output_tokens
                    case "message_stop":
                        yield End(_REASONS.get(reason, "stop"), Usage(read, written))
                        return
        if not self._closed:
            raise cut_off(NAME)

    def close(self) -> None:
        """Break off."""
        self._closed = True
        hang_up(self._stream.response)
