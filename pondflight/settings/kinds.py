"""The kinds of values that a setting can have: how each is read, written and described.

A kind is an annotated type. Its reader (see ``readers``) accepts values from YAML and from the
environment. ``Accepts`` describes the accepted values in a phrase for errors and the reference.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, PlainSerializer, SecretStr

from pondflight.settings.declaration import MASK, Accepts
from pondflight.settings.readers import (
    BACKENDS,
    SMALLEST_MEMORY,
    matching,
    one_of,
    read_backend,
    read_confinement,
    read_cores,
    read_docker_host,
    read_duration,
    read_file,
    read_flag,
    read_folder,
    read_host,
    read_jwt_secret,
    read_memory,
    read_network,
    read_optional_secret,
    read_positive_duration,
    read_readable,
    read_secret,
    read_statements,
    read_url,
    within,
)
from pondflight.settings.secret import MINIMUM_LENGTH
from pondflight.units import DURATION, SIZE, format_duration, format_size


def _masked(value: SecretStr | None) -> str | None:
    return None if value is None else MASK


_shown_duration = PlainSerializer(format_duration, return_type=str, when_used="json")
_shown_size = PlainSerializer(format_size, return_type=str, when_used="json")
_shown_secret = PlainSerializer(_masked, when_used="json")

Port = Annotated[
    int,
    BeforeValidator(within(0, 65535)),
    Accepts("a TCP port from 1 to 65535, or 0 for any that is free"),
]
Count = Annotated[
    int, BeforeValidator(within(1, 1_000_000)), Accepts("a whole number from 1 to 1000000")
]
CountOrNone = Annotated[
    int,
    BeforeValidator(within(0, 1_000_000)),
    Accepts("a whole number from 0 to 1000000"),
]
Processes = Annotated[
    int, BeforeValidator(within(64, 1_000_000)), Accepts("a whole number from 64 to 1000000")
]
Cores = Annotated[
    float,
    BeforeValidator(read_cores),
    Accepts("a number of cores above 0 and up to 1024, such as 0.5"),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(read_positive_duration),
    _shown_duration,
    Accepts(f"{DURATION}, above 0"),
]
Patience = Annotated[
    timedelta, BeforeValidator(read_duration), _shown_duration, Accepts(f"{DURATION}; 0 for none")
]
Memory = Annotated[
    int,
    BeforeValidator(read_memory),
    _shown_size,
    Accepts(f"{SIZE}, from {format_size(SMALLEST_MEMORY)}"),
]
Host = Annotated[
    str, BeforeValidator(read_host), Accepts("an IP address or a host name to listen on")
]
File = Annotated[Path | None, BeforeValidator(read_file), Accepts("the name of a file")]
Image = Annotated[
    str,
    BeforeValidator(matching(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")),
    Accepts("a container image, such as name:tag"),
]
Network = Annotated[
    str,
    BeforeValidator(read_network),
    Accepts("a network name of letters, digits, '_', '.' and '-'"),
]
Instance = Annotated[
    str,
    BeforeValidator(matching(r"(?:[A-Za-z0-9][A-Za-z0-9_.-]*)?", longest=63)),
    Accepts("a name of up to 63 letters, digits, '_', '.' and '-', or none"),
]
DockerHost = Annotated[
    str,
    BeforeValidator(read_docker_host),
    Accepts("unix:///path/to/a/socket or tcp://host:port"),
]
ENGINES = ("pondflight", "gizmosql", "sqlflite")
Engine = Annotated[str, BeforeValidator(one_of(*ENGINES)), Accepts(", ".join(ENGINES))]
Model = Annotated[
    str,
    BeforeValidator(matching(r"[A-Za-z0-9][A-Za-z0-9_.:/@-]*")),
    Accepts("the name of a model, of letters, digits and '_', '.', ':', '/', '@', '-'"),
]
Backend = Annotated[str, BeforeValidator(read_backend), Accepts(", ".join(BACKENDS))]
StatementText = Annotated[
    str, BeforeValidator(matching("masked|full|none")), Accepts("masked, full, none")
]
Flag = Annotated[bool, BeforeValidator(read_flag), Accepts("true or false")]
ApiKey = Annotated[
    SecretStr | None,
    BeforeValidator(read_optional_secret),
    _shown_secret,
    Accepts("an API key", secret=True),
]
Storage = Annotated[
    str, BeforeValidator(one_of("memory", "persistent")), Accepts("memory, persistent")
]
Scratch = Annotated[str, BeforeValidator(one_of("memory", "disk")), Accepts("memory, disk")]
Folder = Annotated[
    str | None, BeforeValidator(read_folder), Accepts("the absolute path of a directory")
]
PullPolicy = Annotated[
    Literal["IfNotPresent", "Always", "Never"],
    Accepts("IfNotPresent, Always, Never"),
]
VolumeAccess = Annotated[
    Literal["ReadWriteOncePod", "ReadWriteOnce"],
    Accepts("ReadWriteOncePod, ReadWriteOnce"),
]
ShareOfCores = Annotated[
    float | None,
    BeforeValidator(lambda value: None if value is None else read_cores(value)),
    Accepts("a number of cores, such as 0.1; none: as much as the limit"),
]
ShareOfMemory = Annotated[
    int | None,
    BeforeValidator(lambda value: None if value is None else read_memory(value)),
    PlainSerializer(lambda value: None if value is None else format_size(value), when_used="json"),
    Accepts(f"{SIZE}; none: as much as the limit"),
]
Confinement = Annotated[
    Literal["required", "best_effort", "off"],
    BeforeValidator(read_confinement),
    Accepts("required, best_effort, off"),
]
Readable = Annotated[
    str, BeforeValidator(read_readable), Accepts("the absolute path of a file or directory")
]
Sql = Annotated[
    SecretStr | None,
    BeforeValidator(read_statements),
    _shown_secret,
    Accepts("SQL statements, with ';' between them", secret=True),
]
BaseUrl = Annotated[
    str | None,
    BeforeValidator(read_url),
    Accepts("the URL of a server, such as http://localhost:11434/v1, or null"),
]
ConnectionString = Annotated[SecretStr, BeforeValidator(read_secret), _shown_secret]
JwtSecret = Annotated[
    SecretStr | None,
    BeforeValidator(read_jwt_secret),
    _shown_secret,
    Accepts(
        f"at least {MINIMUM_LENGTH} random characters, such as `openssl rand -base64 32` prints",
        secret=True,
    ),
]
