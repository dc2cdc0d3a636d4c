"""A day of a deployment behind Caddy: three databases, many clients, faults, exact results."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest
from adbc_driver_manager import Error, OperationalError

from integration.bundle import servers
from integration.bundle.clients import connect, headers, pyarrow_client, query, read
from integration.bundle.conftest import IN_ENGINE, Start
from integration.bundle.front import Caddy, Front
from integration.conftest import Deploy
from integration.deployment import Deployment
from integration.tools import require, run
from tests.serve.test_serve import family
from tests.waiting import wait_until

BACKEND = "docker" if IN_ENGINE else "process"
HOST = "172.17.0.1" if IN_ENGINE else "127.0.0.1"
"""Where workers find the databases: containers, on the bridge that Docker has by default."""

ENGINE = {"docker_host": os.environ["DOCKER_HOST"]} if IN_ENGINE else {}

JDBC = ("org.apache.arrow", "flight-sql-jdbc-driver", "18.3.0")
JOIN = """
SELECT countries.name, count(*) AS orders, sum(amount) AS total
FROM shop.public.orders
JOIN crm.customers ON customers.id = orders.customer_id
JOIN geo.countries ON countries.code = customers.country
GROUP BY ALL ORDER BY ALL
"""


@pytest.fixture(scope="module", name="databases")
def fixture_databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        yield {
            "shop": stack.enter_context(
                servers.postgres(tmp_path_factory.mktemp("postgres"), HOST)
            ),
            "crm": stack.enter_context(servers.mariadb(tmp_path_factory.mktemp("mariadb"), HOST)),
            "geo": servers.sqlite(tmp_path_factory.mktemp("sqlite")),
        }


@pytest.fixture(scope="module", name="deployment")
def fixture_deployment(deploy: Deploy, databases: dict[str, str]) -> Deployment:
    kinds = {"shop": "postgres", "crm": "mysql", "geo": "sqlite"}
    return deploy(
        {
            "server": {"trusted_proxies": ["127.0.0.1"]},
            "workers": {"backend": BACKEND},
            "containers": {"idle_timeout": "6s", "memory_limit": "2g", **ENGINE},
            "security": {"rate_limit": {"requests_per_minute": 100000, "burst_size": 100000}},
            "duckdb": {
                "attached_databases": [
                    {"alias": alias, "type": kinds[alias], "connection_string": text}
                    for alias, text in databases.items()
                ]
            },
        }
    )


@pytest.fixture(scope="module", name="front")
def fixture_front(start: Start, deployment: Deployment) -> Front:
    return start(Caddy, deployment)


def expected() -> list[tuple[str, int, int]]:
    """Return the join, computed here: name, orders, and the sum of the amounts in cents."""
    names = {"AT": "Austria", "DE": "Germany", "FI": "Finland", "NL": "Netherlands", "SE": "Sweden"}
    codes = ["AT", "DE", "FI", "NL", "SE"]
    found: dict[str, tuple[int, int]] = {}
    for n in range(1, 20001):
        customer = n % 500 + 1
        cents = round((5 + n % 97 * 1.25) * 100)
        name = names[codes[customer % 5]]
        orders, total = found.get(name, (0, 0))
        found[name] = (orders + 1, total + cents)
    return [(name, *figures) for name, figures in sorted(found.items())]


def test_a_join_across_three_databases(front: Front) -> None:
    rows = [(name, orders, round(total * 100)) for name, orders, total in query(front, JOIN)]
    assert rows == expected()


def test_jdbc_with_encryption(front: Front, tmp_path: Path) -> None:
    mvn = require("mvn", "apt-get install maven")
    java = require("java", "apt-get install default-jdk-headless")
    artifact = ":".join(JDBC)
    get = ("-B", "-q", "org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy")
    run(mvn, *get, f"-Dartifact={artifact}", f"-DoutputDirectory={tmp_path}", cwd=tmp_path)
    (jar,) = tmp_path.glob("*.jar")
    options = (
        f"?useEncryption=true&tlsRootCerts={quote(str(front.authority.cert), safe='/')}"
        f"&token={front.deployment.token('ada')}"
    )
    output = run(
        java,
        *("--add-opens=java.base/java.nio=ALL-UNNAMED", "-cp", str(jar)),
        str(Path(__file__).parent / "jdbc" / "Query.java"),
        f"jdbc:arrow-flight-sql://localhost:{front.port}/{options}",
        f"SELECT name || ' ' || orders FROM ({JOIN})",
        cwd=tmp_path,
        seconds=110,
    )
    assert output.splitlines()[-5:] == [f"{name} {orders}" for name, orders, _ in expected()]


def test_a_result_of_a_gigabyte(front: Front) -> None:
    rows = 34_000_000
    with pyarrow_client(front) as client:
        stream = read(
            client,
            f"SELECT i AS a, i + 1 AS b, i * 2 AS c, -i AS d FROM range({rows}) t(i)",
            headers(front),
        )
        size = count = total = 0
        for chunk in stream:
            batch = chunk.data
            size += batch.nbytes
            count += batch.num_rows
            total += pa.compute.sum(batch["a"]).as_py() + pa.compute.sum(batch["d"]).as_py()
    assert count == rows
    assert size >= 1 << 30
    assert total == 0


def test_a_hundred_clients_at_once(front: Front) -> None:
    def one(number: int) -> int:
        sub = f"user-{number % 4}"
        return int(query(front, f"SELECT sum(i) + {number} FROM range(10000) t(i)", sub)[0][0])

    with ThreadPoolExecutor(100) as threads:
        assert list(threads.map(one, range(100))) == [49_995_000 + n for n in range(100)]


def test_an_ingest_of_five_million_rows(front: Front) -> None:
    step, steps = 100_000, 50
    schema = pa.schema([("n", pa.int64()), ("text", pa.string())])

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(steps):
            numbers = pa.array(range(number * step, (number + 1) * step), pa.int64())
            yield pa.record_batch([numbers, numbers.cast(pa.string())], schema=schema)

    with connect(front, "loader") as connection, connection.cursor() as cursor:
        reader = pa.RecordBatchReader.from_batches(schema, batches())
        assert cursor.adbc_ingest("loaded", reader, mode="create") == step * steps
        connection.commit()
        cursor.execute("SELECT count(*), sum(n), count(DISTINCT text) FROM loaded")
        total = step * steps * (step * steps - 1) // 2
        assert cursor.fetchall() == [(step * steps, total, step * steps)]


def test_a_cancelled_query_leaves_the_connection_usable(front: Front) -> None:
    with connect(front, autocommit=True) as connection, connection.cursor() as cursor:
        threading.Timer(1, cursor.adbc_cancel).start()
        with pytest.raises(OperationalError):
            cursor.execute("SELECT count(*) FROM range(1000000000000) a(i) WHERE i % 7 = 3")
            cursor.fetchall()
        cursor.execute("SELECT 42")
        assert cursor.fetchall() == [(42,)]


def test_an_idle_worker_stops_and_comes_back(front: Front, deployment: Deployment) -> None:
    assert query(front, "SELECT 42", "idler") == [(42,)]
    stopped = 'msg="Container stopped" user_id=idler reason=idle_timeout'
    wait_until(lambda: stopped in deployment.log(), 60)
    assert query(front, "SELECT 42", "idler") == [(42,)]


def test_a_killed_worker_is_an_error_and_then_a_new_one(
    front: Front, deployment: Deployment
) -> None:
    with connect(front, "victim", autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 42")
        cursor.fetchall()
        spawned = 'msg="Container spawned" user_id=victim container_id='
        worker = deployment.log().rpartition(spawned)[2].split()[0]
        cursor.execute("SELECT i FROM range(100000000) t(i)")
        reader = cursor.fetch_record_batch()
        reader.read_next_batch()
        if IN_ENGINE:
            subprocess.run(["/usr/bin/docker", "kill", worker], check=True)
        else:
            os.kill(int(worker), signal.SIGKILL)
        started = time.monotonic()
        with pytest.raises(Exception, match="worker ended"):
            for _ in reader:
                pass
        assert time.monotonic() - started < 30
    assert query(front, "SELECT 42", "victim") == [(42,)]
    assert query(front, "SELECT 42", "bystander") == [(42,)]


def test_a_restarted_proxy(front: Front, deployment: Deployment) -> None:
    with connect(front, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 42")
        assert cursor.fetchall() == [(42,)]
        process = deployment.process
        assert process is not None
        left = family(process.pid)
        assert deployment.stop() == 0
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), 10)
        with pytest.raises(Error, match="pondflight cannot be reached"):
            cursor.execute("SELECT 42")
        starter = threading.Timer(0.5, deployment.start)
        starter.start()
        deadline = time.monotonic() + 60
        while True:
            try:
                cursor.execute("SELECT 42")
                assert cursor.fetchall() == [(42,)]
                break
            except Error:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        starter.join()
    assert [row[:2] for row in query(front, JOIN)] == [row[:2] for row in expected()]


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    analyze = require("systemd-analyze", "apt-get install systemd")
    units = Path(__file__).parents[2] / "deploy" / "systemd"
    for unit in units.glob("*.service"):
        # Programs that are there, so that only what the units say is judged.
        text = unit.read_text().replace("/opt/pondflight/bin/pondflight", "/bin/true")
        (tmp_path / unit.name).write_text(text.replace("/opt/pondflight/bin/caddy", "/bin/true"))
    done = subprocess.run(
        [analyze, "verify", *map(str, tmp_path.glob("*.service"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
