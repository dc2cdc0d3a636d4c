"""Both providers, by their own libraries, against a server that speaks both wire formats."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from pondflight.ai.conversation import End, Message, Part, Question, Text, Usage
from pondflight.ai.models import Models, ProviderSettings
from pondflight.errors import (
    DeadlineExceeded,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    PondflightError,
    Unavailable,
)
from tests.ai.conftest import Run
from tests.ai.provider import KEY, ProviderServer, Reply
from tests.waiting import wait_until

BOTH = pytest.mark.parametrize("model", ["claude-test", "gpt-test"])


def question(model: str) -> Question:
    messages = (Message("system", "Be brief."), Message("user", "Hello?"))
    return Question(model, messages, max_tokens=50, temperature=0.5, stop=("END",))


async def ask(models: Models, model: str) -> list[Part]:
    answer = await models.provider(model).ask(question(model))
    return [part async for part in answer]


@BOTH
def test_an_answer_comes_in_pieces_and_ends_with_its_usage(
    run: Run, models: Models, model: str
) -> None:
    *pieces, end = run(ask(models, model))
    assert [p.text for p in pieces if isinstance(p, Text)] == ["Hello", " from", " the ", "pond."]
    assert end == End("stop", Usage(11, 5))


@BOTH
def test_an_answer_that_is_too_long_says_so(
    run: Run, models: Models, provider: ProviderServer, model: str
) -> None:
    provider.answers = [Reply(reason="length")]
    assert run(ask(models, model))[-1] == End("length", Usage(11, 5))


def test_each_provider_gets_its_own_wire_format(
    run: Run, models: Models, provider: ProviderServer
) -> None:
    run(ask(models, "claude-test"))
    run(ask(models, "gpt-test"))
    claude, gpt = provider.requests
    assert claude.path == "/v1/messages"
    assert KEY in (claude.headers.get("x-api-key", "") + claude.headers.get("authorization", ""))
    assert claude.body["system"] == "Be brief."
    assert claude.body["messages"] == [{"role": "user", "content": "Hello?"}]
    assert claude.body["max_tokens"] == 50
    assert claude.body["stop_sequences"] == ["END"]
    assert claude.body["temperature"] == 0.5
    assert gpt.path == "/v1/chat/completions"
    assert gpt.headers["authorization"] == f"Bearer {KEY}"
    assert [m["role"] for m in gpt.body["messages"]] == ["system", "user"]
    assert gpt.body["max_completion_tokens"] == 50
    assert gpt.body["stop"] == ["END"]


FAULTS: list[tuple[Reply, type[PondflightError], str]] = [
    (Reply(status=429, headers={"retry-after": "17"}), LimitExceeded, "rate limit"),
    (Reply(status=529, kind="overloaded_error"), Unavailable, "overloaded"),
    (Reply(status=500), Unavailable, "fault"),
    (Reply(status=503), Unavailable, "overloaded"),
    (Reply(status=401, message=f"bad key {KEY}"), Unavailable, "refuses the key"),
    (Reply(status=403, message=f"bad key {KEY}"), Unavailable, "refuses the key"),
    (Reply(status=404), NotFound, "no such model"),
    (Reply(status=400, message=f"too long for {KEY}"), InvalidArgument, "too long for ***"),
    (Reply(cut=3), Unavailable, "broke off"),
    (Reply(late_error="overloaded_error"), Unavailable, "overloaded"),
    (Reply(late_error="rate_limit_error"), LimitExceeded, "rate limit"),
]


@BOTH
@pytest.mark.parametrize(("reply", "leaf", "words"), FAULTS)
def test_what_goes_wrong_at_the_provider_is_one_of_our_errors(
    run: Run,
    models: Models,
    provider: ProviderServer,
    model: str,
    reply: Reply,
    leaf: type[PondflightError],
    words: str,
) -> None:
    provider.answers = [reply]
    with pytest.raises(leaf) as caught:
        run(ask(models, model))
    assert words in str(caught.value)
    assert KEY not in str(caught.value)
    assert provider.url not in str(caught.value)
    assert type(caught.value) is leaf


@BOTH
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_takes_neither_key_nor_question_elsewhere(
    run: Run, models: Models, provider: ProviderServer, model: str, status: int
) -> None:
    elsewhere = ProviderServer()
    provider.answers = [Reply(status=status, headers={"location": f"{elsewhere.url}/v1/messages"})]
    with pytest.raises(Unavailable):
        run(ask(models, model))
    assert (len(provider.requests), elsewhere.requests) == (1, [])
    elsewhere.shutdown()
    elsewhere.server_close()


@BOTH
def test_the_providers_wait_is_passed_on(
    run: Run, models: Models, provider: ProviderServer, model: str
) -> None:
    provider.answers = [Reply(status=429, headers={"retry-after": "17"})]
    with pytest.raises(LimitExceeded) as caught:
        run(ask(models, model))
    assert caught.value.retry_after == 17
    assert len(provider.requests) == 1  # the caller decides whether to try again


@BOTH
def test_a_slow_first_byte_is_a_timeout(
    run: Run, models: Models, provider: ProviderServer, model: str
) -> None:
    provider.answers = [Reply(delay=1.0)]
    settings = replace(models.settings, timeout=0.2)
    with pytest.raises(DeadlineExceeded, match=r"ai\.timeout"):
        run(ask(Models(settings), model))


@BOTH
def test_nobody_there_is_unavailable(
    run: Run, models: Models, provider: ProviderServer, model: str
) -> None:
    provider.close()
    with pytest.raises(Unavailable, match="cannot be reached"):
        run(ask(models, model))


@BOTH
def test_closing_an_answer_hangs_up_on_the_provider(
    run: Run, models: Models, provider: ProviderServer, model: str
) -> None:
    provider.answers = [Reply(pause=0.02, pieces=1000, text="x" * 1000)]

    async def close_early() -> None:
        answer = await models.provider(model).ask(question(model))
        assert isinstance(await anext(aiter(answer)), Text)
        await answer.close()

    run(close_early())
    wait_until(lambda: provider.broken_off == 1)


@BOTH
def test_without_a_key_the_setting_is_named(run: Run, models: Models, model: str) -> None:
    settings = replace(
        models.settings,
        claude=ProviderSettings(None),
        openai=ProviderSettings(None),
    )
    with pytest.raises(Unavailable, match=r"ai\.(claude|openai)_api_key \((CLAUDE|OPENAI)_API_KEY"):
        Models(settings).provider(model)
    assert Models(settings).configured == {"claude": False, "openai": False}
    assert not Models(settings).ready
    assert run(Models(settings).names()) == []


def test_embeddings_keep_the_order_of_their_inputs(run: Run, models: Models) -> None:
    embed = models.provider("text-embedding-3-small").embed
    found = run(embed(["a", "b"], "text-embedding-3-small", 2))
    assert found.vectors == ((0.0, 0.0), (1.0, 1.0))
    assert found.usage == Usage(7, 0)
    with pytest.raises(InvalidArgument, match="no embeddings"):
        run(models.provider("claude-test").embed(["a"], "claude-test", None))


def test_models_of_both_providers_are_listed_the_default_first(
    run: Run, models: Models, provider: ProviderServer
) -> None:
    names = [("claude-test", "claude"), ("claude-other", "claude"), ("gpt-test", "openai")]
    assert run(models.names()) == names
    provider.close()
    assert run(models.names()) == names  # remembered
    fresh = Models(replace(models.settings, timeout=0.5))
    assert run(fresh.names()) == [("claude-test", "claude")]


def test_a_piece_is_passed_on_as_it_comes(
    run: Run, models: Models, provider: ProviderServer
) -> None:
    provider.answers = [Reply(pause=0.1)]

    async def read_one() -> None:
        answer = await models.provider("claude-test").ask(question("claude-test"))
        assert isinstance(await anext(aiter(answer)), Text)
        # Between the event's sending and now there is no other event.
        assert len(provider.sent_at) <= 4 or time.monotonic() - provider.sent_at[3] < 0.1
        await answer.close()

    run(read_one())


def test_settings_do_not_show_keys(models: Models) -> None:
    assert KEY not in repr(models.settings)
