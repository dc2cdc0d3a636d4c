"""The routes for language models."""

from __future__ import annotations

from pondflight.ai.models import AISettings, Models
from pondflight.auth.tokens import Tokens
from pondflight.limits.rates import Counter
from pondflight.web.ai.callers import Askers, places
from pondflight.web.ai.chat import Chat, Embed
from pondflight.web.ai.mcp import Mcp
from pondflight.web.ai.openai_format import ChatCompletions, Embeddings, ModelList, OneModel
from pondflight.web.ai.sql import Sql
from pondflight.web.configuration import Configuration
from pondflight.web.upstream import Upstream


def models_of(configuration: Configuration) -> Models:
    """Return the models that are configured for this deployment."""
    return Models(AISettings.of(configuration.ai))


def routes(
    configuration: Configuration,
    models: Models,
    tokens: Tokens,
    upstream: Upstream,
) -> dict[str, object]:
    """Return the resources for models, by URL path."""
    shares = places()
    askers = Askers(
        tokens,
        Counter(configuration.counters),
        shares,
        configuration.ai_per_minute,
        demo=configuration.ai_for_demo,
    )
    return {
        "/ai/chat": Chat(models, askers, upstream),
        "/ai/embed": Embed(models, askers),
        "/ai/sql": Sql(models, askers, upstream),
        "/v1/chat/completions": ChatCompletions(models, askers),
        "/v1/embeddings": Embeddings(models, askers),
        "/v1/models": ModelList(models, askers),
        "/v1/models/{name:path}": OneModel(models, askers),
        "/mcp": Mcp(tokens, upstream, shares),
    }
