"""What is sent to a model and what it returns, for every provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
FinishReason: TypeAlias = Literal["stop", "length", "content_filter", "tool_calls"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model requests; ``arguments`` is JSON as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    ``images`` are URLs (``https:`` or ``data:``) in a user's turn; ``calls`` belong to an
    assistant's turn. A turn with the role ``tool`` is the result of the call with the id
    ``answers``.
    """

    role: Role
    content: str
    images: tuple[str, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    answers: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that a model may call; ``parameters`` is a JSON schema."""

    name: str
    description: str | None
    parameters: Mapping[str, object]
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model may or must call tools; with ``name`` it must call that one."""

    mode: Literal["auto", "none", "required"] = "auto"
    name: str = ""
    parallel: bool | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A conversation for a model to continue.

    ``max_tokens`` limits the answer. ``temperature`` and ``top_p`` have the provider's defaults if
    they are None. ``options`` are further fields of OpenAI's wire format, passed on as they are.
    """

    model: str
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """Numbers of tokens, as the provider counted them."""

    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text in the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A piece of call number ``index``; ``id`` and ``name`` come with the first piece."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


Part: TypeAlias = "Text | CallPiece | End"


@dataclass(frozen=True, slots=True)
class End:
    """The answer is complete; ``reason`` is a finish reason of OpenAI's wire format."""

    reason: FinishReason
    usage: Usage


class Answer(Protocol):
    """A streamed answer: pieces of text and of calls, then one ``End``.

    An answer that stops without an ``End`` raises an error, so it is never mistaken for a complete
    one.
    """

    def __aiter__(self) -> AsyncIterator[Part]: ...

    async def close(self) -> None:
        """Abort the answer at the provider, unless it has ended."""


Inputs: TypeAlias = "list[str] | list[list[int]]"
"""Texts, or lists of token numbers."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One vector for each input, in order."""

    vectors: tuple[tuple[float, ...], ...]
    model: str
    usage: Usage


class Provider(Protocol):
    """A service that runs models."""

    name: str

    async def ask(self, question: Question) -> Answer:
        """Send the question; return once the provider has accepted it."""

    async def embed(self, inputs: Inputs, model: str, dimensions: int | None) -> Embeddings:
        """Return one vector for each input."""

    async def models(self) -> list[str]:
        """Return the names of the models that the key gives access to."""

    async def close(self) -> None:
        """Close the connections to the provider."""
