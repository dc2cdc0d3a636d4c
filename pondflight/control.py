"""What the pool and the proxy say to a worker, beside Flight SQL.

The one thing that both sides share: names of headers and actions, and the shape of their
bodies (JSON in UTF-8). Only calls that carry the worker's own credential get here.
"""

from __future__ import annotations

SESSION_HEADER = "x-pondflight-session"
"""Session of the call; absent or empty: the user's default session."""

CALL_HEADER = "x-pondflight-call"
"""Id of the call, chosen by the caller, so that it can be cancelled from outside: by the proxy
towards a worker, by the HTTP app towards the proxy."""

SESSION_COOKIE = "arrow_flight_session_id"
"""Cookie that names a session of the caller, towards the proxy. The name is the specification's."""

CONFIGURE = "pondflight.configure"
"""Once, after the start: ``{"databases": [{alias, type, connection_string, read_only}],
"extensions": [name], "sessions": {"idle_timeout": s, "max_per_user": n}}``. Answers
``{"attached": [alias]}``. The connection strings are the reason why it comes this way."""

CANCEL = "pondflight.cancel"
"""Cancel the running calls whose id is the body; at the proxy, the caller's own. Answers
``{"cancelled": bool}``. It exists since a Flight client cannot cancel a DoGet that waits for its
first message, nor any unary call."""

STATUS = "pondflight.status"
"""Empty body. Answers ``{"running": n, "idle_seconds": s, "sessions": n, "rss_bytes": n}``."""

POOL_STATUS = "pondflight.pool_status"
"""To the proxy, by an administrator. Empty body. Answers ``{"ready": bool, "active": n,
"total_spawned": n, "total_stopped": n}``."""

METRICS = "pondflight.metrics"
"""To the proxy, by an administrator. Empty body. Answers its metrics in Prometheus's text form."""
