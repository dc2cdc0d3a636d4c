"""The settings themselves: every key, once, with its type, default and description.

Annotations carry the rest: the kind says what is accepted, ``Env`` names the environment variable.
A program that needs other settings than it loaded takes a copy (``model_copy(update=...)``).
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pondflight import __version__
from pondflight.settings.databases import AttachedDatabase, Extension, Surroundings
from pondflight.settings.http import (
    AllowedHost,
    Audience,
    Claim,
    Collector,
    CounterStorage,
    Issuer,
    JwksUrl,
    Origin,
    PublicKey,
    TrustedNetwork,
)
from pondflight.settings.kinds import (
    Accepts,
    ApiKey,
    Backend,
    BaseUrl,
    Confinement,
    Cores,
    Count,
    CountOrNone,
    DockerHost,
    Duration,
    Engine,
    Env,
    File,
    Flag,
    Folder,
    Host,
    Image,
    Instance,
    JwtSecret,
    Memory,
    Model,
    Network,
    Patience,
    Port,
    Processes,
    PullPolicy,
    Readable,
    Refused,
    Scratch,
    Section,
    ShareOfCores,
    ShareOfMemory,
    Sql,
    StatementText,
    Storage,
    VolumeAccess,
)
from pondflight.settings.pods import (
    NodeSelector,
    ObjectName,
    PodTemplate,
    SecretName,
    Toleration,
)

OUR_IMAGE = f"pondflight:{__version__}"


class TLS(Section):
    """TLS on the Flight SQL port, for use without a reverse proxy. HTTP and health stay plain."""

    cert: Annotated[File, Env("TLS_CERT")] = Field(
        default=None,
        description="Certificate chain in PEM, the server's own certificate first. Read once, at "
        "the start.",
    )
    key: Annotated[File, Env("TLS_KEY")] = Field(
        default=None, description="Private key of the certificate, in PEM, without a password."
    )


class Server(Section):
    """Where clients reach the proxy."""

    host: Annotated[Host, Env("HOST")] = Field(
        default="0.0.0.0",  # noqa: S104 - a server in a container listens on every interface
        description="Address that HTTP, Flight SQL and health listen on.",
    )
    port: Annotated[Port, Env("PORT")] = Field(default=8080, description="Port of HTTP.")
    grpc_port: Annotated[Port, Env("GRPC_PORT")] = Field(
        default=8081, description="Port of Flight SQL."
    )
    health_port: Annotated[Port, Env("HEALTH_PORT")] = Field(
        default=8082, description="Port of the gRPC health service."
    )
    drain_timeout: Patience = Field(
        default=timedelta(seconds=30),
        description="How long a shutdown waits for running statements.",
    )
    stream_idle_timeout: Patience = Field(
        default=timedelta(minutes=10),
        description="A result whose client has not read on for so long is given up, and its "
        "statement is interrupted.",
    )
    max_calls: Count = Field(
        default=2000,
        description="Flight calls that may run at a time, of all users.",
    )
    max_calls_per_user: Count = Field(
        default=256,
        description="Flight calls that one user may run at a time.",
    )
    tls: TLS = TLS()
    allowed_hosts: Annotated[tuple[AllowedHost, ...], Env("ALLOWED_HOSTS")] = Field(
        default=(),
        description="Host names that HTTP answers to. IP addresses, localhost and names without a "
        "dot are always allowed. If empty, any name is allowed, unless demo tokens are given "
        "(auth.demo.enabled).",
    )
    trusted_proxies: Annotated[tuple[TrustedNetwork, ...], Env("TRUSTED_PROXIES")] = Field(
        default=(),
        description="Trusted reverse proxies. Their X-Forwarded-For gives the client's address.",
    )
    cors_origins: Annotated[tuple[Origin, ...], Env("CORS_ORIGINS")] = Field(
        default=(),
        description="Origins whose web pages may call HTTP from a browser.",
    )

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        uses = Counter(port for port in (self.port, self.grpc_port, self.health_port) if port)
        for port, times in uses.items():
            if times > 1:
                ports = "port, grpc_port and health_port"
                raise Refused(f"{ports} must differ, but {port} stands {times} times")
        return self


class Caddy(Section):
    """The Caddy that `pondflight serve --caddy` starts: TLS with an authority of its own."""

    host: Annotated[Host, Env("CADDY_HOST")] = Field(
        default="localhost",
        description="Host name in its certificate, which is also for 127.0.0.1.",
    )
    port: Annotated[Port, Env("CADDY_PORT")] = Field(
        default=8443, description="Port of Flight SQL, HTTP and health, all with TLS."
    )


class Workers(Section):
    """What runs a user's DuckDB, and how many."""

    backend: Annotated[Backend, Env("WORKER_BACKEND")] = Field(
        default="auto",
        description="How workers run: process (a subprocess of the proxy), docker (a "
        "container), kubernetes (a pod) or auto. auto means kubernetes if a setting under "
        "kubernetes is given; docker if one is given that applies only to containers (such as "
        "containers.network), or if pondflight itself runs in a container that was given a "
        "Docker engine (its socket, or DOCKER_HOST); otherwise process. The log says which was "
        "chosen, and why.",
    )
    warm: Annotated[CountOrNone, Env("WORKER_WARM")] = Field(
        default=0,
        description="Workers to keep started for new users, so that a user's first statement is "
        "as fast as the next ones. They count towards containers.max_per_host.",
    )
    start_timeout: Duration = Field(
        default=timedelta(seconds=30),
        description="How long a worker may take to become ready; then its start has failed.",
    )
    queue_size: CountOrNone = Field(
        default=100,
        description="Users who may wait for a worker when containers.max_per_host are busy.",
    )
    queue_timeout: Duration = Field(
        default=timedelta(seconds=30),
        description="How long a user may wait for a worker before the call fails.",
    )
    confinement: Confinement = Field(
        default="best_effort",
        description="Operating-system restrictions on each worker, while duckdb.sandbox is on: "
        "required (no worker starts unless all are available), best_effort (those that are "
        "available) or off.",
    )
    readable: tuple[Readable, ...] = Field(
        default=(),
        description="Files and folders that duckdb.init_sql reads, apart from database files.",
    )
    keep_on_exit: Flag = Field(
        default=True,
        description="Leave workers running when the proxy ends. The next proxy adopts them with "
        "everything users have in them; if none comes, they end by themselves after a while. If "
        "false, workers end with the last proxy that uses them. Workers of the backend process "
        "always end.",
    )
    instance: Annotated[Instance, Env("WORKER_INSTANCE")] = Field(
        default="",
        description="Name of the deployment. Set it if several deployments with the same "
        "JWT_SECRET use one Docker engine but must not share workers.",
    )


