"""What pondflight adds to a conversation with a model, and to a result on its way to a page."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from pathlib import Path

import pyarrow as pa

from benchmarks import bench
from tests.ai.provider import ProviderServer, Reply
from tests.stack import Stack

_TIMES = 30
_ROWS = 1_000_000
_ARROW = "application/vnd.apache.arrow.stream"
_HELLO = {"messages": [{"role": "user", "content": "Hello?"}]}


def main() -> None:
    """Print the figures."""
    provider = ProviderServer()
    stack = Stack(web={"ai": provider.settings, "ai_per_minute": 10_000})
    try:
        first, whole = _first_rows(stack)
        without_models = _memory(stack)
        rows = [
            _first_token(stack, provider, path, model)
            for path in ("/ai/chat", "/v1/chat/completions")
            for model in ("claude-test", "gpt-test")
        ]
        bench.show(
            "First token of a model, from its sending to its arrival at the client, ms",
            ("route", "model", "p50", "slowest"),
            rows,
        )
        bench.show(
            f"{_ROWS:,} rows of two columns by POST /query as Arrow, ms",
            ("first batch", "all"),
            [(first, whole)],
        )
        bench.show(
            "Resident memory of gunicorn and the app, MB",
            ("after queries", "after both providers were used"),
            [(without_models, _memory(stack))],
        )
    finally:
        stack.close()
        provider.close()


def _first_token(
    stack: Stack, provider: ProviderServer, path: str, model: str
) -> tuple[str, str, float, float]:
    """Measure the first token for one client that does one thing at a time."""
    provider.answers = [Reply(pause=0.05, pieces=2)]
    spoken = 3 if model.startswith("claude") else 1  # events before the first with text
    delays = []
    body = json.dumps(_HELLO | {"model": model, "stream": True})
    headers = {
        "authorization": f"Bearer {stack.token('bench')}",
        "content-type": "application/json",
    }
    for _ in range(1 + _TIMES):
        provider.sent_at.clear()
        connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=30)
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        response.readline()
        delays.append((time.monotonic() - provider.sent_at[spoken]) * 1000)
        response.read()
        connection.close()
    del delays[0]  # with it the provider's library was imported
    return path, model, statistics.median(delays), max(delays)


def _first_rows(stack: Stack) -> tuple[float, float]:
    """As the page does: from the request to the first batch, and to the last."""
    headers = {"authorization": f"Bearer {stack.token('bench')}", "accept": _ARROW}
    sql = f"SELECT range AS n, 'row ' || range AS name FROM range({_ROWS})"
    stack.query("bench", "SELECT 1")  # start the worker
    best: tuple[float, float] | None = None
    for _ in range(5):
        connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=60)
        started = time.monotonic()
        connection.request("POST", "/query", sql, headers)
        reader = pa.ipc.open_stream(connection.getresponse())
        seen = reader.read_next_batch().num_rows
        first = (time.monotonic() - started) * 1000
        seen += sum(batch.num_rows for batch in reader)
        whole = (time.monotonic() - started) * 1000
        assert seen == _ROWS
        connection.close()
        best = min(best or (first, whole), (first, whole))
    assert best is not None
    return best


def _memory(stack: Stack) -> float:
    """Return the memory of the arbiter and its worker in MB, with shared pages counted once."""
    return sum(_private(pid) for pid in _family(stack.process.pid)) / 1024


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(int(child) for child in children)]


def _private(pid: int) -> int:
    """Proportional set size, in KB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0
