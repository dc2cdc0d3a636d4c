"""Settings of DuckDB and of the sessions in it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from pydantic import Field, ValidationInfo, field_validator

from pondflight.settings.databases import AttachedDatabase, Extension, Surroundings
from pondflight.settings.declaration import Refused, Section
from pondflight.settings.kinds import Count, Duration, Flag, Folder, Memory, Patience, Sql, Storage


class Sessions(Section):
    """Sessions, which hold one connection's temporary tables, SET, USE and transactions."""

    idle_timeout: Duration = Field(
        default=timedelta(minutes=30),
        description="A session ends after this long without a statement.",
    )
    max_per_user: Count = Field(default=64, description="Sessions that a user may have at once.")


class DuckDB(Section):
    """DuckDB in every worker."""

    extensions: tuple[Extension, ...] = Field(
        default=("arrow", "postgres", "mysql"),
        description="Extensions to load. Extensions that an attached database needs are always "
        "loaded.",
    )
    attached_databases: tuple[AttachedDatabase, ...] = Field(
        default=(), description="Databases that workers attach."
    )
    require_all: Flag = Field(
        default=False,
        description="Refuse to start a worker while one of its databases cannot be reached.",
    )
    init_sql: Sql = Field(
        default=None,
        description="SQL that every worker runs when it starts, after its databases are attached"
        " and before its user's first statement.",
    )
    storage: Storage = Field(
        default="memory",
        description="Where users' own tables are kept: memory (until the worker stops) or"
        " persistent (in a separate file for each user).",
    )
    storage_directory: Folder = Field(
        default=None,
        description="Directory for the files of persistent storage. The other backends use volumes"
        " instead.",
    )
    storage_limit: Memory = Field(
        default=1 << 30, description="Maximum size of a user's persistent storage."
    )
    scratch_limit: Memory = Field(
        default=10 << 30,
        description="Disk space that a worker may use for what does not fit into its memory; less"
        " if less is available.",
    )
    sandbox: Flag = Field(
        default=True,
        description="Keep user SQL away from files, the network, extensions and settings.",
    )
    allow_network: Flag = Field(
        default=False,
        description="Let user SQL read http, https and s3 addresses. Needs the extension httpfs.",
    )
    statement_timeout: Patience = Field(
        default=timedelta(),
        description="A statement that takes longer is interrupted. A session may lower it.",
    )

    @field_validator("attached_databases")
    @classmethod
    def _aliases_differ(
        cls, value: tuple[AttachedDatabase, ...], info: ValidationInfo
    ) -> tuple[AttachedDatabase, ...]:
        aliases = [database.alias for database in value]
        if isinstance(info.context, Surroundings):  # includes entries that were refused
            aliases = list(info.context.aliases)
        uses = Counter(alias.lower() for alias in aliases)
        for alias, times in uses.items():
            if times > 1:
                raise Refused(f"two databases must not have the alias '{alias}', in whatever case")
        return value
