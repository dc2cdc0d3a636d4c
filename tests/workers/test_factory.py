from __future__ import annotations

from pathlib import Path

import pytest

from pondflight.settings import Settings, load
from pondflight.workers.factory import create_backend, engine_of, pool_settings, spec_hash
from pondflight.workers.fly.backend import FlyBackend
from pondflight.workers.policy import User
from tests.workers.contract import make_spec

SECRET = "kW8rX2vN5qT9zL4mB7cJ1hG6fD3sA0pY"


def settings(tmp_path: Path, text: str = "") -> Settings:
    path = tmp_path / "config.yaml"
    path.write_text(text or "{}")
    return load(path, {})


DATABASE = "postgresql://u:PASSWORD@h/d"
ENTRY = (
    f"duckdb: {{attached_databases: [{{alias: a, type: postgres, connection_string: {DATABASE}}}]}}"
)


@pytest.mark.parametrize(
    "text",
    [
        "containers: {image: other:1}",
        "containers: {memory_limit: 1g}",
        "containers: {cpu_limit: 1}",
        "containers: {network: other}",
        "containers: {scratch_size: 32m}",
        "duckdb: {extensions: [json]}",
        ENTRY,
    ],
)
def test_what_a_worker_is_started_with_is_in_its_hash(tmp_path: Path, text: str) -> None:
    assert spec_hash(settings(tmp_path, text), SECRET) != spec_hash(settings(tmp_path), SECRET)


@pytest.mark.parametrize(
    "text",
    [
        "containers: {idle_timeout: 1h, max_per_host: 3, max_lifetime: 2h}",
        "containers: {docker_host: 'tcp://a:1'}",
        "workers: {warm: 3}",
        "server: {port: 1}",
    ],
)
def test_what_it_is_not_started_with_is_not(tmp_path: Path, text: str) -> None:
    assert spec_hash(settings(tmp_path, text), SECRET) == spec_hash(settings(tmp_path), SECRET)


def test_password_changes_the_hash_but_cannot_be_tried_out_without_the_secret(
    tmp_path: Path,
) -> None:
    one = settings(tmp_path, ENTRY)
    two = settings(tmp_path, ENTRY.replace("PASSWORD", "other"))
    assert spec_hash(one, SECRET) != spec_hash(two, SECRET)
    assert spec_hash(one, SECRET) != spec_hash(one, SECRET[::-1])


FLY = "workers: {{backend: fly}}\nfly: {{app: a, token: {token}, region: {region}}}"


def test_where_workers_run_is_not_in_the_hash_and_how_is(tmp_path: Path) -> None:
    def hashed(token: str, region: str) -> str:
        return spec_hash(settings(tmp_path, FLY.format(token=token, region=region)), SECRET)

    assert hashed("one", "ams") == hashed("two", "ams")
    assert hashed("one", "ams") != hashed("one", "ord")


def test_machines_listen_on_their_address_in_the_private_network(tmp_path: Path) -> None:
    backend = create_backend(settings(tmp_path, FLY.format(token="t", region="ams")), SECRET)
    assert isinstance(backend, FlyBackend)
    arguments = backend.layout.engine.arguments(make_spec(), scratch="/scratch", memory=1)
    assert arguments is not None
    assert "--listen=grpc://fly-local-6pn:8815" in arguments
    backend.close()


def test_pool_goes_by_the_settings(tmp_path: Path) -> None:
    text = (
        "workers: {warm: 2, start_timeout: 9s, queue_size: 3, queue_timeout: 4s,"
        " keep_on_exit: false, instance: blue}\n"
        "containers: {idle_timeout: 1h, max_lifetime: 2h, memory_limit: 1g, max_per_host: 7}\n"
    )
    found = pool_settings(settings(tmp_path, text), SECRET)
    assert (found.warm, found.start_timeout, found.queue_size, found.queue_timeout) == (2, 9, 3, 4)
    assert (found.idle_timeout, found.max_lifetime, found.max_workers) == (3600, 7200, 7)
    assert found.shape(None).memory_limit == 1 << 30
    assert not found.keep_workers
    assert found.instance != pool_settings(settings(tmp_path), SECRET).instance
    assert found.preparation == {"extensions": ["arrow", "mysql", "postgres"]}
    assert SECRET not in repr(found)


def test_files_of_databases_are_mounted(tmp_path: Path) -> None:
    text = (
        "duckdb:\n  attached_databases:\n"
        "    - {alias: a, type: sqlite, connection_string: /data/a.db}\n"
        "    - {alias: b, type: duckdb, connection_string: /data/b.db, read_only: false}\n"
        f"    - {{alias: c, type: postgres, connection_string: '{DATABASE}'}}\n"
    )
    files = pool_settings(settings(tmp_path, text), SECRET).shape(User("ann")).files
    assert [(file.path, file.read_only) for file in files] == [
        ("/data/a.db", True),
        ("/data/b.db", False),
    ]


@pytest.mark.parametrize("name", ["gizmosql", "sqlflite"])
def test_engine_is_the_one_that_is_named(tmp_path: Path, name: str) -> None:
    text = f"workers: {{backend: docker}}\ncontainers: {{engine: {name}, image: x}}"
    assert engine_of(settings(tmp_path, text)).name == name
