"""A local server that speaks the wire formats of both providers, streaming and faults included.

What it answers is scripted by the test: ``server.answers`` has one entry for each request to
come, and the last one stays. Every request is kept in ``server.requests``.
"""

from __future__ import annotations

import base64
import json
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-local-test-key-0123456789"


@dataclass(frozen=True, slots=True)
class Reply:
    """What comes of one request.

    ``status`` other than 200: an error with ``message``. ``delay``: seconds before the first
    byte; ``pause``: seconds between pieces. ``calls``: names and arguments (JSON) of tools, behind
    the text. ``cut``: break the connection after so many pieces.
    ``late_error``: an error event after the pieces, in place of the end.
    """

    text: str = "Hello from the pond."
    status: int = 200
    message: str = "no"
    kind: str = "api_error"
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    pause: float = 0.0
    pieces: int = 4
    cut: int | None = None
    late_error: str | None = None
    reason: str = "stop"
    calls: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class ProviderServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Reply] = [Reply()]
        self.requests: list[Request] = []
        self.broken_off = 0
        self.sent_at: list[float] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def settings(self) -> dict[str, Any]:
        """``ai`` as the HTTP process is told it."""
        return {
            "claude": {"key": KEY, "base_url": self.url},
            "openai": {"key": KEY, "base_url": f"{self.url}/v1"},
            "default_model": "claude-test",
            "timeout": 5.0,
            "max_tokens": 1000,
        }

    def next_reply(self) -> Reply:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.broken_off += 1

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    server: ProviderServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Be quiet."""

    def do_GET(self) -> None:
        models = [{"id": "gpt-test"}]
        if "anthropic-version" in self.headers:
            models = [{"id": "claude-test"}, {"id": "claude-other"}]
        listed = [
            {"object": "model", "type": "model", "created": 1, "owned_by": "pond"}
            | {"display_name": model["id"], "created_at": "2026-01-01T00:00:00Z"}
            | model
            for model in models
        ]
        self._json(200, {"object": "list", "data": listed, "has_more": False})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append(Request(self.path, headers, body))
        reply = self.server.next_reply()
        time.sleep(reply.delay)
        if reply.status != 200:
            error = {"type": reply.kind, "message": reply.message}
            self._json(reply.status, {"type": "error", "error": error}, reply.headers)
        elif self.path == "/v1/embeddings":
            self._embeddings(body)
        elif self.path == "/v1/messages":
            self._stream(reply, _claude(reply))
        elif self.path == "/v1/chat/completions":
            self._stream(reply, _gpt(reply, body))
        else:
            self._json(404, {"error": {"type": "not_found_error", "message": self.path}})

    def _embeddings(self, body: dict[str, Any]) -> None:
        size = body.get("dimensions", 3)
        vectors: list[Any] = [[float(i)] * size for i, _ in enumerate(body["input"])]
        if body.get("encoding_format") == "base64":
            vectors = [base64.b64encode(struct.pack(f"<{size}f", *v)).decode() for v in vectors]
        data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
        usage = {"prompt_tokens": 7, "total_tokens": 7}
        self._json(
            200, {"object": "list", "model": body["model"], "data": data[::-1], "usage": usage}
        )

    def _json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, reply: Reply, events: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for sent, event in enumerate(events):
            if reply.cut is not None and sent >= reply.cut:
                self.close_connection = True
                self.connection.close()
                return
            self.server.sent_at.append(time.monotonic())
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            time.sleep(reply.pause)
        self.wfile.write(b"0\r\n\r\n")


def _pieces(reply: Reply) -> Iterator[str]:
    size = max(1, -(-len(reply.text) // reply.pieces))
    for start in range(0, len(reply.text), size):
        yield reply.text[start : start + size]


def _claude(reply: Reply) -> Iterator[bytes]:
    def event(name: str, **body: Any) -> bytes:
        return f"event: {name}\ndata: {json.dumps({'type': name, **body})}\n\n".encode()

    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test"}
    usage = {"input_tokens": 11, "output_tokens": 1}
    yield event(
        "message_start",
        message={**message, "content": [], "stop_reason": None, "stop_sequence": None}
        | {"usage": usage},
    )
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield event("ping")
    for text in _pieces(reply):
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
    if reply.late_error is not None:
        yield event("error", error={"type": reply.late_error, "message": "no"})
        return
    yield event("content_block_stop", index=0)
    for index, (name, arguments) in enumerate(reply.calls, 1):
        block = {"type": "tool_use", "id": f"call_{index}", "name": name, "input": {}}
        yield event("content_block_start", index=index, content_block=block)
        for text in (arguments[:5], arguments[5:]):
            delta = {"type": "input_json_delta", "partial_json": text}
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    reason = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}[reply.reason]
    yield event(
        "message_delta",
        delta={"stop_reason": reason, "stop_sequence": None},
        usage={"output_tokens": 5},
    )
    yield event("message_stop")


def _gpt(reply: Reply, body: dict[str, Any]) -> Iterator[bytes]:
    def chunk(**rest: Any) -> bytes:
        head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        return f"data: {json.dumps(head | rest)}\n\n".encode()

    def choice(delta: dict[str, Any], reason: str | None = None) -> bytes:
        return chunk(choices=[{"index": 0, "delta": delta, "finish_reason": reason}])

    yield choice({"role": "assistant", "content": ""})
    for text in _pieces(reply):
        yield choice({"content": text})
    for index, (name, arguments) in enumerate(reply.calls):
        first = {"id": f"call_{index + 1}", "type": "function"}
        yield choice({"tool_calls": [{"index": index, **first, "function": {"name": name}}]})
        for text in (arguments[:5], arguments[5:]):
            yield choice({"tool_calls": [{"index": index, "function": {"arguments": text}}]})
    if reply.late_error is not None:
        error = {"error": {"type": reply.late_error, "message": "no"}}
        yield f"data: {json.dumps(error)}\n\n".encode()
        return
    yield choice({}, reply.reason)
    if body.get("stream_options", {}).get("include_usage"):
        usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
        yield chunk(choices=[], usage=usage)
    yield b"data: [DONE]\n\n"
