"""Several proxies of one deployment, without anything between them but the API server."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyarrow import flight

from integration.deployment import Deployment as Product
from integration.kubernetes.cluster import Cluster
from integration.kubernetes.conftest import KubernetesDeployment, MakeDeployment
from integration.kubernetes.node import Node
from pondflight.workers.kubernetes.backend import KubernetesBackend
from pondflight.workers.states import Reason
from tests.flight import Client
from tests.waiting import wait_until

SECRET = "the secret that all proxies have, 32 characters and more"
USERS = int(os.environ.get("PONDFLIGHT_USERS", "24"))
SLOW = "SELECT count(*) FROM range(3000000) a, range(300) b WHERE hash(a.range, b.range) = 3"


def pods(deployment: KubernetesDeployment) -> list[str]:
    """The pods of the deployment that have not ended."""
    return [handle.id for handle in deployment.backend.list_workers()]


def test_two_proxies_with_one_user_start_one_pod(deploy: MakeDeployment, node: Node) -> None:
    one, two = deploy(secret=SECRET), deploy(secret=SECRET)
    clients = [proxy.client("ann") for proxy in (one, two) for _ in range(3)]
    with ThreadPoolExecutor(6) as executor:
        results = list(executor.map(lambda client: client.rows("SELECT 42"), clients))
    assert results == [[(42,)]] * 6
    assert len(pods(one)) == 1
    assert node.stand_ins.started == 1


def test_a_users_tables_are_there_through_every_proxy(deploy: MakeDeployment) -> None:
    one, two = deploy(secret=SECRET), deploy(secret=SECRET)
    one.client("ann").rows("CREATE TABLE t AS SELECT 42 AS n")
    assert two.client("ann").rows("SELECT n FROM t") == [(42,)]
    one.close()
    three = deploy(secret=SECRET)
    assert three.client("ann").rows("SELECT n FROM t") == [(42,)]
    assert len(pods(three)) == 1


def test_no_proxy_ends_what_another_one_uses(deploy: MakeDeployment) -> None:
    hasty = {"idle_timeout": 0.5, "health_interval": 60.0, "sweep_interval": 60.0}
    one, two = deploy(secret=SECRET, **hasty), deploy(secret=SECRET, **hasty)
    client = one.client("ann")
    client.rows("SELECT 1")
    two.pool.sweep()
    assert {view.key for view in two.pool.workers()} == {one.pool.key_of("ann")}
    before = pods(one)
    with ThreadPoolExecutor(1) as executor:
        answer = executor.submit(client.rows, SLOW)
        time.sleep(0.6)
        for _ in range(5):
            two.pool.sweep()
            time.sleep(0.2)
        assert answer.result(60)
    assert pods(one) == before
    time.sleep(0.7)
    two.pool.sweep()  # now it is idle, whoever asks
    wait_until(lambda: not pods(two))
    stopped = [proxy.pool.counts()["stopped"] for proxy in (one, two)]
    assert sum(found[Reason.IDLE_TIMEOUT] for found in stopped) == 1
    assert client.rows("SELECT 1") == [(1,)]


def test_warm_pods_are_claimed_once_and_each_user_has_one(
    deploy: MakeDeployment, node: Node
) -> None:
    one, two = deploy(secret=SECRET, warm=2), deploy(secret=SECRET, warm=2)
    wait_until(lambda: len(pods(one)) >= 2, 30)
    users = [f"user-{number}" for number in range(5)]

    def visit(pair: tuple[KubernetesDeployment, str]) -> list[tuple[object, ...]]:
        proxy, user = pair
        return proxy.client(user).rows("SELECT 42")

    with ThreadPoolExecutor(10) as executor:
        visits = [(proxy, user) for user in users for proxy in (one, two)]
        assert list(executor.map(visit, visits)) == [[(42,)]] * len(visits)
    for user in users:  # what one proxy has made there, the other one finds
        one.client(user).rows(f"CREATE TABLE mine AS SELECT '{user}' AS n")
        assert two.client(user).rows("SELECT n FROM mine") == [(user,)]
    owners = Counter(h.user for h in one.backend.list_workers() if h.user)
    assert owners == Counter({one.pool.key_of(user): 1 for user in users})


@pytest.mark.parametrize("user", ["ann", "bob", "cid"])
def test_a_warm_pod_and_a_started_one_never_serve_one_user_both(
    deploy: MakeDeployment, user: str
) -> None:
    """One proxy has a warm pod and claims it; the other has none, and starts one."""
    one = deploy(secret=SECRET, warm=1)
    wait_until(lambda: any(not h.user for h in one.backend.list_workers()), 30)
    two = deploy(secret=SECRET)
    clients = [one.client(user), two.client(user)]
    barrier = threading.Barrier(2)

    def ask(number: int) -> object:
        barrier.wait()
        return clients[number].rows("SELECT 42")

    with ThreadPoolExecutor(2) as executor:
        assert list(executor.map(ask, range(2))) == [[(42,)]] * 2
    key = one.pool.key_of(user)
    wait_until(lambda: sum(h.user == key for h in one.backend.list_workers()) == 1)
    for client in clients:
        assert client.rows("SELECT 43") == [(43,)]


def test_many_users_on_three_proxies(deploy: MakeDeployment, node: Node) -> None:
    proxies = [deploy(secret=SECRET) for _ in range(3)]

    def visit(number: int) -> list[tuple[object, ...]]:
        # Each through two proxies at once.
        clients = [proxies[(number + i) % 3].client(f"user-{number}") for i in range(2)]
        with ThreadPoolExecutor(2) as executor:
            return [
                row for rows in executor.map(lambda c: c.rows("SELECT 1"), clients) for row in rows
            ]

    with ThreadPoolExecutor(8) as executor:
        assert list(executor.map(visit, range(USERS))) == [[(1,), (1,)]] * USERS
    assert len(pods(proxies[0])) == USERS
    assert node.stand_ins.started == USERS


def test_a_statement_on_a_warm_worker_asks_nothing_of_the_api_server(
    deploy: MakeDeployment,
) -> None:
    deployment = deploy(sweep_interval=3600.0)
    client = deployment.client("ann")
    client.rows("SELECT 1")
    backend = deployment.backend
    assert isinstance(backend, KubernetesBackend)
    before = backend._api.calls
    for number in range(50):
        assert client.rows(f"SELECT {number}") == [(number,)]
    time.sleep(0.5)
    # The watch may have begun anew meanwhile; statements have asked for nothing.
    assert backend._api.calls - before <= 2


def product(
    cluster: Cluster, namespace: str, folder: Path, secret: str, *, kubeconfig: Path | None = None
) -> Product:
    """A ``pondflight serve`` as an operator starts it."""
    made = Product(
        folder,
        {
            "workers": {"backend": "kubernetes"},
            "containers": {"image": "pondflight:tests"},
            "kubernetes": {
                "kubeconfig": str(kubeconfig or cluster.kubeconfig),
                "namespace": namespace,
            },
        },
    )
    made.secret = secret
    made.tokens = type(made.tokens)(secret)
    return made


@pytest.mark.timeout(240)
def test_a_proxy_killed_under_load_leaves_its_users_to_the_others(
    cluster: Cluster, namespace: str, node: Node, tmp_path: Path
) -> None:
    secret = secrets.token_urlsafe(32)
    proxies = [product(cluster, namespace, tmp_path / name, secret) for name in ("one", "two")]
    one, two = proxies
    users = [f"user-{number}" for number in range(4)]

    def load(user: str) -> None:
        client = Client(one.flight_uri, one.token(user))
        try:
            client.rows(f"CREATE TABLE t AS SELECT '{user}' AS n")
            barrier.wait()
            client.rows(SLOW)
        finally:
            client.close()

    barrier = threading.Barrier(len(users) + 1)
    try:
        for proxy in proxies:
            proxy.start()
        with ThreadPoolExecutor(len(users)) as executor:
            lost = [executor.submit(load, user) for user in users]
            barrier.wait(60)
            time.sleep(0.5)
            one.stop(signal.SIGKILL)
            for future in lost:
                with pytest.raises(flight.FlightUnavailableError):
                    future.result(60)
        for user in users:
            client = Client(two.flight_uri, two.token(user))
            assert client.rows("SELECT n FROM t") == [(user,)]
            client.close()
        assert node.stand_ins.started == len(users)
    finally:
        for proxy in proxies:
            proxy.stop()
