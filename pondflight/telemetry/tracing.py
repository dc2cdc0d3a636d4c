"""Traces (OpenTelemetry), if they are configured: ``pip install 'pondflight[otel]'``.

The trace of a request goes from the client's ``traceparent`` header through the HTTP app and the
proxy to the worker. Without a collector in the settings, nothing of OpenTelemetry is imported; the
header is passed on all the same, so that other services' traces still join up. Spans contain
neither SQL nor names of users.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from pondflight.errors import ConfigError, PondflightError

_PARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_STATE: Final = re.compile(r"[\x20-\x7e]{1,512}")
_FORMS: Final = {"traceparent": _PARENT, "tracestate": _STATE}

_tracer: Any = None


class Span(Protocol):
    """A traced piece of work."""

    def headers(self) -> Mapping[str, str]:
        """Return the headers with which work done elsewhere joins this trace."""

    def end(self, error: Exception | None = None) -> None:
        """End the span, with its error if it failed. Call it once."""


class Call(Protocol):
    """The parts of a Flight call that tracing needs; ``trace`` is its span."""

    method: str
    headers: Mapping[str, list[str]]
    trace: Span

    def on_done(self, callback: Callable[[PondflightError | None], None]) -> None:
        """Run ``callback`` with the outcome at the end."""


class _Passed:
    """A span without recording: it passes on the incoming trace headers, if any."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def headers(self) -> Mapping[str, str]:
        return self._headers

    def end(self, error: Exception | None = None) -> None:
        pass


UNTRACED: Final = _Passed({})


class _Recorded:
    """A span that is recorded and exported."""

    def __init__(self, span: Any) -> None:
        self._span = span

    def headers(self) -> Mapping[str, str]:
        from opentelemetry import propagate, trace  # noqa: PLC0415 - an extra

        carrier: dict[str, str] = {}
        propagate.inject(carrier, trace.set_span_in_context(self._span))
        return {name: value for name, value in carrier.items() if name in _FORMS}

    def end(self, error: Exception | None = None) -> None:
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - an extra

        if error is not None:
            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


def configure(endpoint: str, service: str) -> None:
    """Send traces to the collector at ``endpoint`` (OTLP over HTTP), as ``service``.

    Raises ``ConfigError`` if OpenTelemetry is not installed.
    """
    global _tracer  # noqa: PLW0603 - one for the process, as OpenTelemetry has it
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        problem = (
            "tracing.endpoint is set, but OpenTelemetry is not installed: "
            "pip install 'pondflight[otel]'"
        )
        raise ConfigError([problem]) from None
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = provider.get_tracer("pondflight")


def start(name: str, headers: Mapping[str, str], **attributes: str) -> Span:
    """Begin a span below the one that ``headers`` name, if any."""
    passed = {
        name: headers[name]
        for name, form in _FORMS.items()
        if name in headers and form.fullmatch(headers[name])
    }
    if _tracer is None:
        return _Passed(passed)
    from opentelemetry import propagate, trace  # noqa: PLC0415 - an extra

    return _Recorded(
        _tracer.start_span(
            name,
            context=propagate.extract(passed),
            kind=trace.SpanKind.SERVER,
            attributes=attributes,
        )
    )


def watch(call: Call) -> None:
    """Trace a Flight call from now to its end."""
    headers = {name: call.headers[name][0] for name in _FORMS if call.headers.get(name)}
    if _tracer is None and not headers:
        call.trace = UNTRACED
        return
    call.trace = start(f"Flight {call.method}", headers, **{"rpc.system": "flight"})
    call.on_done(call.trace.end)