class Containers(Section):
    """Limits and surroundings of each worker, for every backend."""

    engine: Annotated[Engine, Env("CONTAINER_ENGINE")] = Field(
        default="pondflight",
        description="What the image runs: our own worker, GizmoSQL or SQLFlite.",
    )
    image: Annotated[Image, Env("CONTAINER_IMAGE")] = Field(
        default=OUR_IMAGE,
        description="Image of a worker. Unused by the backend process.",
    )
    idle_timeout: Annotated[Duration, Env("CONTAINER_IDLE_TIMEOUT", bare_unit="ms")] = Field(
        default=timedelta(minutes=5),
        description="A worker stops after this long without a statement.",
    )
    max_lifetime: Patience = Field(
        default=timedelta(),
        description="A worker older than this stops as soon as it is idle, however recently it was "
        "used.",
    )
    memory_limit: Annotated[Memory, Env("CONTAINER_MEMORY_LIMIT")] = Field(
        default=512 << 20, description="Memory limit of a worker."
    )
    cpu_limit: Annotated[Cores, Env("CONTAINER_CPU_LIMIT")] = Field(
        default=0.5, description="CPU limit of a worker, in cores."
    )
    scratch: Scratch = Field(
        default="memory",
        description="Where a worker's scratch directory is: memory (a part of memory_limit) or "
        "disk (a volume on the Docker host that is removed with the container; "
        "duckdb.scratch_limit limits what is spilled there). Unused by the backend process, which "
        "always uses the disk.",
    )
    scratch_size: Memory = Field(
        default=64 << 20,
        description="Part of memory_limit reserved for the scratch directory, or for data on its "
        "way to the disk; at most a quarter of memory_limit. Unused by the backend process.",
    )
    pids_limit: Processes = Field(
        default=512,
        description="Maximum number of processes and threads of a worker. Unused by the backend "
        "process.",
    )
    max_per_host: Annotated[Count, Env("CONTAINER_MAX_PER_HOST")] = Field(
        default=100, description="Maximum number of workers that run at once."
    )
    network: Annotated[Network, Env("CONTAINER_NETWORK")] = Field(
        default="bridge",
        description="Network of the workers. If there is none of that name, it is created without "
        "traffic between containers. Unused by the backend process.",
    )
    publish: Flag = Field(
        default=False,
        description="Reach each worker through a free port on 127.0.0.1, for hosts that cannot "
        "reach the addresses of containers, such as Docker Desktop. Unused by the backend process.",
    )
    docker_host: Annotated[DockerHost, Env("DOCKER_HOST")] = Field(
        default="unix:///var/run/docker.sock",
        description="Address of the Docker engine. DOCKER_TLS_VERIFY and DOCKER_CERT_PATH are "
        "respected. Unused by the backend process.",
    )

    @model_validator(mode="before")
    @classmethod
    def _engine_follows_image(cls, data: object) -> Any:
        """Fill in the engine, if it is not set, from the name of an engine in the image's name."""
        if isinstance(data, dict) and "engine" not in data:
            image = str(data.get("image", "")).lower()
            for engine in ("gizmosql", "sqlflite"):
                if engine in image:
                    return {**data, "engine": engine}
        return data

    @model_validator(mode="after")
    def _image_suits_engine(self) -> Self:
        if self.engine != "pondflight" and self.image == OUR_IMAGE:
            raise Refused(f"is no image of {self.engine}: name one", key="image")
        return self


