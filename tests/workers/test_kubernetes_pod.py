from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pondflight.workers.backends.base import Phase
from pondflight.workers.backends.container import Layout
from pondflight.workers.engines import GIZMOSQL, PondflightEngine
from pondflight.workers.kubernetes import pod as pods
from pondflight.workers.kubernetes.pod import Placement
from pondflight.workers.kubernetes.template import merged
from tests.workers.contract import NAMING, make_spec

LAYOUT = Layout("pondflight:1", PondflightEngine())


def pod_of(placement: Placement | None = None, **fields: Any) -> dict[str, Any]:
    return pods.manifest(make_spec(**fields), LAYOUT, placement or Placement())


def test_a_worker_has_nothing_to_gain() -> None:
    spec = pod_of(Placement(user_namespaces=True))["spec"]
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["hostUsers"] is False
    assert spec["restartPolicy"] == "Never"


def test_limits_are_those_of_the_settings_and_requests_no_more_than_these() -> None:
    resources = pod_of(cpu_limit=0.5)["spec"]["containers"][0]["resources"]
    assert resources["requests"]["cpu"] == resources["limits"]["cpu"] == "500m"
    assert resources["requests"]["memory"] == resources["limits"]["memory"] == str(512 << 20)
    placement = Placement(cpu_request=4.0, memory_request=64 << 20)
    resources = pod_of(placement, cpu_limit=0.5)["spec"]["containers"][0]["resources"]
    assert resources["requests"]["cpu"] == "500m"
    assert resources["requests"]["memory"] == str(64 << 20)


def test_scratch_has_a_size_and_is_memory_or_disk() -> None:
    (volume,) = pod_of()["spec"]["volumes"]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": str(64 << 20)}
    layout = replace(LAYOUT, scratch_on_disk=True)
    pod = pods.manifest(make_spec(), layout, Placement(scratch_limit=1 << 30))
    assert pod["spec"]["volumes"][0]["emptyDir"] == {"sizeLimit": str(1 << 30)}
    limits = pod["spec"]["containers"][0]["resources"]["limits"]
    assert int(limits["ephemeral-storage"]) > 1 << 30


def test_a_pod_has_the_hash_of_its_credential_and_nothing_that_opens_it() -> None:
    spec = make_spec()
    pod = pods.manifest(spec, LAYOUT, Placement())
    assert pod["metadata"]["annotations"][pods.CREDENTIAL] == spec.credential_sha256
    assert spec.credential not in repr(pod)


def test_an_engine_that_wants_the_credential_itself_gets_it_by_a_secret() -> None:
    spec, layout = make_spec(), replace(LAYOUT, engine=GIZMOSQL)
    pod = pods.manifest(spec, layout, Placement())
    assert pods.needs_secret(spec, layout)
    assert not pods.needs_secret(spec, LAYOUT)
    assert spec.credential not in repr(pod)
    pod["metadata"]["uid"] = "u"
    secret = pods.secret(spec, pod)
    (variable,) = [v for v in pod["spec"]["containers"][0]["env"] if "valueFrom" in v]
    reference = variable["valueFrom"]["secretKeyRef"]
    assert secret["stringData"][reference["key"]] == spec.credential
    assert secret["metadata"]["name"] == reference["name"]
    assert secret["metadata"]["ownerReferences"][0]["uid"] == "u"


def test_storage_is_one_volume_for_each_user_by_the_name_of_the_deployment() -> None:
    spec = make_spec(storage="a" * 64)
    claims = {
        name: pods.volume_claim(spec, replace(LAYOUT, deployment=name), Placement())
        for name in ("", "Blue", "blue", "b_l.u")
    }
    names = {claim["metadata"]["name"] for claim in claims.values()}
    assert len(names) == len(claims)
    for name in names:
        assert name == name.lower()
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert claims["blue"]["spec"]["accessModes"] == ["ReadWriteOncePod"]


