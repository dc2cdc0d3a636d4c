"""JSON bodies of requests to models, read field by field, with errors that name the field."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final, TypeVar

from falcon.asgi import Request

from pondflight.ai.conversation import Inputs, Message, Question, Role, ToolCall
from pondflight.errors import InvalidArgument
from pondflight.web.exchange import Exchange

T = TypeVar("T")

_ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_MOST_MESSAGES: Final = 1000
_MOST_INPUTS: Final = 2048
_MOST_STOPS: Final = 8
_HOTTEST: Final = 2.0
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@-]{0,254}")
_MOST_TOKENS: Final = 1_000_000
_MOST_CALLS: Final = 128
_BLANK: Final = re.compile(
    r"[\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]*"
)
"""White space as JSON schema's patterns define it: Python's includes some control characters."""

_IMAGE: Final = re.compile(r"https://\S+|data:image/[\w.+-]+;base64,[A-Za-z0-9+/=\s]+")


class Body:
    """The fields of a JSON object; ``done`` refuses those that were not read."""

    def __init__(self, body: bytes) -> None:
        try:
            fields = json.loads(body)
        except (ValueError, RecursionError):
            raise InvalidArgument("the body is not JSON") from None
        if not isinstance(fields, dict):
            raise InvalidArgument("the body must be a JSON object")
        self._fields: dict[str, object] = fields
        self._read: set[str] = set()

    @classmethod
    async def of(cls, req: Request) -> Body:
        """Read the body of a request."""
        return cls(await Exchange.of(req).body())

    def take(self, name: str, read: Callable[[str, object], T], default: T) -> T:
        """Return the field, or ``default`` if absent or null. ``read`` raises for bad values."""
        self._read.add(name)
        value = self._fields.get(name)
        return default if value is None else read(name, value)

    def need(self, name: str, read: Callable[[str, object], T]) -> T:
        """Return a required field. Raises ``InvalidArgument`` if it is absent or null."""
        self._read.add(name)
        if self._fields.get(name) is None:
            raise InvalidArgument(f"the field {name!r} is missing")
        return read(name, self._fields[name])

    def ignore(self, *names: str) -> None:
        """Accept these fields without using them."""
        self._read.update(names)

    def done(self) -> None:
        """Refuse unknown fields: silently ignoring one would give a wrong answer."""
        for name in self._fields.keys() - self._read:
            raise InvalidArgument(f"unknown field {name[:64]!r}")


def flag(name: str, value: object) -> bool:
    """Return a boolean field. Raises ``InvalidArgument`` for anything else."""
    if not isinstance(value, bool):
        raise InvalidArgument(f"{name!r} must be true or false")
    return value


def text(name: str, value: object) -> str:
    """Return a text field that is not blank. Raises ``InvalidArgument`` for anything else."""
    if not isinstance(value, str) or _BLANK.fullmatch(value):
        raise InvalidArgument(f"{name!r} must be text that is not empty")
    return _encodable(name, value)


def model(name: str, value: object) -> str:
    """Return the name of a model. Raises ``InvalidArgument`` for anything else."""
    if not isinstance(value, str) or not _MODEL.fullmatch(value):
        raise InvalidArgument(f"{name!r} must be the name of a model")
    return value


def whole(least: int, most: int) -> Callable[[str, object], int]:
    """Return a reader of whole numbers in a range."""

    def read(name: str, value: object) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # in JSON, 1.0 is whole as well
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            wanted = f"a whole number from {least} to {most}" if least < most else f"{least}"
            raise InvalidArgument(f"{name!r} must be {wanted}")
        return value

    return read


def number(most: float) -> Callable[[str, object], float]:
    """Return a reader of numbers from 0 to ``most``."""

    def read(name: str, value: object) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most:
            return float(value)
        raise InvalidArgument(f"{name!r} must be a number from 0 to {most:g}")

    return read


def stops(name: str, value: object) -> tuple[str, ...]:
    """Return the texts at which an answer ends: one, or a list. A line break is allowed."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or len(values) > _MOST_STOPS:
        raise InvalidArgument(f"{name!r} must be a text, or up to {_MOST_STOPS} of them")
    if not all(isinstance(item, str) and item for item in values):
        raise InvalidArgument(f"{name!r} must be text that is not empty")
    return tuple(_encodable(name, item) for item in values)


def inputs(name: str, value: object) -> Inputs:
    """Return what to embed: a text or a list of texts, or the same as token numbers."""
    tokens = _tokens(value)
    values = [value] if isinstance(value, str) else value if tokens is None else [tokens]
    if not isinstance(values, list) or not 0 < len(values) <= _MOST_INPUTS:
        raise InvalidArgument(f"{name!r} must be a text, or up to {_MOST_INPUTS} of them")
    numbers = [found for found in map(_tokens, values) if found is not None]
    if len(numbers) == len(values):
        return numbers
    return [text(name, item) for item in values]