class Kubernetes(Section):
    """Pods of the backend kubernetes. Limits, image and scratch are those under containers."""

    kubeconfig: File = Field(
        default=None,
        description="Kubeconfig file for reaching the API server. Without it: the service"
        " account of the pod that pondflight runs in, else KUBECONFIG or ~/.kube/config.",
    )
    context: Annotated[str, BeforeValidator(str), Accepts("the name of a context, or none")] = (
        Field(default="", description="Context of the kubeconfig file; none: its current one.")
    )
    namespace: Annotated[ObjectName, Env("WORKER_NAMESPACE")] = Field(
        default="",
        description="Namespace of the workers; none: that of pondflight's own pod, or of the"
        " context.",
    )
    service_account: ObjectName = Field(
        default="",
        description="Service account of the workers. None of them gets its token.",
    )
    image_pull_policy: PullPolicy = Field(
        default="IfNotPresent", description="When nodes pull containers.image."
    )
    image_pull_secrets: tuple[SecretName, ...] = Field(
        default=(), description="Secrets with the credentials of the registry."
    )
    node_selector: NodeSelector = Field(
        default={}, description="Labels of the nodes that may run workers."
    )
    tolerations: tuple[Toleration, ...] = Field(
        default=(), description="Tolerations: taints of nodes that may still run workers."
    )
    runtime_class: ObjectName = Field(
        default="",
        description="RuntimeClass of the workers, such as that of gVisor or Kata Containers.",
    )
    priority_class: ObjectName = Field(
        default="", description="PriorityClass of the workers. Theirs should be below the proxy's."
    )
    user_namespaces: Flag = Field(
        default=False,
        description="Run each worker in a user namespace of its own (hostUsers: false). Needs"
        " nodes that can do that; elsewhere pods do not start.",
    )
    cpu_request: ShareOfCores = Field(
        default=None, description="Cores that the scheduler reserves for a worker."
    )
    memory_request: ShareOfMemory = Field(
        default=None,
        description="Memory that the scheduler reserves for a worker. With less than the limit,"
        " a node may run out of memory, and end workers.",
    )
    lost_after: Duration = Field(
        default=timedelta(seconds=30),
        description="How long a worker's node may be silent before the pod is given up.",
    )
    storage_class: ObjectName = Field(
        default="",
        description="StorageClass of users' volumes, where duckdb.storage is persistent; none:"
        " the default of the cluster.",
    )
    storage_access: VolumeAccess = Field(
        default="ReadWriteOncePod",
        description="Access mode of users' volumes. ReadWriteOnce if the storage driver has no"
        " ReadWriteOncePod.",
    )
    pod_template: PodTemplate = Field(default={}, description="Additions to each worker's pod.")


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
        if isinstance(info.context, Surroundings):  # also those of entries that were refused
            aliases = list(info.context.aliases)
        uses = Counter(alias.lower() for alias in aliases)
        for alias, times in uses.items():
            if times > 1:
                raise Refused(f"two databases must not have the alias '{alias}', in whatever case")
        return value


