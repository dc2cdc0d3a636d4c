"""The tools that a caller offers to a model, and their calls, in OpenAI's wire format."""

from __future__ import annotations

import re
from typing import Final, Literal

from pondflight.ai.conversation import CallPiece, Tool, ToolCall, ToolChoice
from pondflight.errors import InvalidArgument
from pondflight.web.ai.bodies import Body, flag

_MOST_TOOLS: Final = 128
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_MODES: Final[dict[str, Literal["auto", "none", "required"]]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
}


def read(body: Body) -> tuple[tuple[Tool, ...], ToolChoice]:
    """Return the tools and the choice in ``tools``, ``tool_choice`` and ``parallel_tool_calls``."""
    none: tuple[Tool, ...] = ()
    tools = body.take("tools", _tools, none)
    choice = body.take("tool_choice", _choice, ToolChoice())
    parallel = body.take("parallel_tool_calls", flag, None)
    if choice.name and choice.name not in {tool.name for tool in tools}:
        raise InvalidArgument("'tool_choice' names a tool that is not in 'tools'")
    return tools, ToolChoice(choice.mode, choice.name, parallel)


def written(calls: list[ToolCall]) -> list[dict[str, object]]:
    """Return the calls of a complete answer, as JSON."""
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in calls
    ]


def delta(piece: CallPiece) -> dict[str, object]:
    """Return a piece of a call, as JSON for a chunk."""
    function = {"arguments": piece.arguments}
    if not piece.id:
        return {"index": piece.index, "function": function}
    function = {"name": piece.name, **function}
    return {"index": piece.index, "id": piece.id, "type": "function", "function": function}


def _tools(name: str, value: object) -> tuple[Tool, ...]:
    if not isinstance(value, list) or len(value) > _MOST_TOOLS:
        raise InvalidArgument(f"{name!r} must be a list of up to {_MOST_TOOLS} tools")
    return tuple(_tool(f"{name}[{index}]", item) for index, item in enumerate(value))


def _tool(name: str, value: object) -> Tool:
    if not isinstance(value, dict) or value.get("type") != "function":
        raise InvalidArgument(f"{name}: only tools of the type 'function' are offered here")
    function = value.get("function")
    called = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(called, str) or not _NAME.fullmatch(called):
        raise InvalidArgument(
            f"{name}.function.name must be up to 128 letters, digits, '_' and '-'"
        )
    description = function.get("description")
    parameters = function.get("parameters")
    if parameters is None:
        parameters = {"type": "object", "properties": {}}
    strict = function.get("strict")
    if not isinstance(description, str | None) or not isinstance(parameters, dict):
        raise InvalidArgument(
            f"{name}.function has a description (text) and parameters (an object)"
        )
    if not isinstance(strict, bool | None):
        raise InvalidArgument(f"{name}.function.strict must be true or false")
    return Tool(called, description, parameters, strict)


def _choice(name: str, value: object) -> ToolChoice:
    match value:
        case str() if value in _MODES:
            return ToolChoice(_MODES[value])
        case {"type": "function", "function": {"name": str(called)}}:
            return ToolChoice(name=called)
    raise InvalidArgument(f"{name!r} must be one of {', '.join(_MODES)}, or name a function")
