"""One frozen tree of settings: defaults < YAML file < environment.

``tree`` declares every key once, with its type, its default, its description and the name of its
environment variable. What reads (``loading``) and what documents (``reference``) goes by that
declaration, so that neither can forget a key.
"""

from __future__ import annotations

from pondflight.settings.databases import FILE_TYPES, AttachedDatabase, DatabaseType
from pondflight.settings.loading import Loaded, find_file, load, read
from pondflight.settings.tree import (
    AI,
    Auth,
    Console,
    Containers,
    Demo,
    DuckDB,
    RateLimit,
    Security,
    Server,
    Sessions,
    Settings,
    Workers,
)

__all__ = [
    "AI",
    "FILE_TYPES",
    "AttachedDatabase",
    "Auth",
    "Console",
    "Containers",
    "DatabaseType",
    "Demo",
    "DuckDB",
    "Loaded",
    "RateLimit",
    "Security",
    "Server",
    "Sessions",
    "Settings",
    "Workers",
    "find_file",
    "load",
    "read",
]
