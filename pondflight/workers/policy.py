"""The pool's input: whose worker is wanted, and the settings that decide how long it lives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pondflight.control import NO_WALLS, Walls
from pondflight.workers.engines import Engine, PondflightEngine
from pondflight.workers.spec import BoundFile


@dataclass(frozen=True, slots=True)
class User:
    """Whose worker is wanted; ``claims`` are the token's, and decide what the worker may see."""

    subject: str
    claims: Mapping[str, object] = field(default_factory=dict, repr=False)
    demo: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """What a worker must be started with, since it cannot change later.

    ``memory_limit`` in bytes, ``cpu_limit`` in cores; ``storage``, ``files`` and ``walls`` as in
    ``WorkerSpec``.
    """

    memory_limit: int
    cpu_limit: float
    storage: str = ""
    files: tuple[BoundFile, ...] = ()
    walls: Walls = NO_WALLS


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Sizes in bytes, times in seconds.

    ``shape``          what the worker of a user is started with, or a warm one (None)
    ``access``         what tells workers of one user apart: tokens may show different databases
    ``configuration``  what the worker of a user is told after its start
    ``preparation``    what a warm worker can be told before it has a user
    ``spec_hash``      hash of the settings that a worker is started with: others are outdated
    ``max_lifetime``   0: for ever
    ``queue_size``     users who may wait when all ``max_workers`` are busy
    ``warm``           workers kept started for users who come
    ``keep_workers``   whether they go on when the proxy ends, if the backend can do that
    ``siblings``       other proxy processes that serve the same port
    """

    instance: str
    secret: str = field(repr=False)
    shape: Callable[[User | None], Shape]
    idle_timeout: float
    max_workers: int
    configuration: Callable[[User], dict[str, object]]
    access: Callable[[User], str] = lambda _: ""
    preparation: Mapping[str, object] = field(default_factory=dict)
    engine: Engine = field(default_factory=PondflightEngine)
    spec_hash: str = ""
    start_timeout: float = 30.0
    sweep_interval: float = 30.0
    health_interval: float = 4.0
    max_lifetime: float = 0.0
    queue_size: int = 100
    queue_timeout: float = 30.0
    concurrent_starts: int = 6
    warm: int = 0
    keep_workers: bool = True
    siblings: int = 0
