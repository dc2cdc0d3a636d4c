"""Settings of the backend ecs."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from pondflight.settings.declaration import Accepts, Section
from pondflight.settings.kinds import Flag
from pondflight.settings.readers import matching

_Name = Annotated[
    str,
    BeforeValidator(matching("[A-Za-z0-9_.-]*")),
    Accepts("a name of letters, digits, '_', '.' and '-'"),
]


class Ecs(Section):
    """Tasks of the backend ecs (experimental). Limits are those under containers."""

    region: Annotated[
        str, BeforeValidator(matching("[a-z0-9-]*")), Accepts("a region, such as eu-central-1")
    ] = Field(default="", description="Region of AWS; none: AWS_REGION, or that of the profile.")
    cluster: _Name = Field(default="", description="Cluster of the workers.")
    task_definition: Annotated[
        str,
        BeforeValidator(matching(r"(?:[A-Za-z0-9_-]+:[0-9]+)?")),
        Accepts("a family and a revision, such as pond-worker:3"),
    ] = Field(
        default="",
        description="Task definition of the workers, which has their image, with its revision:"
        " workers of another one are replaced when they are idle.",
    )
    container: _Name = Field(
        default="worker", description="Container of the task definition that is the worker."
    )
    subnets: tuple[
        Annotated[
            str,
            BeforeValidator(matching("subnet-[0-9a-f]+")),
            Accepts("a subnet, such as subnet-0a1b2c3d"),
        ],
        ...,
    ] = Field(default=(), description="Subnets of the workers, which the proxies reach.")
    security_groups: tuple[
        Annotated[
            str,
            BeforeValidator(matching("sg-[0-9a-f]+")),
            Accepts("a security group, such as sg-0a1b2c3d"),
        ],
        ...,
    ] = Field(default=(), description="Security groups of the workers; none: that of the VPC.")
    public_address: Flag = Field(
        default=False,
        description="Give workers a public address, for subnets from which the image can be"
        " pulled by no other way. Nothing from outside has to be let in.",
    )
    table: _Name = Field(
        default="", description="DynamoDB table in which workers' names are locks."
    )
