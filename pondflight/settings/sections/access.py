"""Settings of access: keys, rate limits, demo tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from pondflight.settings.declaration import Env, Refused, Section
from pondflight.settings.http import Audience, Claim, CounterStorage, Issuer, JwksUrl, PublicKey
from pondflight.settings.kinds import Cores, Count, Duration, Flag, JwtSecret, Memory


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


class Security(Section):
    """The signing secret and rate limits."""

    jwt_secret: Annotated[JwtSecret, Env("JWT_SECRET", only=True)] = Field(
        default=None,
        description="Secret that signs and verifies tokens (HS256). JWT_SECRET_FILE names a file "
        "that contains it.",
    )
    rate_limit: RateLimit = RateLimit()
