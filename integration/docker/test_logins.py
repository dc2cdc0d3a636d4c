"""Images of others: a Basic login once, then its Bearer token, and databases attached in SQL."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from integration.docker.conftest import DockerDeployment, Log, MakeDeployment
from integration.docker.engine import IMAGE, ROOT, Engine
from pondflight import control
from pondflight.workers.engines import GIZMOSQL, SQLFLITE, LoginEngine
from pondflight.workers.states import Reason
from tests.waiting import wait_until

STANDIN = "pondflight-standin"
SHOP = {
    "alias": "shop",
    "type": "sqlite",
    "connection_string": "/data/shop.db",
    "read_only": True,
}
SECRET = "the secret that both proxies have, 32 characters and more"


@pytest.fixture(name="standin", scope="module", autouse=True)
def fixture_standin(engine: Engine) -> None:
    folder = ROOT / "integration" / "docker" / "standin"
    engine.docker(
        *("build", "--build-arg", f"IMAGE={IMAGE}", "--tag", STANDIN, str(folder)),
        DOCKER_BUILDKIT="1",
    )


def with_engine(
    deploy: MakeDeployment, engine: LoginEngine, *databases: dict[str, Any], **settings: Any
) -> DockerDeployment:
    return deploy(
        engine=engine,
        layout={"image": STANDIN, "engine": engine},
        configuration=lambda _: {"databases": list(databases or (SHOP,))},
        **settings,
    )


@pytest.mark.parametrize("kind", [GIZMOSQL, SQLFLITE], ids=lambda kind: kind.name)
def test_worker_of_another_make_serves_its_user(deploy: MakeDeployment, kind: LoginEngine) -> None:
    deployment = with_engine(deploy, kind)
    with deployment.connect("ann", autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t AS SELECT * FROM shop.items")
        cursor.execute("SELECT sum(price) FROM t WHERE price > ?", (1,))
        assert cursor.fetchall() == [(8,)]
        assert connection.adbc_get_objects(depth="tables").read_all().num_rows
    # SQL text in place of a command is turned into one on the way.
    client = deployment.client("ann")
    assert client.rows("SELECT count(*) FROM t") == [(2,)]
    assert client.schema("SELECT 1 AS a").names == ["a"]
    with pytest.raises(Exception, match="does not exist"):
        deployment.client("bob").rows("SELECT * FROM t")


def test_sql_that_may_only_be_a_query_is_refused_since_nobody_would_check(
    deploy: MakeDeployment,
) -> None:
    deployment = with_engine(deploy, GIZMOSQL)
    deployment.client("ann").info("CREATE TABLE t AS SELECT 42 AS n")
    careful = deployment.client("ann", **{control.QUERY_HEADER: "1"})
    for sql in ("DROP TABLE t", "SELECT 1"):
        with pytest.raises(Exception, match="pondflight's own image only"):
            careful.rows(sql)
    assert deployment.client("ann").rows("SELECT n FROM t") == [(42,)]


def test_environment_is_what_these_images_go_by(deploy: MakeDeployment) -> None:
    deployment = with_engine(deploy, GIZMOSQL)
    deployment.client("ann").rows("SELECT 'a secret of mine'")
    container = deployment.container("ann")
    environment = deployment.inspect(container, '{{join .Config.Env "\\n"}}').splitlines()
    variables = dict(line.split("=", 1) for line in environment)
    assert variables["GIZMOSQL_USERNAME"] == "pondflight"
    assert len(variables["GIZMOSQL_PASSWORD"]) == 64
    assert variables["GIZMOSQL_PASSWORD"] != deployment.secret
    assert variables["TLS_ENABLED"] == variables["PRINT_QUERIES"] == "0"
    assert variables["DATABASE_BACKEND"] == "duckdb"
    assert "INIT_SQL_COMMANDS" not in variables
    assert deployment.inspect(container, "{{.HostConfig.ReadonlyRootfs}}") == "true"
    (handle,) = deployment.backend.list_workers()
    assert "a secret of mine" not in "".join(deployment.backend.logs(handle))


def test_proxy_logs_in_once_and_the_next_proxy_once_more(deploy: MakeDeployment) -> None:
    before = with_engine(deploy, GIZMOSQL, secret=SECRET)
    client = before.client("ann")
    client.info("CREATE TABLE t AS SELECT 42 AS n")
    for _ in range(5):
        client.rows("SELECT 1")
    (handle,) = before.backend.list_workers()
    logins = [line for line in before.backend.logs(handle) if line.startswith("login")]
    assert logins == ["login 1"]
    before.close()
    after = with_engine(deploy, GIZMOSQL, secret=SECRET)
    assert after.client("ann").rows("SELECT n FROM t") == [(42,)]
    assert after.client("ann").rows("SELECT count(*) FROM shop.items") == [(2,)]
    logins = [line for line in after.backend.logs(handle) if line.startswith("login")]
    assert logins == ["login 1", "login 2"]


def test_worker_that_somebody_restarts_has_its_databases_again(deploy: MakeDeployment) -> None:
    deployment = with_engine(deploy, GIZMOSQL, health_interval=0.5)
    client = deployment.client("ann")
    client.rows("SELECT 1")
    deployment.engine.docker("restart", "--time", "0", deployment.container("ann"))

    def has_its_databases() -> bool:
        try:
            return client.rows("SELECT count(*) FROM shop.items") == [(2,)]
        except (pa.ArrowException, flight.FlightError):
            return False

    wait_until(has_its_databases, 20)


def test_database_that_cannot_be_attached_tells_no_password(
    deploy: MakeDeployment, log: Log
) -> None:
    password = "the-password-of-the-database"
    far = {
        "alias": "far",
        "type": "postgres",
        "connection_string": f"postgresql://u:{password}@127.0.0.1:1/d?sslmode=disable",
        "read_only": True,
    }
    deployment = with_engine(deploy, GIZMOSQL, SHOP, far)
    with pytest.raises(flight.FlightUnavailableError, match="'far' cannot be attached") as caught:
        deployment.client("ann").rows("SELECT 1")
    assert password not in str(caught.value)
    assert password not in log()
    assert deployment.containers() == []


def test_idle_and_crashed_ones_go_like_ours(deploy: MakeDeployment) -> None:
    deployment = with_engine(deploy, GIZMOSQL, idle_timeout=2.0)
    client = deployment.client("ann")
    client.rows("SELECT 1")
    wait_until(lambda: deployment.containers() == [], 10)
    assert deployment.pool.counts()["stopped"][Reason.IDLE_TIMEOUT] == 1
    client.rows("SELECT 1")
    deployment.engine.docker("kill", deployment.container("ann"))
    assert client.rows("SELECT 42") == [(42,)]
