"""The protocol between the proxy and its workers, beside Flight SQL.

Both sides share only this: names of headers and actions, and the shape of their bodies (JSON in
UTF-8). It is open only to calls with the worker's own credential.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, TypeAlias

Json: TypeAlias = dict[str, Any]
"""The fields of a JSON object, of types that its sender's documentation gives."""

SESSION_HEADER = "x-pondflight-session"
"""The session of the call; absent or empty: the user's default session."""

OFFER_HEADER = "x-pondflight-offer"
"""A session that the response to this call, which has none, hands out to its client."""

KEPT_HEADER = "x-pondflight-kept"
"""In a worker's answer, what would go with it: ``s-`` and the session for which it keeps something
(temporary tables, settings, a transaction), as its client knows it; before that a ``t`` if it has
tables in memory, which are all sessions'; ``t-`` if it has nothing but those."""

CALL_HEADER = "x-pondflight-call"
"""Id of the call, chosen by the caller, so that it can be cancelled from outside: by the proxy
towards a worker, by the HTTP app towards the proxy."""

SESSION_COOKIE = "arrow_flight_session_id"
"""Cookie that names a session of the caller at the proxy. The specification gives the name."""

PROMISE_HEADER = "x-pondflight-promise"
"""Present on CreatePreparedStatement: where the statement is a query that can be run as it is, a
second result follows, the FlightInfo that GetFlightInfo would give (``proxy.early_infos``), and
maybe a third, the rows: an id of ``PROMISE_ID`` characters and an Arrow stream. Present on
GetFlightInfo: the rows may come along in the FlightInfo's ``app_metadata``. A worker runs only
those queries early that it knows to be quick and steady (``engine.execution.early_rows``), and only
while no other proxy may change anything without its knowing (``engine.guards.door``)."""

PROMISE_ID = 16
"""The number of characters in the id of promised rows."""

PROMISE_SECONDS = 0.1
"""How long promised rows remain valid.

It counts from the proxy's request for the proxy, and from the end of the query for the worker.
Until then, the worker lets no call of another proxy in.
"""

FETCHED_HEADER = "x-pondflight-fetched"
"""On any call: comma-separated ids of promised rows that a client has fetched since.

Only now does the worker's journal record that their query has run.
"""

ACTION_HEADER = "x-pondflight-action"
"""On GetFlightInfo: the call is the action of that name, with its body as the command; the bodies
of its results are the tickets of the FlightInfo's endpoints. A call with one answer costs much less
than DoAction, which streams. Only for workers that say so (``STATUS``)."""

KEEPS_NOTHING = b'{"i":"",'
"""The start of a prepared statement's handle for which the worker keeps nothing.

The worker need not be told that such a statement was closed.
"""
HAS_RUN = b"has run"
"""The handle in the ticket of a statement that has run and returns no rows; its stream is empty."""
QUERY_HEADER = "x-pondflight-query-only"
"""Present: the call may only run a query (``engine.execution.readonly``).

The proxy passes it on from any client.
"""

STATEMENTS_HEADER = "x-pondflight-statements"
"""How many statements the call may run, as counted by the proxy's rate limit."""

BROKEN = 70
"""Exit code of a worker whose DuckDB cannot go on."""

CONFIGURE = "pondflight.configure"
"""After the start: ``{"owner": key, "databases": [{alias, type, connection_string, read_only,
max_connections}],
"extensions": [name], "require_all": bool, "init_sql": text, "storage_limit": bytes,
"scratch_limit": bytes, "sandbox": {"allow_network": bool} or null,
"sessions": {"idle_timeout": s, "max_sessions": n, "statement_timeout": s},
"tracing": {"endpoint": url}}``; what is left out has its default. Answers
``{"attached": [alias]}``. Connection strings and SQL with secrets in it are the reason why it
comes this way.

``owner`` is the key of the user whom the worker serves from then on. The same owner again is no
error and changes nothing; another one gets PERMISSION_DENIED. With an empty ``owner`` the worker
stays nobody's, and is only prepared: extensions, no databases."""

OVERRAN = 75
"""Exit code of a worker that ended itself because a statement ran on after its time limit."""

CANCEL = "pondflight.cancel"
"""Cancel the running calls whose id is the body; at the proxy, the caller's own. Answers
``{"cancelled": bool}``. It exists since a Flight client cannot cancel a DoGet that waits for its
first message, nor any unary call."""

