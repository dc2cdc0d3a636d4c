"""``pondflight workers`` against a proxy with subprocesses for workers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from pondflight import cli
from pondflight.ops.workers import _clipped, _printable, _span
from tests.proxy.conftest import Deployment
from tests.waiting import wait_until


@pytest.fixture(name="deployment")
def fixture_deployment() -> Iterator[Deployment]:
    deployment = Deployment(health_interval=0.3)
    yield deployment
    deployment.close()


def workers(deployment: Deployment, *arguments: str, **environ: str) -> Result:
    variables = {"PONDFLIGHT_URL": deployment.uri, "JWT_SECRET": deployment.secret} | environ
    return CliRunner().invoke(cli.main, ["workers", *arguments], env=variables)


def test_list_show_and_stop(deployment: Deployment) -> None:
    deployment.client("Zoë").rows("SELECT 1")
    wait_until(lambda: deployment.pool.workers()[0].memory is not None)
    listed = workers(deployment, "list")
    assert listed.exit_code == 0, listed.output
    assert listed.stdout.splitlines()[1].split()[1:3] == ["Zoë", "idle"]
    (worker,) = json.loads(workers(deployment, "list", "--json").stdout)
    assert worker["user"] == "Zoë"
    shown = workers(deployment, "show", worker["id"])
    assert "user:      Zoë" in shown.stdout
    assert json.loads(workers(deployment, "show", "Zoë", "--json").stdout)["worker"]["id"]
    assert workers(deployment, "stop", "Zoë").stdout == f"stopping {worker['id']} of Zoë\n"
    wait_until(lambda: deployment.pool.workers() == [])
    assert len(workers(deployment, "list").stdout.splitlines()) == 1


def test_mistakes_are_told_in_a_sentence(deployment: Deployment) -> None:
    missing = workers(deployment, "show", "nobody")
    assert missing.exit_code == 1
    assert missing.stderr == "error: there is no such worker: `pondflight workers list` has all\n"
    user = workers(deployment, "list", "--token", deployment.token("ann"))
    assert (user.exit_code, "for administrators" in user.stderr) == (1, True)
    wrong = workers(deployment, "list", JWT_SECRET="Vq9x2mKzR7tYp4WnB8cLd3HfJ6gSa5eU")
    assert (wrong.exit_code, "authentication failed" in wrong.stderr) == (1, True)
    nothing = workers(deployment, "list", JWT_SECRET="", PONDFLIGHT_TOKEN="")
    assert nothing.exit_code == 2
    away = workers(deployment, "list", "--url", "grpc://127.0.0.1:1")
    assert away.stderr == (
        "error: nothing answers at grpc://127.0.0.1:1: is pondflight running there?\n"
    )


def test_only_administrators_reach_the_pool_and_bad_bodies_are_refused(
    deployment: Deployment,
) -> None:
    admin = deployment.client("root")
    admin.headers[0] = (
        b"authorization",
        f"Bearer {deployment.token('root', admin=True)}".encode(),
    )
    user = deployment.client("ann")
    for kind, body in (
        ("pondflight.workers", b""),
        ("pondflight.worker", b"ann"),
        ("pondflight.stop_worker", b'{"worker": "ann"}'),
        ("pondflight.pool_status", b""),
    ):
        with pytest.raises(Exception, match="for administrators"):
            user.act(kind, body)
    for body in (b"", b"[]", b"null", b'{"worker": 1}', b'{"worker": "a", "force": "x"}', b"\xff"):
        with pytest.raises(Exception, match="the body is not"):
            admin.act("pondflight.stop_worker", body)
    with pytest.raises(Exception, match="not text"):
        admin.act("pondflight.worker", b"\xff")
    (status,) = admin.act("pondflight.pool_status")
    told = json.loads(status)
    assert told["ready"] is True
    assert told["states"]["busy"] == 0
    assert set(told["stopped"]) >= {"idle_timeout", "crashed"}


def test_long_name_leaves_the_table_readable() -> None:
    assert _clipped("x" * 256) == "x" * 39 + "…"
    assert _clipped("x" * 40) == "x" * 40


def test_what_a_user_is_called_cannot_play_with_the_terminal() -> None:
    assert _printable("a\u202eb\u200fc") == "a\\u202eb\\u200fc"
    assert _printable("Zoë \U0001f426") == "Zoë \U0001f426"


def test_time_spans_are_short() -> None:
    spans = {0.4: "0s", 59: "59s", 61: "1m01s", 3661: "1h01m", 90_000: "1d01h"}
    assert {seconds: _span(seconds) for seconds in spans} == spans
