"""One Arrow Flight SQL address, and behind it a private DuckDB for every user."""

from __future__ import annotations

__version__ = "0.1.0"
