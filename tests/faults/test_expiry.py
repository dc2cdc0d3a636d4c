"""Tokens and tickets of which the time is over: before a call, and while rows are on their way."""

from __future__ import annotations

import os
import signal
import time

import jwt
import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight.auth.tokens import LEEWAY
from tests.flight import Client
from tests.proxy.conftest import MakeDeployment
from tests.waiting import wait_until


def test_a_stream_outlives_its_token_and_the_next_call_is_refused(
    make_deployment: MakeDeployment, user: str
) -> None:
    deployment = make_deployment()
    deployment.client(user).rows("SELECT 1")
    exp = time.time() - LEEWAY + 3  # over, but within the leeway
    client = Client(
        deployment.uri, jwt.encode({"sub": user, "exp": exp}, deployment.secret, "HS256")
    )
    reader = client.reader("SELECT * FROM range(5000000)")
    rows = reader.read_chunk().data.num_rows

    def refused() -> bool:
        try:
            client.info("SELECT 1")
        except flight.FlightUnauthenticatedError:
            return True
        return False

    wait_until(refused)
    assert time.time() >= exp + LEEWAY
    assert rows + sum(chunk.data.num_rows for chunk in reader) == 5_000_000
    client.close()


@pytest.mark.parametrize(("since", "accepted"), [(LEEWAY - 10, True), (LEEWAY + 1, False)])
def test_a_token_that_has_expired_is_accepted_for_the_leeway(
    make_deployment: MakeDeployment, user: str, since: int, accepted: bool
) -> None:
    deployment = make_deployment()
    token = jwt.encode({"sub": user, "exp": time.time() - since}, deployment.secret, "HS256")
    client = Client(deployment.uri, token)
    if accepted:
        assert client.rows("SELECT 1") == [(1,)]
    else:
        with pytest.raises(flight.FlightUnauthenticatedError, match="authentication failed"):
            client.info("SELECT 1")
    client.close()


def test_a_ticket_of_rows_that_went_with_their_worker_is_not_found(
    make_deployment: MakeDeployment, user: str
) -> None:
    deployment = make_deployment()
    client = deployment.client(user)
    client.rows("CREATE TABLE t (i INT)")
    ticket = client.info("INSERT INTO t VALUES (1) RETURNING i").endpoints[0].ticket
    (handle,) = deployment.backend.list_workers()
    os.kill(int(handle.id), signal.SIGKILL)
    refusals = []
    for _ in range(3):
        try:
            refusals.append(client.flight.do_get(ticket, client.options()).read_all())
        except (flight.FlightUnavailableError, pa.ArrowKeyError) as error:
            refusals.append(type(error).__name__)
    assert refusals[-2:] == ["ArrowKeyError", "ArrowKeyError"]  # the first is told of the worker
    assert client.rows("SELECT 42") == [(42,)]
