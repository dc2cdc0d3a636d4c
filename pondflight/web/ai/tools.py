"""The tools of the MCP server, with which an AI assistant can inspect and query a user's worker.

It is imported by the first call to /mcp, since the library takes 30 MB of memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from pondflight import __version__
from pondflight.errors import InvalidArgument, PondflightError
from pondflight.flightsql.status import leaf_of
from pondflight.web.ai import tables
from pondflight.web.ai.reader import Reader
from pondflight.web.ai.sql import fetch

READER: Final = "pondflight.reader"
"""Key in the scope: the caller's ``Reader``."""

MOST_ROWS: Final = 1000
_ROWS: Final = 100
_MOST_TABLES: Final = 200
_INSTRUCTIONS: Final = (
    "Every call works on the user's own DuckDB, in which their databases are attached. "
    "List the databases, describe the tables that matter, then query them with DuckDB SQL. "
    "Only single SELECT statements are run; nothing can be changed."
)
_TOOLS: Final = (
    types.Tool(
        name="list_databases",
        description="The databases that the user may query, with their number of tables.",
        input_schema={"type": "object", "properties": {}, "additionalProperties": False},
        annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=False),
    ),
    types.Tool(
        name="describe_tables",
        description=(
            "Tables and views with their columns and types. Names are as SQL needs them. "
            f"At most {_MOST_TABLES} are given: narrow it down by a part of the name."
        ),
        input_schema={
            "type": "object",
            "properties": {
                "matching": {
                    "type": "string",
                    "description": "Only tables with this in their full name, in any case.",
                }
            },
            "additionalProperties": False,
        },
        annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=False),
    ),
    types.Tool(
        name="query",
        description="Run one SELECT in DuckDB's SQL and get its rows as JSON.",
        input_schema={
            "type": "object",
            "properties": {
                "sql": {"type": "string", "description": "One SELECT statement."},
                "limit": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MOST_ROWS,
                    "default": _ROWS,
                    "description": "Rows to give, at most.",
                },
            },
            "required": ["sql"],
            "additionalProperties": False,
        },
        annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=False),
    ),
)


class Tools:
    """The tools, for the worker of the caller."""

    def list_databases(self, reader: Reader, arguments: dict[str, object]) -> dict[str, object]:
        """Return the databases that the user can query."""
        _only(arguments)
        return {"databases": tables.databases_of(reader)}

    def describe_tables(self, reader: Reader, arguments: dict[str, object]) -> dict[str, object]:
        """Return all tables, or those whose name contains a text."""
        _only(arguments, "matching")
        matching = arguments.get("matching", "")
        if not isinstance(matching, str):
            raise InvalidArgument("'matching' must be text")
        found = [
            {"name": table.name, "columns": list(table.columns)}
            for table in tables.tables_of(reader)
            if matching.lower() in table.name.lower()
        ]
        return {"tables": found[:_MOST_TABLES], "truncated": len(found) > _MOST_TABLES}

    def query(self, reader: Reader, arguments: dict[str, object]) -> dict[str, object]:
        """Run one query and return its rows."""
        _only(arguments, "sql", "limit")
        sql, limit = arguments.get("sql"), arguments.get("limit", _ROWS)
        if not isinstance(sql, str) or not sql.strip():
            raise InvalidArgument("'sql' must be one SELECT statement")
        if type(limit) is not int or not 1 <= limit <= MOST_ROWS:
            raise InvalidArgument(f"'limit' must be a whole number from 1 to {MOST_ROWS}")
        return fetch(reader, sql, limit)

    def run(self, name: str, reader: Reader, arguments: dict[str, object]) -> types.CallToolResult:
        """Run one tool; errors are returned to the model, which can correct its call."""
        calls: dict[str, Callable[[Reader, dict[str, object]], dict[str, object]]] = {
            "list_databases": self.list_databases,
            "describe_tables": self.describe_tables,
            "query": self.query,
        }
        try:
            found = calls.get(name, _no_such_tool)(reader, arguments)
        except PondflightError as error:
            return _result(str(error), failed=True)
        except Exception as error:  # noqa: BLE001 - no traceback leaves
            return _result(str(leaf_of(error)), failed=True)
        return _result(json.dumps(found, default=str), structured=found)


def server() -> Server[Any]:
    """Return the MCP server; ``READER`` in the scope of a request runs its queries."""
    tools = Tools()

    async def on_list(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=list(_TOOLS))

    async def on_call(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        reader: Reader = context.request.scope[READER]
        arguments = params.arguments or {}
        return await reader.call(lambda reader: tools.run(params.name, reader, arguments))

    return Server(
        "pondflight",
        version=__version__,
        instructions=_INSTRUCTIONS,
        on_list_tools=on_list,
        on_call_tool=on_call,
    )


async def answer(server: Server[Any], scope: dict[str, object], receive: Any, send: Any) -> None:
    """Answer one request, as an ASGI app: no sessions, and each answer is one JSON document."""
    manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True)
    async with manager.run():
        await manager.handle_request(scope, receive, send)


def _no_such_tool(_reader: Reader, _arguments: dict[str, object]) -> dict[str, object]:
    raise InvalidArgument("there is no such tool")


def _only(arguments: dict[str, object], *names: str) -> None:
    if unknown := arguments.keys() - set(names):
        raise InvalidArgument(f"unknown argument {min(unknown)[:64]!r}")


def _result(
    text: str, *, failed: bool = False, structured: dict[str, object] | None = None
) -> types.CallToolResult:
    content = types.TextContent(type="text", text=text)
    return types.CallToolResult(content=[content], structured_content=structured, is_error=failed)
