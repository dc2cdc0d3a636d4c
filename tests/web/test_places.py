"""Who waits for a model has one of a bounded number of places, and gives it back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import falcon
import pytest
from falcon import testing

from pondflight.errors import InvalidArgument, Unavailable
from pondflight.web.ai.callers import Places


class Resource:
    def __init__(self, places: Places) -> None:
        self._places = places

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._places.enter(req)
        resp.media = {}

    def on_put(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._places.enter(req)
        raise InvalidArgument("no")

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._places.enter(req)
        resp.stream = Body(req.context.place)


class Body:
    def __init__(self, place: Any) -> None:
        self._place = place

    def __iter__(self) -> Iterator[bytes]:
        yield b"x"

    def close(self) -> None:
        self._place.leave()
        self._place.leave()  # once is enough


@pytest.fixture(name="client")
def fixture_client() -> testing.TestClient:
    places = Places(1)
    app = falcon.App(middleware=[places])
    app.add_route("/", Resource(places))
    app.add_error_handler(Unavailable, _unavailable)
    app.add_error_handler(InvalidArgument, _invalid)
    return testing.TestClient(app)


def _unavailable(_: Any, resp: falcon.Response, __: Any, ___: Any) -> None:
    resp.status = falcon.HTTP_503


def _invalid(_: Any, resp: falcon.Response, __: Any, ___: Any) -> None:
    resp.status = falcon.HTTP_400


def test_a_place_is_given_back_however_the_request_ends(client: testing.TestClient) -> None:
    for _ in range(2):
        assert client.simulate_get("/").status_code == 200
        assert client.simulate_put("/").status_code == 400
        assert client.simulate_post("/").status_code == 200


def test_where_all_places_are_taken_others_are_sent_away() -> None:
    places = Places(1)
    first = testing.create_req()
    places.enter(first)
    with pytest.raises(Unavailable, match="try again"):
        places.enter(testing.create_req())
    first.context.place.leave()
    places.enter(testing.create_req())
