"""Which provider runs a model, and whether this deployment may use it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from pondflight.ai.conversation import Provider
from pondflight.control import Json
from pondflight.errors import PondflightError, Unavailable

_CLAUDE = "claude"
_LIST_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """How to reach a provider; with ``base_url`` None at the library's default."""

    key: str | None = field(repr=False)
    base_url: str | None = None


@dataclass(frozen=True, slots=True)
class AISettings:
    """The settings for language models; ``timeout`` in seconds."""

    claude: ProviderSettings
    openai: ProviderSettings
    default_model: str
    timeout: float
    max_tokens: int

    @classmethod
    def of(cls, plain: Json | None) -> AISettings:
        """Read the settings from plain data, as the HTTP process receives them; None: no models."""
        if plain is None:
            return cls(ProviderSettings(None), ProviderSettings(None), "claude", 60.0, 1)
        return cls(
            claude=ProviderSettings(**plain["claude"]),
            openai=ProviderSettings(**plain["openai"]),
            default_model=plain["default_model"],
            timeout=plain["timeout"],
            max_tokens=plain["max_tokens"],
        )


class Models:
    """The models of this deployment, by name. Use it on one event loop only."""

    def __init__(self, settings: AISettings) -> None:
        self.settings = settings
        self._providers: dict[str, Provider] = {}
        self._listed: tuple[float, list[tuple[str, str]]] = (0.0, [])

    @property
    def configured(self) -> dict[str, bool]:
        """Return whether each provider has a key."""
        return {
            "claude": self.settings.claude.key is not None,
            "openai": self.settings.openai.key is not None,
        }

    @property
    def ready(self) -> bool:
        """Return whether there is a key for the default model."""
        return self.configured["claude" if _is_claude(self.settings.default_model) else "openai"]

    def provider(self, model: str) -> Provider:
        """Return the provider of ``model``: Anthropic if the name begins with claude, else OpenAI.

        Raises ``Unavailable``, with the setting to add, if that provider has no key.
        """
        return self._provider("claude" if _is_claude(model) else "openai")

    async def names(self) -> list[tuple[str, str]]:
        """Return the models and their providers: the default first, then in the providers' order.

        A provider that cannot be reached now is left out, except for the default model.
        """
        now = time.monotonic()
        until, listed = self._listed
        if now < until:
            return listed
        default = self.settings.default_model
        found: list[tuple[str, str]] = []
        complete = True
        for name, configured in self.configured.items():
            if not configured:
                continue
            if name == ("claude" if _is_claude(default) else "openai"):
                found.insert(0, (default, name))
            try:
                found += [(m, name) for m in await self._provider(name).models() if m != default]
            except PondflightError:
                complete = False
        if complete:
            self._listed = (now + _LIST_SECONDS, found)
        return found

    async def close(self) -> None:
        """Close the connections to all providers."""
        providers, self._providers = self._providers, {}
        for provider in providers.values():
            await provider.close()

    def _provider(self, name: str) -> Provider:
        settings = self.settings.claude if name == "claude" else self.settings.openai
        if settings.key is None:
            variable = f"{name.upper()}_API_KEY"
            raise Unavailable(
                f"no key for these models: the operator sets ai.{name}_api_key ({variable})"
            )
        provider = self._providers.get(name)
        if provider is None:
            provider = self._make(name, settings.key, settings.base_url)
            self._providers[name] = provider
        return provider

    def _make(self, name: str, key: str, base_url: str | None) -> Provider:
        if name == "claude":
            from pondflight.ai.claude import Claude  # noqa: PLC0415  heavy

            return Claude(key, base_url, self.settings.timeout)
        from pondflight.ai.gpt import Gpt  # noqa: PLC0415  heavy

        return Gpt(key, base_url, self.settings.timeout)


def _is_claude(model: str) -> bool:
    return model.lower().rpartition("/")[2].startswith(_CLAUDE)
