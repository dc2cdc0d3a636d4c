"""What is said to a model and what comes back, whoever runs the model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
FinishReason: TypeAlias = Literal["stop", "length", "content_filter", "tool_calls"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What a model wants the caller to do; ``arguments`` is JSON, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    ``images`` are URLs (``https:`` or ``data:``) that a user shows. ``calls`` are an assistant's;
    a turn of the role ``tool`` is the result of the call whose id is ``answers``.
    """

    role: Role
    content: str
    images: tuple[str, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    answers: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that a model may ask to be called; ``parameters`` is a JSON schema."""

    name: str
    description: str | None
    parameters: Mapping[str, Any]
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether tools are called. ``name``: that one has to be."""

    mode: Literal["auto", "none", "required"] = "auto"
    name: str = ""
    parallel: bool | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A conversation that a model is to continue.

    ``max_tokens`` bounds the answer. ``temperature`` and ``top_p`` are the provider's own where
    they are None. ``options`` are fields of OpenAI's wire format that have no other meaning here.
    """

    model: str
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """Numbers of tokens, as the provider counted them."""

    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A piece of the call number ``index``: ``id`` and ``name`` come with its first one."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


Part: TypeAlias = "Text | CallPiece | End"


@dataclass(frozen=True, slots=True)
class End:
    """The answer is complete. ``reason`` is the one that OpenAI's wire format has for it."""

    reason: FinishReason
    usage: Usage


class Answer(Protocol):
    """An answer on its way: pieces of text and of calls, then one ``End``.

    An answer that ends without an ``End`` raises instead: it is never taken for a whole one.
    """

    def __aiter__(self) -> AsyncIterator[Part]: ...

    async def close(self) -> None:
        """Break off, if it has not ended. The provider hears of it at once."""


Inputs: TypeAlias = "list[str] | list[list[int]]"
"""Texts, or the numbers of their tokens."""


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
        """Send the question; returns when the provider has accepted it."""

    async def embed(self, inputs: Inputs, model: str, dimensions: int | None) -> Embeddings:
        """Return one vector for each input."""

    async def models(self) -> list[str]:
        """Names of the models that the key gives access to."""

    async def close(self) -> None:
        """Close the connections to the provider."""
