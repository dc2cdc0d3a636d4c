"""Settings of the models behind /ai."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from pondflight.settings.declaration import Env, Section
from pondflight.settings.kinds import ApiKey, BaseUrl, Count, Duration, Model


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
