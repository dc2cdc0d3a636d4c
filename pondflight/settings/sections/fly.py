"""Settings of the backend fly."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from pondflight.settings.declaration import Accepts, Env, Section
from pondflight.settings.kinds import ApiKey
from pondflight.settings.readers import matching, one_of, read_url


class Fly(Section):
    """Machines of the backend fly (experimental). Limits and image are those under containers."""

    app: Annotated[
        str,
        BeforeValidator(matching("(?:[a-z0-9][a-z0-9-]*)?", longest=63)),
        Accepts("the name of an app: lower-case letters, digits and '-'"),
    ] = Field(
        default="",
        description="App of the workers: one of their own, without secrets, in the same private"
        " network as pondflight.",
    )
    token: Annotated[ApiKey, Env("FLY_API_TOKEN")] = Field(
        default=None, description="Token that may manage the app (fly tokens create deploy)."
    )
    region: Annotated[
        str,
        BeforeValidator(matching("[a-z]{3}|")),
        Accepts("a region of three letters, such as ams, or none"),
    ] = Field(default="", description="Region of the workers; none: Fly.io chooses.")
    cpu_kind: Annotated[
        str, BeforeValidator(one_of("shared", "performance")), Accepts("shared, performance")
    ] = Field(
        default="shared",
        description="Kind of CPU. Of the Machines of that kind, a worker gets the smallest that"
        " has containers.cpu_limit and memory_limit.",
    )
    url: Annotated[str, BeforeValidator(read_url), Accepts("the URL of a server")] = Field(
        default="https://api.machines.dev",
        description="Address of the Machines API; http://_api.internal:4280 inside Fly.io.",
    )