class RateLimit(Section):
    """How many statements a user may run, by Flight SQL and HTTP together."""

    requests_per_minute: Count = Field(
        default=100, description="Statements that a user may run in a minute, on average."
    )
    burst_size: Count = Field(default=200, description="Statements that a user may run at once.")
    storage: Annotated[CounterStorage, Env("RATE_LIMIT_STORAGE")] = Field(
        default=SecretStr("memory"),
        description="Where statements are counted: memory, or a Redis that several proxies share.",
    )


class DemoRateLimit(Section):
    """How many statements a demo user may run."""

    requests_per_minute: Count = Field(
        default=20, description="Statements that a demo user may run in a minute, on average."
    )
    burst_size: Count = Field(
        default=20, description="Statements that a demo user may run at once."
    )


class Demo(Section):
    """Tokens for strangers: POST /auth/demo-token."""

    enabled: Annotated[Flag, Env("DEMO_ENABLED")] = Field(
        default=False,
        description="Give a token for one hour to anyone who asks. This lets strangers in.",
    )
    tokens_per_hour: Count = Field(
        default=10, description="Demo tokens that one address may get in an hour."
    )
    rate_limit: DemoRateLimit = DemoRateLimit()
    memory_limit: Memory = Field(
        default=256 << 20, description="Memory limit of a demo user's worker."
    )
    cpu_limit: Cores = Field(
        default=0.25, description="CPU limit of a demo user's worker, in cores."
    )
    statement_timeout: Duration = Field(
        default=timedelta(seconds=30),
        description="A demo user's statement is cancelled after this long.",
    )
    ai: Flag = Field(default=False, description="Let demo users use /ai.")


class Auth(Section):
    """Tokens of an identity provider, beside those signed with JWT_SECRET."""

    jwks_url: Annotated[JwksUrl, Env("AUTH_JWKS_URL")] = Field(
        default="",
        description="URL where the provider publishes its keys. They may change at any time.",
    )
    public_key: Annotated[PublicKey, Env("AUTH_PUBLIC_KEY")] = Field(
        default="", description="The provider's public key, if it has only one."
    )
    issuer: Annotated[Issuer, Env("AUTH_ISSUER")] = Field(
        default="", description="Required iss of tokens issued elsewhere."
    )
    audience: Annotated[tuple[Audience, ...], Env("AUTH_AUDIENCE")] = Field(
        default=(),
        description="Accepted audiences: aud of tokens issued elsewhere must contain one of them.",
    )
    user_claim: Annotated[Claim, Env("AUTH_USER_CLAIM")] = Field(
        default="sub",
        description="Claim that names the user in tokens issued elsewhere.",
    )
    demo: Demo = Demo()

    @model_validator(mode="after")
    def _one_source_of_keys(self) -> Self:
        if self.jwks_url and self.public_key:
            raise Refused("jwks_url and public_key are both set: keep one of them")
        return self


class Metrics(Section):
    """GET /metrics, for Prometheus."""

    public: Annotated[Flag, Env("METRICS_PUBLIC")] = Field(
        default=True,
        description="Answer without a token. If false, an administrator's token is required.",
    )


