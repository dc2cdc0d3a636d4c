"""One frozen tree of settings: the environment overrides the YAML file, which overrides defaults.

``sections`` declares every key once, with its type, default, description and environment variable.
Both loading (``loading``) and documentation (``reference``) use that declaration, so neither can
miss a key.
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
