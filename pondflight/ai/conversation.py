"""What is said to a model and what comes back, whoever runs the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

Role: TypeAlias = Literal["system", "user", "assistant"]
FinishReason: TypeAlias = Literal["stop", "length", "content_filter"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Question:
    """A conversation that a model is to continue.

    ``max_tokens`` bounds the answer. ``temperature`` and ``top_p`` are the provider's own where
    they are None.
    """

    model: str
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that the provider counted."""

    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class End:
    """The answer is complete. ``reason`` is the one that OpenAI's wire format has for it."""

    reason: FinishReason
    usage: Usage


class Answer(Protocol):
    """An answer on its way: pieces of text, then one ``End``.

    An answer that ends without an ``End`` raises instead: it is never taken for a whole one.
    """

    def __iter__(self) -> Iterator[Text | End]: ...

    def close(self) -> None:
        """Break off; from any thread. The provider hears of it at once."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One vector for each input, in order."""

    vectors: tuple[tuple[float, ...], ...]
    model: str
    usage: Usage


class Provider(Protocol):
    """Somebody who runs models."""

    name: str

    def ask(self, question: Question) -> Answer:
        """Send the question; returns when the provider has accepted it."""

    def embed(self, inputs: list[str], model: str, dimensions: int | None) -> Embeddings:
        """Turn texts into vectors."""

    def models(self) -> list[str]:
        """Names of the models that the key gives access to."""

    def close(self) -> None:
        """Close the connections."""
