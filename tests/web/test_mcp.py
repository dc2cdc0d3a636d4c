"""The MCP server, used by the official client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.stack import Stack
from tests.waiting import wait_until


def session(stack: Stack, user: str, use: Callable[[Client], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        headers = {"authorization": f"Bearer {stack.token(user)}"}
        url = f"http://127.0.0.1:{stack.port}/mcp"
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            async with Client(streamable_http_client(url, http_client=http)) as client:
                return await use(client)

    return asyncio.run(run())


def call(stack: Stack, user: str, tool: str, **arguments: Any) -> Any:
    return session(stack, user, lambda client: client.call_tool(tool, arguments))


def test_the_tools_are_listed_as_reading_only(stack: Stack) -> None:
    found = session(stack, "mia", lambda client: client.list_tools())
    assert [tool.name for tool in found.tools] == ["list_databases", "describe_tables", "query"]
    assert all(tool.annotations.read_only_hint for tool in found.tools)


def test_databases_tables_and_rows_of_the_users_own_worker(stack: Stack) -> None:
    stack.query("mia", "CREATE OR REPLACE TABLE t AS SELECT range AS n FROM range(500)")
    (database,) = call(stack, "mia", "list_databases").structured_content["databases"]
    assert (database["name"], database["tables"]) == ("memory", 1)
    tables = call(stack, "mia", "describe_tables", matching="T").structured_content
    assert tables["tables"] == [{"name": "t", "columns": ["n BIGINT"]}]
    rows = call(stack, "mia", "query", sql="SELECT n FROM t ORDER BY n", limit=2)
    assert rows.structured_content["rows"] == [{"n": 0}, {"n": 1}]
    assert rows.structured_content["truncated"] is True
    assert json.loads(rows.content[0].text) == rows.structured_content
    assert len(call(stack, "mia", "query", sql="FROM t").structured_content["rows"]) == 100
    other = call(stack, "max", "query", sql="FROM t")
    assert other.is_error
    assert "Table with name t does not exist" in other.content[0].text


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("query", {"sql": "DROP TABLE t"}, "only a query may be run here, and this is DROP"),
        ("query", {"sql": "SELECT 1; SELECT 2"}, "only one query"),
        ("query", {"sql": "SELECT nosuch"}, "nosuch"),
        ("query", {"sql": 5}, "'sql' must be"),
        ("query", {"sql": "SELECT 1", "limit": 100_000}, "'limit' must be"),
        ("query", {"sql": "SELECT 1", "limits": 1}, "unknown argument"),
        ("drop_everything", {}, "no such tool"),
    ],
)
def test_what_goes_wrong_is_told_to_the_model(
    stack: Stack, tool: str, arguments: dict[str, Any], words: str
) -> None:
    result = call(stack, "mia", tool, **arguments)
    assert result.is_error
    assert words in result.content[0].text
    assert "Traceback" not in result.content[0].text


def test_a_query_ends_with_the_client_that_asked_for_it(stack: Stack) -> None:
    endless = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(1000000) b"
    params = {"name": "query", "arguments": {"sql": endless}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    stack.query("leo", "SELECT 1")
    key = stack.pool.key_of("leo")
    (worker,) = [c for view, c in stack.pool.connections() if view.key == key]
    connection = stack.connect()
    headers = {
        "authorization": f"Bearer {stack.token('leo')}",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
    }
    connection.request("POST", "/mcp", json.dumps(message), headers)
    wait_until(lambda: worker.status().running == 1)
    connection.close()
    wait_until(lambda: worker.status().running == 0)


def test_without_a_token_nothing_is_said(stack: Stack) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    for headers in ({}, {"authorization": "Bearer nonsense"}):
        answer = stack.request("POST", "/mcp", json.dumps(message), **headers)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("body", ["", "{", "[]", "{}", '{"jsonrpc": "2.0"}', "\x00" * 100])
def test_garbage_is_refused(stack: Stack, body: str) -> None:
    answer = stack.request(
        "POST",
        "/mcp",
        body,
        authorization=f"Bearer {stack.token('mia')}",
        content_type="application/json",
        accept="application/json, text/event-stream",
    )
    assert 400 <= answer.status < 500


def test_there_is_no_event_stream_to_listen_to(stack: Stack) -> None:
    answer = stack.request("GET", "/mcp", authorization=f"Bearer {stack.token('mia')}")
    assert answer.status == 405