class Tracing(Section):
    """Traces for OpenTelemetry: pip install 'pondflight[otel]'."""

    endpoint: Annotated[Collector, Env("OTEL_EXPORTER_OTLP_ENDPOINT")] = Field(
        default="",
        description="Collector to send traces to, by OTLP over HTTP. Empty: no traces.",
    )


class Security(Section):
    """The signing secret and rate limits."""

    jwt_secret: Annotated[JwtSecret, Env("JWT_SECRET", only=True)] = Field(
        default=None,
        description="Secret that signs and verifies tokens (HS256). JWT_SECRET_FILE names a file "
        "that contains it.",
    )
    rate_limit: RateLimit = RateLimit()


class AI(Section):
    """The models behind /ai."""

    claude_api_key: Annotated[ApiKey, Env("CLAUDE_API_KEY")] = Field(
        default=None, description="API key for Claude models. Take it from ${NAME}."
    )
    openai_api_key: Annotated[ApiKey, Env("OPENAI_API_KEY")] = Field(
        default=None, description="API key for OpenAI models. Take it from ${NAME}."
    )
    default_model: Annotated[Model, Env("AI_DEFAULT_MODEL")] = Field(
        default="claude-sonnet-4-20250514", description="Model for requests that name none."
    )
    claude_base_url: Annotated[BaseUrl, Env("CLAUDE_BASE_URL")] = Field(
        default=None, description="Server for Claude models, if not Anthropic's own."
    )
    openai_base_url: Annotated[BaseUrl, Env("OPENAI_BASE_URL")] = Field(
        default=None,
        description="Server for all other models, if not OpenAI's own: the URL, up to /v1, of any"
        " server that speaks OpenAI's wire format. A server on your own machine needs a key too,"
        " but any key will do.",
    )
    timeout: Duration = Field(
        default=timedelta(seconds=60),
        description="How long to wait for a model's first word, or for its next one.",
    )
    max_tokens: Count = Field(
        default=4096,
        description="Maximum length of a model's answer, in tokens. A request may ask for less.",
    )
    requests_per_minute: Count = Field(
        default=30, description="Questions that a user may ask models in a minute."
    )


class Console(Section):
    """The page for operators, /console."""

    statement_text: StatementText = Field(
        default="masked",
        description="How much of users' SQL operators see: masked (each value is shown as ?), full"
        " or none.",
    )


class Settings(Section):
    """All settings."""

    server: Server = Server()
    caddy: Caddy = Caddy()
    workers: Workers = Workers()
    containers: Containers = Containers()
    kubernetes: Kubernetes = Kubernetes()
    sessions: Sessions = Sessions()
    duckdb: DuckDB = DuckDB()
    security: Security = Security()
    auth: Auth = Auth()
    metrics: Metrics = Metrics()
    tracing: Tracing = Tracing()
    ai: AI = AI()
    console: Console = Console()

    @model_validator(mode="after")
    def _storage_has_a_place(self) -> Self:
        duckdb, workers = self.duckdb, self.workers
        if duckdb.storage != "persistent":
            return self
        if workers.backend == "process" and not duckdb.storage_directory:
            why = "is needed where duckdb.storage is persistent and workers.backend is process"
            raise Refused(why, key="duckdb.storage_directory")
        if workers.warm:
            why = "must be 0 where duckdb.storage is persistent: a worker starts with its storage"
            raise Refused(why, key="workers.warm")
        return self

    @model_validator(mode="after")
    def _engine_can_do_it(self) -> Self:
        engine = self.containers.engine
        if engine == "pondflight":
            return self
        if self.workers.backend == "process":
            raise Refused(f"cannot run a {engine}: use docker or kubernetes", key="workers.backend")
        if self.workers.warm:
            raise Refused(f"must be 0 with a {engine}, which serves anyone", key="workers.warm")
        if self.containers.scratch == "disk":
            raise Refused(f"must be memory with a {engine}", key="containers.scratch")
        if self.duckdb.storage == "persistent":
            raise Refused(f"must be memory with a {engine}", key="duckdb.storage")
        return self

    def masked(self) -> dict[str, Any]:
        """Give the effective settings as plain data in the order of the tree, secrets as ``***``.

        Durations and sizes are written as a configuration file has them.
        """
        return self.model_dump(mode="json")
