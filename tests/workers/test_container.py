from __future__ import annotations

import dataclasses

import pytest

from pondflight.workers.backends.container import Layout, configuration
from pondflight.workers.engines import GIZMOSQL, SQLFLITE, PondflightEngine
from pondflight.workers.spec import BoundFile
from tests.workers.contract import make_spec

LAYOUT = Layout("pondflight:1", PondflightEngine(orphan_timeout=600.0))


def test_scratch_directory_leaves_most_of_the_memory_to_the_worker() -> None:
    for memory, scratch in ((512 << 20, 64 << 20), (128 << 20, 32 << 20)):
        config = configuration(make_spec(memory_limit=memory), LAYOUT)
        assert f"size={scratch}," in config["HostConfig"]["Tmpfs"]["/scratch"]
        assert f"--memory-limit={memory - scratch}" in config["Cmd"]
        assert config["HostConfig"]["Memory"] == config["HostConfig"]["MemorySwap"] == memory


def test_scratch_directory_on_disk_is_a_volume_that_goes_with_the_container() -> None:
    layout = dataclasses.replace(LAYOUT, scratch_on_disk=True)
    config = configuration(make_spec(memory_limit=512 << 20), layout)
    assert config["HostConfig"]["Tmpfs"] == {}
    assert config["HostConfig"]["Mounts"] == [{"Type": "volume", "Target": "/scratch"}]
    assert f"--memory-limit={448 << 20}" in config["Cmd"]


def test_worker_of_ours_learns_only_a_hash_of_its_credential() -> None:
    spec = make_spec()
    config = configuration(spec, LAYOUT)
    assert spec.credential not in str(config)
    assert f"--credential-sha256={spec.credential_sha256}" in config["Cmd"]
    assert "--orphan-timeout=600s" in config["Cmd"]
    assert spec.credential not in repr(spec)


def test_fractions_of_cores_are_passed_on() -> None:
    config = configuration(make_spec(cpu_limit=1.5), LAYOUT)
    assert config["HostConfig"]["NanoCpus"] == 1_500_000_000
    assert "--threads=2" in config["Cmd"]


def test_files_are_mounted_at_the_same_path_and_read_only_unless_told() -> None:
    files = (BoundFile("/data/a b.db"), BoundFile("/data/w.db", read_only=False))
    mounts = configuration(make_spec(files=files), LAYOUT)["HostConfig"]["Mounts"]
    assert [(m["Type"], m["Source"], m["Target"], m["ReadOnly"]) for m in mounts] == [
        ("bind", "/data/a b.db", "/data/a b.db", True),
        ("bind", "/data/w.db", "/data/w.db", False),
    ]


@pytest.mark.parametrize(
    ("deployment", "name"), [("", "pondflight-0123456789ab-"), ("blue", "pondflight-blue.-")]
)
def test_storage_is_a_volume_of_the_user_and_the_deployment(deployment: str, name: str) -> None:
    layout = dataclasses.replace(LAYOUT, deployment=deployment)
    spec = make_spec(instance="0123456789ab", storage="f" * 64)
    config = configuration(spec, layout)
    (mount,) = config["HostConfig"]["Mounts"]
    assert (mount["Type"], mount["Target"]) == ("volume", "/storage")
    assert mount["Source"] == name + "f" * 64
    assert "--storage=/storage" in config["Cmd"]
    assert configuration(make_spec(), layout)["HostConfig"]["Mounts"] == []


@pytest.mark.parametrize(
    ("engine", "database"), [(GIZMOSQL, ":memory:"), (SQLFLITE, "/scratch/worker.duckdb")]
)
def test_images_of_others_are_told_by_their_environment(engine: object, database: str) -> None:
    spec = make_spec()
    config = configuration(spec, dataclasses.replace(LAYOUT, engine=engine))  # type: ignore[arg-type]
    prefix = engine.name.upper()  # type: ignore[attr-defined]
    assert "Cmd" not in config
    assert set(config["Env"]) >= {
        f"{prefix}_USERNAME=pondflight",
        f"{prefix}_PASSWORD={spec.credential}",
        "TLS_ENABLED=0",
        "PRINT_QUERIES=0",
        "DATABASE_BACKEND=duckdb",
        f"DATABASE_FILENAME={database}",
    }
    assert list(config["ExposedPorts"]) == ["31337/tcp"]
