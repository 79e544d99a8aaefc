"""Each team can apply its own part, and the parts of all teams are the whole."""

from __future__ import annotations

import subprocess

import kubernetes_validate
import pytest
import yaml

from tests.manifests.rendered import OVERLAYS, Document, render, script

pytestmark = pytest.mark.manifests

TEAMS = ("edge", "labeling", "storage", "training")


@pytest.fixture(scope="module")
def parts() -> dict[str, list[Document]]:
    """Team -> its documents."""
    found = {}
    for team in TEAMS:
        command = [script("kubectl"), "kustomize", str(OVERLAYS.parent / "teams" / team)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert not done.stderr, f"kustomize warns: {done.stderr}"
        found[team] = list(yaml.safe_load_all(done.stdout))
    return found


def test_the_parts_of_the_teams_are_the_services_of_the_whole_and_nothing_else(
    parts: dict[str, list[Document]],
) -> None:
    """The example device apart, the overlay `local` is what the teams apply one after the other."""
    whole = [item for item in render("local") if item["metadata"].get("namespace") != "kizu-edge"]
    together = [item for part in parts.values() for item in part if item["metadata"].get("namespace") != "kizu-edge"]
    assert {str(item) for item in together} == {str(item) for item in whole}


@pytest.mark.parametrize("team", TEAMS)
def test_a_part_applies_by_itself(parts: dict[str, list[Document]], team: str) -> None:
    """It brings the namespaces, and the accounts and settings that its pods name; it fits the schemas."""
    there = {(item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]) for item in parts[team]}
    for item in parts[team]:
        kubernetes_validate.validate(item, "1.30", strict=True)
        namespace = item["metadata"].get("namespace")
        assert namespace in (None, "kubeflow") or ("Namespace", "", namespace) in there
        if item["kind"] in ("Deployment", "StatefulSet", "Job"):
            pod = item["spec"]["template"]["spec"]
            assert ("ServiceAccount", namespace, pod["serviceAccountName"]) in there
            for source in pod["containers"][0].get("envFrom", ()):
                assert "configMapRef" not in source or ("ConfigMap", namespace, source["configMapRef"]["name"]) in there
            for volume in pod["volumes"]:
                claim = volume.get("persistentVolumeClaim", {}).get("claimName")
                assert claim is None or ("PersistentVolumeClaim", namespace, claim) in there