STATUS = "pondflight.status"
"""The body is the id of the proxy that asks; with a minus before it, it asks for the last time.
Answers ``{"owner": key, "promised": bool, "running": n, "idle_seconds": s, "sessions": n,
"rss_bytes": n, "cpu_seconds": s, "other_proxies": n, "missing_walls": [text], "retired": bool,
"fresh": bool, "takes_actions": bool}``.
``owner`` is empty while the worker is nobody's, ``promised`` says that a user was named but is not
served yet, other proxies are those that asked within 30 s, walls are those of the operating system
(``engine.guards.confinement``), for ``retired`` see ``RETIRE``, a fresh worker is one that nobody
has sent ``CONFIGURE``, and for ``takes_actions`` see ``ACTION_HEADER``."""

POOL_STATUS = "pondflight.pool_status"
"""To the proxy, by an administrator. Answers ``{"ready": bool, "active": n, "total_spawned": n,
"total_stopped": n, "states": {state: n}, "stopped": {reason: n}, "queued": n, "warm": n}`` and
what /health/detailed has of the proxy; that of the databases, which may take a second, if there
is a body."""

METRICS = "pondflight.metrics"
"""To the proxy, by an administrator. Empty body. Answers its metrics in Prometheus's text form."""

WORKERS = "pondflight.workers"
"""To the proxy, by an administrator. Empty body. Answers ``{"workers": [worker]}``, the oldest
first, where a worker is ``{"id", "name", "state", "user", "key", "age", "idle", "running",
"memory", "cpu", "outdated"}``: ``user`` is a ``sub`` or null, times are in seconds, ``memory`` in
bytes, ``cpu`` in cores, and what is not known is null."""

WORKER = "pondflight.worker"
"""To the proxy, by an administrator. Body: a worker's id, name or user. Answers ``{"worker":
worker, "log": [line]}`` with the last lines that it wrote."""

STOP_WORKER = "pondflight.stop_worker"
"""To the proxy, by an administrator: ``{"worker": id, name or user, "force": bool}``. Answers
``{"worker": worker}`` as it was. A worker that runs a statement is stopped only by force."""

STATEMENTS = "pondflight.statements"
"""To a worker: ``{"text": "masked", "full" or "none"}``. Answers ``{"statements": [statement]}``,
those that run and those that ran last, the newest first, where a statement is ``{"id", "text",
"kind", "state", "started", "seconds", "rows", "error"}``; ``state`` is running, done, failed or
cancelled, ``started`` in seconds since the epoch. To the proxy, by an administrator: the same, of
all workers, with ``worker`` (its id) and ``user`` in each."""

CANCEL_STATEMENT = "pondflight.cancel_statement"
"""To a worker: ``{"statement": id}``; to the proxy, by an administrator: ``{"worker": id,
"statement": id}``. Answers ``{"cancelled": bool}``."""

RETIRE = "pondflight.retire"
"""To a worker: ``{"quiet": s}``. If no user's call runs, nor has for so long, it takes none any
more and can be ended; every later one gets UNAVAILABLE with ``RETIRED``. Answers ``{"retired":
bool}``."""

RETIRED = "this worker is being ended, and the call has not been run: try again"
"""The error of a call that came too late. The proxy sends the call to the next worker."""

GATES = 4
"""The worker's own ports for each server database.

One is for its ATTACH, the others for spare ones that wait (``engine.databases.server``).
"""

Confinement = Literal["required", "best_effort", "off"]


@dataclass(frozen=True, slots=True)
class Walls:
    """What a worker may reach beside its own directories.

    ``readable``   files and folders that it may read
    ``writable``   files of databases that it may change; with each goes its folder, since SQLite
                   and DuckDB write their journals beside the file
    ``ports``      TCP ports that it may connect to; ``None``: any
    ``names``      it may look up names of hosts
    ``sockets``    it may connect to Unix sockets
    ``gates``      how many ports of its own it connects to (``engine.databases.gate``)
    ``heap``       whether it has to keep to its memory by itself: no container does it
    """

    mode: Confinement = "off"
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    ports: tuple[int, ...] | None = ()
    names: bool = False
    sockets: bool = False
    gates: int = 0
    heap: bool = False

    def text(self) -> str:
        """Return the walls as JSON for a command line."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def of(cls, text: str) -> Self:
        """Read the walls from the JSON of ``text()``. Raises ``ValueError`` or ``TypeError``."""
        fields: Json = json.loads(text)
        lists = {name: tuple(v) for name, v in fields.items() if isinstance(v, list)}
        return cls(**{**fields, **lists})


NO_WALLS = Walls()