def test_a_template_adds_and_takes_nothing_away() -> None:
    template = {
        "metadata": {"labels": {"team": "data", "pondflight.user": "x"}},
        "spec": {
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "dnsPolicy": "Default",
            "volumes": [{"name": "ca", "configMap": {"name": "ca"}}, {"name": "scratch"}],
            "containers": [
                {
                    "name": "worker",
                    "env": [{"name": "HOME", "value": "/"}, {"name": "A", "value": "b"}],
                    "volumeMounts": [
                        {"name": "ca", "mountPath": "/ca"},
                        {"name": "ca", "mountPath": "/scratch"},
                    ],
                }
            ],
        },
    }
    plain = pod_of(name="n", generation="0" * 16, user="", credential="c")
    pod = merged(plain, template)
    assert pod["metadata"]["labels"]["team"] == "data"
    assert pod["metadata"]["labels"]["pondflight.user"] == ""
    assert pod["spec"]["dnsPolicy"] == "Default"
    assert len(pod["spec"]["tolerations"]) == 3
    assert [volume["name"] for volume in pod["spec"]["volumes"]] == ["scratch", "ca"]
    container = pod["spec"]["containers"][0]
    assert {"name": "HOME", "value": "/nonexistent"} in container["env"]
    assert {"name": "A", "value": "b"} in container["env"]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/scratch", "/ca"]
    assert container["securityContext"] == plain["spec"]["containers"][0]["securityContext"]


def seen(status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    pod = pod_of()
    pod["metadata"] |= {"uid": "u", "creationTimestamp": "2026-01-02T03:04:05Z"} | metadata
    return pod | {"status": status}


RUNNING = {"phase": "Running", "podIP": "10.0.0.7"}
TERMINATED = {"name": "worker", "state": {"terminated": {"exitCode": 137}}}


@pytest.mark.parametrize(
    ("status", "phase", "location"),
    [
        ({}, Phase.CREATED, ""),
        ({"phase": "Pending"}, Phase.CREATED, ""),
        ({"phase": "Running"}, Phase.CREATED, ""),
        (RUNNING, Phase.RUNNING, "grpc://10.0.0.7:8815"),
        ({"phase": "Running", "podIP": "fd00::7"}, Phase.RUNNING, "grpc://[fd00::7]:8815"),
        (RUNNING | {"containerStatuses": [TERMINATED]}, Phase.ENDED, ""),
        ({"phase": "Failed", "reason": "Evicted"}, Phase.ENDED, ""),
        ({"phase": "Succeeded"}, Phase.ENDED, ""),
    ],
)
def test_phase_and_address_follow_from_the_status(
    status: dict[str, Any], phase: Phase, location: str
) -> None:
    handle = pods.handle_of(seen(status), 8815)
    assert (handle.phase, handle.location) == (phase, location)


def test_a_pod_that_is_being_deleted_has_ended() -> None:
    pod = seen(RUNNING, deletionTimestamp="2026-01-02T03:05:00Z")
    assert pods.phase_of(pod) is Phase.ENDED


def test_a_claimed_pod_goes_by_its_users_name() -> None:
    pod = seen(RUNNING, name=NAMING.of_spare("0" * 16))
    key = NAMING.key("ann")
    pod["metadata"]["labels"]["pondflight.user"] = key
    handle = pods.handle_of(pod, 8815)
    assert (handle.name, handle.user) == (NAMING.of_user(key), key)
    assert pods.pod_and_uid(handle) == (NAMING.of_spare("0" * 16), "u")


def test_dates_of_a_server_whose_clock_differs_are_set_right() -> None:
    ahead, level = (pods.handle_of(seen(RUNNING), 8815, skew).created for skew in (600.0, 0.0))
    assert ahead - level == 600


@pytest.mark.parametrize(
    ("status", "words", "hopeless"),
    [
        ({}, "", False),
        ({"waiting": {"reason": "ContainerCreating"}}, "", False),
        ({"waiting": {"reason": "ErrImagePull", "message": "no"}}, "ErrImagePull: no", False),
        ({"waiting": {"reason": "ImagePullBackOff", "message": "a\n b"}}, "a b", True),
        ({"waiting": {"reason": "ErrImageNeverPull"}}, "ErrImageNeverPull", True),
    ],
)
def test_why_a_pod_does_not_run(status: dict[str, Any], words: str, hopeless: bool) -> None:
    state = {"containerStatuses": [{"name": "worker", "state": status}]} if status else {}
    why, useless = pods.stuck(seen({"phase": "Pending", **state}))
    assert why.endswith(words)
    assert useless is hopeless


def test_a_pod_that_fits_no_node_says_so_and_may_fit_one_later() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient memory.",
    }
    why, useless = pods.stuck(seen({"phase": "Pending", "conditions": [condition]}))
    assert "Insufficient memory" in why
    assert not useless
