"""What the pool and the proxy say to a worker, beside Flight SQL.

The one thing that both sides share: names of headers and actions, and the shape of their
bodies (JSON in UTF-8). Only calls that carry the worker's own credential get here.
"""

from __future__ import annotations

SESSION_HEADER = "x-pondflight-session"
"""Session of the call; absent or empty: the user's default session."""

OFFER_HEADER = "x-pondflight-offer"
"""Session that the response of this call, which has none, hands out to its client."""

CALL_HEADER = "x-pondflight-call"
"""Id of the call, chosen by the proxy, so that it can be cancelled from outside."""

KEEPS_NOTHING = b'{"i":"",'
"""How the handle of a prepared statement begins for which the worker keeps nothing: it need not be
told that the statement was closed."""

CONFIGURE = "pondflight.configure"
"""Once, after the start: ``{"databases": [{alias, type, connection_string, read_only}],
"extensions": [name], "require_all": bool, "init_sql": text, "storage_limit": bytes,
"scratch_limit": bytes, "sandbox": {"allow_network": bool} or null,
"sessions": {"idle_timeout": s, "max_sessions": n, "statement_timeout": s}}``; what is left out has
its default. Answers ``{"attached": [alias]}``. Connection strings and SQL with secrets in it are
the reason why it comes this way."""

CANCEL = "pondflight.cancel"
"""Cancel the running call whose id is the body. Answers ``{"cancelled": bool}``. It exists since
a Flight client cannot cancel a DoGet that waits for its first message, nor any unary call."""

STATUS = "pondflight.status"
"""Empty body. Answers ``{"running": n, "idle_seconds": s, "sessions": n, "rss_bytes": n}``."""

POOL_STATUS = "pondflight.pool_status"
"""To the proxy, by an administrator. Empty body. Answers ``{"ready": bool, "active": n,
"total_spawned": n, "total_stopped": n}``."""
