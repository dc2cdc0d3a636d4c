"""From the first statement to the removal: one proxy, its successor, and two side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from pyarrow import flight

from integration.docker.conftest import DockerDeployment, MakeDeployment
from integration.docker.engine import IMAGE, Engine
from pondflight.workers.pool import User
from pondflight.workers.states import Reason
from tests.waiting import wait_until

SECRET = "the secret that both proxies have, 32 characters and more"
ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"


def stopped(deployment: DockerDeployment, reason: Reason) -> int:
    count: int = deployment.pool.counts()["stopped"][reason]
    return count


def at_once(*actions: Callable[[], object]) -> list[object]:
    """Results of actions that run at the same time."""
    with ThreadPoolExecutor(len(actions)) as executor:
        return [future.result() for future in [executor.submit(action) for action in actions]]


def create_table(deployment: DockerDeployment, sub: str, number: int = 42) -> None:
    deployment.client(sub).rows(f"CREATE TABLE t AS SELECT {number} AS n")


def number(deployment: DockerDeployment, sub: str) -> int:
    ((found,),) = deployment.client(sub).rows("SELECT n FROM t")
    assert isinstance(found, int)
    return found


# one proxy


def test_a_hundred_callers_of_a_new_user_start_one_container(deploy: MakeDeployment) -> None:
    deployment = deploy()
    clients = [deployment.client("ann") for _ in range(100)]
    assert at_once(*(lambda c=c: c.rows("SELECT 42") for c in clients)) == [[(42,)]] * 100
    assert deployment.pool.stats()["total_spawned"] == 1
    assert len(deployment.containers()) == 1


def test_idle_worker_is_stopped_and_a_busy_one_is_not(deploy: MakeDeployment) -> None:
    deployment = deploy(idle_timeout=1.5)
    busy, idle = deployment.client("busy"), deployment.client("idle")
    at_once(lambda: busy.rows("SELECT 1"), lambda: idle.rows("SELECT 1"))
    busy_container = deployment.container("busy")

    def run() -> None:
        with pytest.raises(flight.FlightTimedOutError):
            busy.flight.do_get(busy.info(ENDLESS).endpoints[0].ticket, busy.options(6)).read_all()

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: len(deployment.containers()) == 1, 5)
    thread.join()
    assert deployment.container("busy") == busy_container
    assert stopped(deployment, Reason.IDLE_TIMEOUT) == 1
    wait_until(lambda: deployment.containers() == [], 10)
    assert idle.rows("SELECT 42") == [(42,)]


def test_over_the_limit_the_longest_idle_makes_room(deploy: MakeDeployment) -> None:
    deployment = deploy(max_workers=2)
    create_table(deployment, "ann", 1)
    create_table(deployment, "bob", 2)
    time.sleep(0.1)
    assert number(deployment, "ann") == 1  # bob is idle for longer
    create_table(deployment, "eve", 3)
    assert number(deployment, "ann") == 1
    assert stopped(deployment, Reason.EVICTED) == 1
    assert len(deployment.containers()) == 2
    with pytest.raises(flight.FlightUnavailableError, match="had to make room"):
        number(deployment, "bob")


def test_in_a_full_network_the_longest_idle_makes_room(
    deploy: MakeDeployment, engine: Engine
) -> None:
    engine.docker("network", "create", "--subnet", "10.219.7.0/29", "tiny")  # room for five
    try:
        deployment = deploy(max_workers=50, layout={"network": "tiny"})
        for n, user in enumerate(("ann", "bob", "eve", "dan", "joe", "kim", "lea")):
            create_table(deployment, user, n)
            time.sleep(1.1)
        assert stopped(deployment, Reason.EVICTED) == 2
        assert number(deployment, "lea") == 6
        with pytest.raises(flight.FlightUnavailableError, match="had to make room"):
            number(deployment, "ann")
    finally:
        for name in deployment.containers():
            engine.docker("rm", "--force", name)
        engine.docker("network", "rm", "tiny")


def test_many_users_share_few_places_in_turn(deploy: MakeDeployment) -> None:
    """Twelve at once where three may be: all are served, never more than three at a time."""
    deployment = deploy(max_workers=3, queue_timeout=60.0)
    most: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            most.append(len(deployment.engine.docker("ps", "--quiet").split()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    clients = [deployment.client(f"user{n}") for n in range(12)]
    try:
        assert at_once(*(lambda c=c: c.rows("SELECT 42") for c in clients)) == [[(42,)]] * 12
    finally:
        done.set()
        watcher.join()
    assert max(most) <= 3
    assert stopped(deployment, Reason.EVICTED) == 9


def test_when_all_are_busy_callers_wait_and_are_told_in_the_end(deploy: MakeDeployment) -> None:
    deployment = deploy(max_workers=1, queue_size=1, queue_timeout=4.0)
    busy = deployment.client("busy")
    reader = busy.reader("SELECT * FROM range(1000000000)")
    reader.read_chunk()
    first, second = deployment.client("first"), deployment.client("second")
    began = time.monotonic()

    def wait_in_line() -> str:
        with pytest.raises(flight.FlightUnavailableError) as caught:
            first.rows("SELECT 1")
        return str(caught.value)

    with ThreadPoolExecutor() as executor:
        waiting = executor.submit(wait_in_line)
        wait_until(lambda: deployment.pool.counts()["queued"] == 1)
        with pytest.raises(flight.FlightUnavailableError, match="1 users wait already"):
            second.rows("SELECT 1")
        assert time.monotonic() - began < 3
        assert "all 1 workers were busy for 4 s" in waiting.result()
    assert 3.5 < time.monotonic() - began < 8
    reader.read_chunk()  # the busy one was left alone
    with ThreadPoolExecutor() as executor:
        served = executor.submit(first.rows, "SELECT 42")
        wait_until(lambda: deployment.pool.counts()["queued"] == 1)
        reader.cancel()
        assert served.result(20) == [(42,)]


def test_worker_older_than_it_may_be_is_replaced_when_idle(deploy: MakeDeployment) -> None:
    deployment = deploy(max_lifetime=4.0, sweep_interval=0.5)
    create_table(deployment, "ann")
    first = deployment.container("ann")
    wait_until(lambda: not deployment.containers(), 15)
    assert stopped(deployment, Reason.MAX_LIFETIME) == 1
    with pytest.raises(flight.FlightUnavailableError, match="had run for so long"):
        number(deployment, "ann")
    assert deployment.client("ann").rows("SELECT 42") == [(42,)]
    assert deployment.container("ann") != first


# the proxy after it


def test_next_proxy_adopts_running_workers_with_their_data(deploy: MakeDeployment) -> None:
    before = deploy(secret=SECRET)
    for n, sub in enumerate(("ann", "bob")):
        create_table(before, sub, n)
    containers = {sub: before.container(sub) for sub in ("ann", "bob")}
    before.close()
    began = time.monotonic()
    after = deploy(secret=SECRET)
    assert after.pool.stats() == {"active": 2, "total_spawned": 0, "total_stopped": 0}
    assert [number(after, sub) for sub in ("ann", "bob")] == [0, 1]
    assert time.monotonic() - began < 5
    assert {sub: after.container(sub) for sub in containers} == containers
    assert {view.user for view in after.pool.workers()} == {"ann", "bob"}


def test_proxy_that_does_not_keep_workers_stops_them(deploy: MakeDeployment) -> None:
    deployment = deploy(keep_workers=False)
    deployment.client("ann").rows("SELECT 1")
    deployment.close()
    assert deployment.containers() == []


def test_dead_and_half_started_leftovers_are_removed_once_they_are_old(
    engine: Engine, deploy: MakeDeployment
) -> None:
    before = deploy(secret=SECRET)
    for sub in ("crashed", "alive"):
        create_table(before, sub)
    before.close()
    engine.docker("kill", before.container("crashed"))
    instance = before.pool.settings.instance
    labels = {"managed": "true", "instance": instance, "generation": "1" * 16, "created": "1.0"}

    def create(name: str, verb: str = "create", **changed: str) -> None:
        flags = [f"--label=pondflight.{k}={v}" for k, v in (labels | changed).items()]
        engine.docker(verb, *flags, "--name", name, "--entrypoint", "sleep", IMAGE, "1000")

    young = f"{time.time():.3f}"
    create(f"pondflight-{instance}-{'a' * 32}")
    create(f"pondflight-{instance}-{'b' * 32}", generation="2" * 16, created=young)
    create("somebody-elses", instance="ba9876543210")
    after = deploy(secret=SECRET, start_timeout=1.0)
    time.sleep(1.1)  # the crashed one is old by then
    after.pool.sweep()
    left = engine.docker("ps", "--all", "--format", "{{.Names}}").split()
    assert f"pondflight-{instance}-{'a' * 32}" not in left
    assert after.pool.key_of("crashed") not in "".join(left)
    assert after.pool.key_of("alive") in "".join(left)
    assert "somebody-elses" in left
    assert stopped(after, Reason.LEFTOVER) >= 2


def test_container_younger_than_the_start_timeout_is_never_removed(
    engine: Engine, deploy: MakeDeployment
) -> None:
    deployment = deploy(start_timeout=30.0)
    instance = deployment.pool.settings.instance
    name = f"pondflight-{instance}-{'c' * 32}"
    labels = {
        "managed": "true",
        "instance": instance,
        "generation": "3" * 16,
        "created": f"{time.time():.3f}",
    }
    flags = [f"--label=pondflight.{key}={value}" for key, value in labels.items()]
    engine.docker("create", *flags, "--name", name, "--entrypoint", "sleep", IMAGE, "1000")
    for _ in range(3):
        deployment.pool.sweep()
    engine.docker("start", name)
    for _ in range(3):
        deployment.pool.sweep()
    assert deployment.containers() == [name]


def test_workers_with_other_settings_are_served_until_idle_then_replaced(
    deploy: MakeDeployment,
) -> None:
    before = deploy(secret=SECRET, spec_hash="old")
    for sub in ("ann", "bob"):
        create_table(before, sub)
    containers = {sub: before.container(sub) for sub in ("ann", "bob")}
    before.close()
    after = deploy(secret=SECRET, spec_hash="new", idle_timeout=3.0)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:  # ann goes on, bob does not
        assert number(after, "ann") == 42
        time.sleep(0.2)
    assert after.container("ann") == containers["ann"]
    assert stopped(after, Reason.OUTDATED) == 1
    assert after.client("bob").rows("SELECT 42") == [(42,)]
    assert after.container("bob") != containers["bob"]
    label = '{{index .Config.Labels "pondflight.spec"}}'
    assert after.inspect(after.container("bob"), label) == "new"


# two proxies


def test_two_proxies_share_one_worker_of_a_user(deploy: MakeDeployment) -> None:
    one, two = deploy(secret=SECRET), deploy(secret=SECRET)
    subs = [f"user{n}" for n in range(6)]
    actions = [lambda d=d, s=s: d.client(s).rows("SELECT 42") for s in subs for d in (one, two)]
    assert at_once(*actions) == [[(42,)]] * 12
    assert len(one.containers()) == 6
    for n, sub in enumerate(subs):
        create_table(one, sub, n)
    assert [number(two, sub) for sub in subs] == list(range(6))


def test_worker_that_another_proxy_uses_is_not_idle(deploy: MakeDeployment) -> None:
    one = deploy(secret=SECRET, idle_timeout=2.0)
    two = deploy(secret=SECRET, idle_timeout=300.0)
    create_table(one, "ann")
    deadline = time.monotonic() + 6
    while time.monotonic() < deadline:
        assert number(two, "ann") == 42
        time.sleep(0.3)
    assert stopped(one, Reason.IDLE_TIMEOUT) == 0
    reader = two.client("ann").reader("SELECT * FROM range(1000000000)")
    reader.read_chunk()
    time.sleep(4)
    reader.read_chunk()
    reader.cancel()
    wait_until(lambda: one.containers() == [], 10)
    assert stopped(one, Reason.IDLE_TIMEOUT) == 1
    two.pool.sweep()
    wait_until(lambda: stopped(two, Reason.REMOVED) == 1)


def test_two_proxies_together_keep_to_the_limit(deploy: MakeDeployment) -> None:
    settings = {"secret": SECRET, "max_workers": 3, "queue_timeout": 60.0}
    one, two = deploy(**settings), deploy(**settings)
    most: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            most.append(len(one.engine.docker("ps", "--quiet").split()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    actions = [
        lambda d=d, n=n: d.client(f"user{n}").rows("SELECT 42")
        for n, d in enumerate([one, two] * 4)
    ]
    try:
        assert at_once(*actions) == [[(42,)]] * 8
    finally:
        done.set()
        watcher.join()
    assert max(most) <= 3


def test_deployments_with_other_secrets_leave_each_other_alone(deploy: MakeDeployment) -> None:
    one, two = deploy(), deploy(idle_timeout=1.0)
    create_table(one, "ann", 1)
    create_table(two, "ann", 2)
    assert number(one, "ann") == 1
    wait_until(lambda: two.containers() == [], 10)
    two.pool.sweep()
    assert number(one, "ann") == 1
    assert [view.user for view in one.pool.workers()] == ["ann"]


# warm workers


def spares(deployment: DockerDeployment) -> list[str]:
    return [name for name in deployment.containers() if "-spare-" in name]


def warm_ids(deployment: DockerDeployment) -> set[str]:
    with deployment.pool._roster.changed:
        return {spare.handle.id for spare in deployment.pool._roster.spares if spare.started}


def test_warm_worker_is_claimed_by_renaming_and_then_replaced(deploy: MakeDeployment) -> None:
    deployment = deploy(warm=2, idle_timeout=3.0)
    wait_until(lambda: len(warm_ids(deployment)) == 2, 20)
    before = warm_ids(deployment)
    create_table(deployment, "ann")
    container = deployment.container("ann")
    assert container in before
    assert deployment.inspect(container, '{{index .Config.Labels "pondflight.user"}}') == ""
    wait_until(lambda: len(warm_ids(deployment)) == 2, 20)
    assert container not in warm_ids(deployment)
    # Once it is idle it goes; it is never handed to another.
    wait_until(lambda: stopped(deployment, Reason.IDLE_TIMEOUT) == 1, 20)
    for sub in ("bob", "eve"):
        deployment.client(sub).rows("SELECT 1")
        assert deployment.container(sub) != container


def test_two_proxies_never_give_one_warm_worker_to_two_users(deploy: MakeDeployment) -> None:
    one = deploy(secret=SECRET, warm=2)
    wait_until(lambda: len(warm_ids(one)) == 2, 20)
    two = deploy(secret=SECRET, warm=2)
    assert warm_ids(two) == warm_ids(one)
    subs = [f"user{n}" for n in range(6)]
    at_once(
        *(
            lambda d=d, n=n, s=s: create_table(d, s, n)
            for (n, s), d in zip(enumerate(subs), [one, two] * 3, strict=True)
        )
    )
    assert len({one.container(sub) for sub in subs}) == 6
    assert [number(two, sub) for sub in subs] == list(range(6))
    assert [number(one, sub) for sub in subs] == list(range(6))


def test_warm_worker_that_one_proxy_has_claimed_is_its_users_for_the_other_too(
    deploy: MakeDeployment,
) -> None:
    one = deploy(secret=SECRET, warm=1)
    wait_until(lambda: len(warm_ids(one)) == 1, 20)
    two = deploy(secret=SECRET, warm=1, max_lifetime=60.0)
    create_table(one, "ann")
    create_table(one, "bob")
    container = one.container("ann")
    assert number(two, "ann") == 42  # through the other, before any sweep

    def settled() -> bool:
        for deployment in (one, two):
            deployment.pool.sweep()
        return len(spares(one)) == 1 and warm_ids(one) == warm_ids(two)

    wait_until(settled, 30)
    assert [number(d, sub) for d in (one, two) for sub in ("ann", "bob")] == [42] * 4
    assert one.container("ann") == container


def test_next_proxy_adopts_warm_workers_and_ends_those_too_many(deploy: MakeDeployment) -> None:
    before = deploy(secret=SECRET, warm=3)
    wait_until(lambda: len(warm_ids(before)) == 3, 30)
    known = warm_ids(before)
    before.close()
    after = deploy(secret=SECRET, warm=1)
    wait_until(lambda: len(spares(after)) == 1, 10)
    assert warm_ids(after) <= known
    assert stopped(after, Reason.SURPLUS) == 2
    lease = after.pool.lease(User("ann"), lambda: None)
    lease.release()
    assert lease.worker.handle.id in known
