"""One frozen tree of settings: defaults < YAML file < environment.

``sections`` declares every key once, with its type, its default, its description and the name of
its environment variable. What reads (``loading``) and what documents (``reference``) goes by that
declaration, so that neither can forget a key.
"""

from __future__ import annotations

from pondflight.settings.databases import FILE_TYPES, AttachedDatabase, DatabaseType
from pondflight.settings.loading import Loaded, find_file, load, read
from pondflight.settings.sections.access import Auth, Demo, RateLimit, Security
from pondflight.settings.sections.ai import AI
from pondflight.settings.sections.duckdb import DuckDB, Sessions
from pondflight.settings.sections.server import Console, Server
from pondflight.settings.sections.workers import Containers, Workers
from pondflight.settings.tree import Settings

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
