"""Flight SQL for pyarrow's ``FlightServerBase``.

pyarrow serves Flight but knows nothing of Flight SQL: the messages, their decoding, the fixed
result schemas and the dispatch are missing. This package is that layer. It knows no proxy and
no database, and can be used on its own: override the methods of ``Handler``, one per message, and
serve it by ``FlightSqlServer``.
"""

from __future__ import annotations

from pondflight.flightsql.answers import PreparedStatement
from pondflight.flightsql.calls import Authenticator, Call
from pondflight.flightsql.handler import Handler
from pondflight.flightsql.server import FlightSqlServer
from pondflight.flightsql.streams import ResultStream
from pondflight.flightsql.uploads import Upload

__all__ = [
    "Authenticator",
    "Call",
    "FlightSqlServer",
    "Handler",
    "PreparedStatement",
    "ResultStream",
    "Upload",
]
