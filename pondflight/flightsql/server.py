"""Flight SQL on pyarrow's server: each RPC is authenticated, watched and decoded.

Then a method per RPC (``on_…``) gets what was sent. A server that executes passes a ``Handler``,
which has a method per message; one that treats all messages alike, such as a relay, overrides the
``on_…`` methods and needs no handler. Every exception is sent as one of our errors, without a
traceback.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

import pyarrow as pa
from pyarrow import flight

from pondflight.errors import Internal, InvalidArgument, PondflightError
from pondflight.flightsql import commands as c
from pondflight.flightsql import dispatch
from pondflight.flightsql.calls import (
    Authenticator,
    Call,
    CallMiddleware,
    CallMiddlewareFactory,
    CallTable,
    Identity,
    NoHandshake,
)
from pondflight.flightsql.decoding import decode_action, decode_command, decode_ticket
from pondflight.flightsql.handler import Handler, unsupported
from pondflight.flightsql.status import leaf_of, to_pyarrow
from pondflight.flightsql.streams import Result, to_flight_stream
from pondflight.flightsql.uploads import Upload

log = logging.getLogger(__name__)
T = TypeVar("T")


class FlightSqlServer(flight.FlightServerBase, Generic[Identity]):
    """Serves ``handler``; without one, it answers NOT_IMPLEMENTED to everything.

    It listens on ``location`` as soon as it is built. ``calls`` is the table of running calls,
    which also notices clients that go away. ``admit`` may raise to refuse a call before any of it
    is read.
    """

    reads_values = True
    """Whether to check uploads down to their values; a server that only relays them need not."""

    def __init__(
        self,
        location: str,
        *,
        authenticator: Authenticator[Identity],
        handler: Handler[Identity] | None = None,
        admit: Callable[[], None] | None = None,
        **options: object,
    ) -> None:
        self.handler = handler or Handler[Identity]()
        self.calls = CallTable[Identity](self.on_quiet)
        factory = CallMiddlewareFactory(self.calls, authenticator, admit)
        super().__init__(
            location, auth_handler=NoHandshake(), middleware={"call": factory}, **options
        )

    def close(self) -> None:
        """Stop listening, wait for running calls, stop the watcher."""
        self.shutdown()
        self.calls.close()

    # -- RPCs, as pyarrow calls them ---------------------------------------------------------

    def get_flight_info(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """GetFlightInfo."""
        return self._run(context, lambda call: self.on_get_flight_info(call, descriptor))

    def get_schema(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.SchemaResult:
        """GetSchema."""
        return self._run(
            context,
            lambda call: flight.SchemaResult(
                self.on_get_schema(call, command_of(descriptor), descriptor)
            ),
            in_get_schema=True,
        )

    def do_get(
        self, context: flight.ServerCallContext, ticket: flight.Ticket
    ) -> flight.FlightDataStream:
        """DoGet."""

        def start(call: Call[Identity]) -> flight.FlightDataStream:
            result = self.on_do_get(call, ticket)
            if isinstance(result, flight.FlightDataStream):
                return result
            return to_flight_stream(result, call, lambda error: self._failed(call, error))

        return self._run(context, start)

    def do_put(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        """DoPut."""
        upload = Upload(reader, values=self.reads_values)
        self._run(
            context,
            lambda call: self.on_do_put(call, command_of(descriptor), descriptor, upload, writer),
        )

    def do_action(
        self, context: flight.ServerCallContext, action: flight.Action
    ) -> Iterable[bytes]:
        """DoAction."""
        return self._run(
            context,
            lambda call: list(self.on_do_action(call, action.type, action.body.to_pybytes())),
        )

    def list_actions(self, context: flight.ServerCallContext) -> list[tuple[str, str]]:
        """ListActions."""
        return list(c.ACTIONS.items())

    def list_flights(
        self, context: flight.ServerCallContext, criteria: bytes
    ) -> Iterator[flight.FlightInfo]:
        """ListFlights. Flight SQL has no flights except those that a command makes."""
        return iter(())

    def do_exchange(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.MetadataRecordBatchWriter,
    ) -> None:
        """DoExchange, which is not a part of Flight SQL."""
        self._run(context, lambda _: unsupported("DoExchange"))

    # -- one method per RPC: decoded, authenticated, watched ----------------------------------

    def on_get_flight_info(
        self, call: Call[Identity], descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Return where to fetch the result of the command in ``descriptor``."""
        return dispatch.get_flight_info(self.handler, call, command_of(descriptor), descriptor)

    def on_get_schema(
        self, call: Call[Identity], command: c.Command, descriptor: flight.FlightDescriptor
    ) -> pa.Schema:
        """Return the schema of the rows that ``command`` would give."""
        return dispatch.get_schema(self.handler, call, command)

    def on_do_get(
        self, call: Call[Identity], ticket: flight.Ticket
    ) -> Result | flight.FlightDataStream:
        """Return the rows that a ticket stands for, or a stream that can be sent as it is."""
        return dispatch.do_get(self.handler, call, decode_ticket(ticket.ticket))

    def on_do_put(
        self,
        call: Call[Identity],
        command: c.Command,
        descriptor: flight.FlightDescriptor,
        upload: Upload,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        """Take the rows of ``upload``; send a row count or a new handle back as metadata."""
        dispatch.do_put(self.handler, call, command, upload, writer)

    def on_do_action(self, call: Call[Identity], kind: str, body: bytes) -> Iterable[bytes]:
        """Return the bodies of an action's results."""
        answer = dispatch.do_action(self.handler, call, decode_action(kind, body))
        return [] if answer is None else [answer]

    # -- errors -------------------------------------------------------------------------------

    def _run(
        self,
        context: flight.ServerCallContext,
        handle: Callable[[Call[Identity]], T],
        *,
        in_get_schema: bool = False,
    ) -> T:
        middleware = context.get_middleware("call")
        assert isinstance(middleware, CallMiddleware)
        call: Call[Identity] = middleware.call
        self.calls.enter(call, context)
        try:
            self.on_call(call)
            return handle(call)
        except Exception as error:  # noqa: BLE001  whatever it is, no traceback leaves
            leaf = self._failed(call, error)
            raise to_pyarrow(leaf, in_get_schema=in_get_schema) from None

    def on_call(self, call: Call[Identity]) -> None:
        """Called before each call is handled; subclasses override it."""

    def on_quiet(self) -> None:
        """Called when no call has come or run for a moment; subclasses override it."""

    def on_error(self, call: Call[Identity], error: PondflightError) -> None:
        """Called with a call's error before it is sent; response trailers can still be set."""

    def explain(self, error: PondflightError) -> PondflightError:
        """Return what to tell the client in place of ``error``; subclasses may know its cause."""
        return error

    def _failed(self, call: Call[Identity], error: BaseException) -> PondflightError:
        leaf = leaf_of(error)
        if isinstance(leaf, Internal) and leaf is not error:
            log.error("%s", leaf.message, exc_info=error)
        call.error = leaf = self.explain(leaf)
        self.on_error(call, leaf)
        return leaf


def command_of(descriptor: flight.FlightDescriptor) -> c.Command:
    """Return the command in ``descriptor``; raises ``InvalidArgument`` if there is none."""
    if descriptor.descriptor_type != flight.DescriptorType.CMD:
        raise InvalidArgument(
            "the descriptor has no command: send a Flight SQL command, or SQL text in UTF-8"
        )
    return decode_command(descriptor.command)