def _tokens(value: object) -> list[int] | None:
    """Return token numbers, if the value is a list of whole numbers (1.0 counts in JSON)."""
    if not isinstance(value, list) or not 0 < len(value) <= _MOST_TOKENS:
        return None
    if not all(type(item) in (int, float) and 0 <= item < _MOST_TOKENS for item in value):
        return None
    tokens = [int(item) for item in value]
    return tokens if tokens == value else None


def messages(name: str, value: object) -> tuple[Message, ...]:
    """Return a conversation with at least one turn of the user's."""
    if not isinstance(value, list) or not 0 < len(value) <= _MOST_MESSAGES:
        raise InvalidArgument(f"{name!r} must be a list of 1 to {_MOST_MESSAGES} messages")
    found = tuple(_message(f"{name}[{index}]", item) for index, item in enumerate(value))
    if all(message.role == "system" for message in found):
        raise InvalidArgument(f"{name!r} has no message of the user")
    return found


def question(body: Body, default_model: str, most_tokens: int) -> Question:
    """Return the fields of a conversation that both formats share."""
    tokens = whole(1, _MOST_TOKENS)
    wanted = body.take(
        "max_completion_tokens", tokens, body.take("max_tokens", tokens, most_tokens)
    )
    return Question(
        model=body.take("model", model, default_model),
        messages=body.need("messages", messages),
        max_tokens=min(wanted, most_tokens),
        temperature=body.take("temperature", number(_HOTTEST), None),
        top_p=body.take("top_p", number(1.0), None),
        stop=body.take("stop", stops, ()),
    )


def _message(name: str, value: object) -> Message:
    if not isinstance(value, dict):
        raise InvalidArgument(f"{name} must be an object with 'role' and 'content'")
    said = value.get("role")
    role = _ROLES.get(said) if isinstance(said, str) else None
    if role is None:
        raise InvalidArgument(f"{name}.role must be one of {', '.join(_ROLES)}")
    fields = {"role", "content", "name"}
    fields |= {"assistant": {"refusal", "tool_calls"}, "tool": {"tool_call_id"}}.get(role, set())
    # Clients send back the message that they received, with missing fields as null.
    if unknown := {key for key, field in value.items() if field is not None} - fields:
        raise InvalidArgument(f"{name} has an unknown field {min(unknown)[:64]!r}")
    calls = _calls(f"{name}.tool_calls", value.get("tool_calls"))
    words, images = _content(f"{name}.content", value.get("content"))
    if images and role != "user":
        raise InvalidArgument(f"{name}.content: only a user's message may have images")
    if _BLANK.fullmatch(words) and not images and not calls and role != "tool":
        raise InvalidArgument(f"'{name}.content' must be text that is not empty")
    answers = value.get("tool_call_id") if role == "tool" else ""
    if role == "tool":
        answers = text(f"{name}.tool_call_id", answers)
    return Message(role, words, images, calls, answers or "")


def _content(name: str, value: object) -> tuple[str, tuple[str, ...]]:
    """Return text and images, from a text or from OpenAI's list of parts."""
    if value is None or isinstance(value, str):
        return _encodable(name, value or ""), ()
    words: list[str] = []
    images: list[str] = []
    for part in value if isinstance(value, list) else [value]:
        match part:
            case {"type": "text", "text": str(piece)}:
                words.append(_encodable(name, piece))
            case {"type": "refusal", "refusal": str(piece)}:
                words.append(_encodable(name, piece))
            case {"type": "image_url", "image_url": {"url": str(url)}} if _IMAGE.fullmatch(url):
                images.append(_encodable(name, url))
            case {"type": "image_url"}:
                raise InvalidArgument(
                    f"{name}: an image is {{'url': …}} with https:// or data:image/…;base64,"
                )
            case _:
                raise InvalidArgument(f"{name}: only text and images are offered here")
    return "".join(words), tuple(images)


def _calls(name: str, value: object) -> tuple[ToolCall, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > _MOST_CALLS:
        raise InvalidArgument(f"{name} must be a list of up to {_MOST_CALLS} calls")
    return tuple(_call(f"{name}[{index}]", item) for index, item in enumerate(value))


def _call(name: str, value: object) -> ToolCall:
    match value:
        case {"id": str(key), "function": {"name": str(called), "arguments": str(arguments)}}:
            return ToolCall(
                text(f"{name}.id", key),
                text(f"{name}.function.name", called),
                _encodable(f"{name}.function.arguments", arguments),
            )
    raise InvalidArgument(
        f"{name} must have 'id' and 'function', and that 'name' and 'arguments' (JSON as text)"
    )


def _encodable(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"{name!r} is not Unicode text") from None
    return value
