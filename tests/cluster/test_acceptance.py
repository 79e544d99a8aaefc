"""The product on a real cluster: installed, the loop turned once, what is refused, pods lost, all removed.

The checks follow each other. Each is a row of the table that the run prints. A check whose needs did not hold is left
out, and the table says so.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from components.container_images import CONTROL, DATA, LABELING
from components.enrolment.bundle import CREDENTIALS_FILE, ROOT_FILE
from components.enrolment.port import DeviceIdentity
from components.stores.raw_images.images import RawImages
from demo.acts import approve_as
from demo.loop import APPROVER
from deploy.access.identities import device_identities
from deploy.local.runs import RunFailed
from tests.cluster.acts import (
    DEVICE,
    SITE,
    device_report,
    eventually,
    image_is_there,
    import_photographs,
    kubeflow_version,
    label_all,
    missing_images,
    pipelines_there,
    probe_image,
    remove_from_kubeflow,
    restarts,
    restricted_namespace,
    running_pod,
    scheduled,
    submit,
    submit_in_vain,
    what_must_last,
)
from tests.cluster.conftest import Acceptance
from tests.cluster.flows import ALLOWED, TARGETS, clients, forbidden_requests
from tests.cluster.losses import KINDS, lose_servers, lose_step, meanwhile
from tests.cluster.own_names import RUN_LABEL, containers_of
from tests.cluster.probes import CONNECTIONS, REQUESTS, SETTLE_S, probe_pod, results

pytestmark = pytest.mark.cluster

READY_S = 600.0
DEVICE_S = 300.0
SERVICES = {
    "kizu": ("statefulset/seaweedfs", "deployment/mlflow", "deployment/labelstudio"),
    "kizu-signer": ("deployment/signer",),
}
# These are ready only with servers, or with an identity, that the run makes later.
LATER = {"kizu": ("deployment/reconciler", "deployment/fleet-page"), "kizu-edge": ("deployment/edge",)}


def test_the_cluster_takes_the_manifests(run: Acceptance):
    """The cluster has a default storage class, nothing under the names of this run, and takes every manifest."""
    with run.check("the cluster takes every manifest, under names of this run", key="applied") as said:
        kubectl = run.kubectl
        version = kubectl.json("version")["serverVersion"]["gitVersion"]
        run.about.append(f"Kubernetes {version}; Kubeflow Pipelines {kubeflow_version(run)}")
        classes = kubectl.items("storageclass")
        default = "storageclass.kubernetes.io/is-default-class"
        assert any(c["metadata"].get("annotations", {}).get(default) == "true" for c in classes), (
            "expected a default storage class"
        )
        there = [name for name in run.names.made if kubectl.exists("namespace", name)]
        assert not there, f"expected no namespace {there}: remove it, or set KIZU_CLUSTER_PREFIX"
        if run.kubeflow:
            ours = "secret,serviceaccount,networkpolicy,role,rolebinding"
            found = kubectl.items(ours, "-n", run.names.pipelines, "-l", "app.kubernetes.io/part-of=kizu")
            names = [document["metadata"]["name"] for document in found]
            assert not names, f"expected no installation beside Kubeflow Pipelines, but found {names}"
        else:
            kubectl.apply([restricted_namespace(run.names.pipelines, run.names.prefix)])
        documents = run.documents()
        images = {c["image"] for d in documents for c in containers_of(d)}
        if run.kubeflow:
            images |= {LABELING, DATA, CONTROL}
        lacks = missing_images(run, sorted(images))
        assert not lacks, f"expected the nodes to have {', '.join(lacks)}: bring them, or set KIZU_IMAGE_REGISTRY"
        # What others are in, first: namespaces. The Secrets come before the pods that mount them.
        kubectl.apply([d for d in documents if d["kind"] == "Namespace"])
        kubectl.apply(run.secrets())
        kubectl.apply([d for d in documents if d["kind"] != "Namespace"])
        said.append(f"{len(documents)} documents; every pod under Pod Security `restricted`")


def test_every_pod_becomes_ready(run: Acceptance):
    """The servers become ready, a device is enrolled, and then everything runs."""
    with run.check("buckets made, servers ready", key="servers", needs=("applied",)) as said:
        began = time.monotonic()
        for namespace, workloads in SERVICES.items():
            run.kubectl.rollout(run.namespace(namespace), workloads, READY_S)
        run.kubectl.run(
            "-n", run.namespace("kizu"), "wait", "job/bucket-setup", "--for=condition=complete",
            f"--timeout={READY_S:.0f}s", timeout_s=READY_S + 30,
        )  # fmt: skip
        run.forward()
        if run.kubeflow:
            eventually(lambda: run.remember("pipelines", pipelines_there(run)), 60, "Kubeflow Pipelines to answer")
        said.append(f"after {time.monotonic() - began:.0f} s")
    with run.check("a device is enrolled, all pods ready", key="ready", needs=("servers",)) as said:
        eventually(lambda: bool(device_identities(run.layout).devices()) or True, 60, "S3 to answer")
        key = device_identities(run.layout).create(DeviceIdentity(DEVICE, SITE))
        root = (run.folder / "signer-keys" / "root.json").read_text()
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"kizu-device-{DEVICE}", "namespace": "kizu-edge"},
            "stringData": {CREDENTIALS_FILE: key.to_json().decode(), ROOT_FILE: root},
        }
        run.kubectl.apply([run.names.rename(secret)])
        run.kubectl.rollout(run.namespace("kizu"), LATER["kizu"], READY_S)
        eventually(lambda: device_report(run) is not None, DEVICE_S, "the device to report")
        said.append(restarts(run))


def test_parts_are_imported(run: Acceptance):
    """Photographs of generated parts go to S3 with `kizu import images`, by the importer's identity."""
    with run.check("photographs imported by `kizu import images`", key="imported", needs=("ready",)) as said:
        said.append(import_photographs(run, "first", run.data.first))


def test_people_label_on_the_cluster(run: Acceptance):
    """The pipeline `labeling` runs on Kubeflow Pipelines until two people have approved every photograph."""
    with run.check(
        "`kizu submit labeling`: two people label and verify", key="labelled", needs=("kubeflow", "imported")
    ) as said:
        said.append(label_all(run, len(run.data.first)))


def test_a_model_is_trained_on_the_cluster(run: Acceptance):
    """The pipeline `training` runs on Kubeflow Pipelines and registers a version that waits for approval."""
    image = "training" if run.use_case.training.detector == "yolov8" else "training-permissive"
    if "labelled" in run.held and image_is_there(run, image):
        run.held.add("the image for training")
    with run.check(
        "`kizu submit training`: a version waits for approval",
        key="trained",
        needs=("labelled", "the image for training"),
    ) as said:
        said.append(submit(run, "training"))
        versions = run.registry().versions(run.use_case.name)
        assert [v.approval for v in versions] == ["pending"], versions
        run.remembered.version = versions[0].version
        said.append(f"version {versions[0].version}")


def test_a_version_that_nobody_approved_is_not_published(run: Acceptance):
    """`kizu submit deployment` fails before a person approved: it ends with status 1 and names the step."""
    with run.check("`kizu submit deployment` before the approval", needs=("trained",)) as said:
        said.append(submit_in_vain(run, "deployment", "resolve-approved"))


def test_a_person_approves(run: Acceptance):
    """A person approves with `kizu approve`; the account that registered the model cannot."""
    with run.check("`kizu approve`, by the approver only", key="approved", needs=("trained",)) as said:
        version = run.remembered.version
        with pytest.raises(RunFailed, match=r"training (may not approve|registered)"):
            approve_as(run.layout, "training", run.use_case.name, version, reason="by its maker")
        approve_as(run.layout, APPROVER, run.use_case.name, version, reason="acceptance run")
        tags = run.registry().version(run.use_case.name, version).tags
        assert tags["approval"] == "approved", tags
        assert tags["approval_by"] == APPROVER, tags
        said.append(f"by {tags['approval_by']}; the account `training` was refused")


def test_the_device_takes_the_release(run: Acceptance):
    """The pipeline `deployment` publishes a release, and the device runs it and inspects."""
    with run.check("`kizu submit deployment`: a signed release", key="released", needs=("approved",)) as said:
        said.append(submit(run, "deployment"))
        run.remembered.released_at = time.monotonic()
    with run.check("the device takes the release and keeps it", key="taken", needs=("released",)) as said:

        def runs_it() -> bool:
            report = device_report(run)
            return report is not None and bool(report.running_release) and report.pending_release is None

        eventually(runs_it, DEVICE_S, "the device to run the release")
        report = device_report(run)
        assert report is not None
        run.remembered.release = report.running_release
        said.append(f"{str(report.running_release)[:12]}, {time.monotonic() - run.remembered.released_at:.0f} s later")
    with run.check("the device inspects and sends back", key="inspected", needs=("taken",)) as said:
        namespace = run.namespace("kizu-edge")
        pod = running_pod(run.kubectl, namespace, "edge")
        for photograph in run.data.device:
            file = run.folder / photograph.name
            file.write_bytes(photograph.data)
            run.kubectl.run("-n", namespace, "cp", str(file), f"{namespace}/{pod}:/camera/.{photograph.name}.new")
            run.kubectl.run(
                "-n", namespace, "exec", pod, "--",
                "python", "-c", "import os, sys; os.replace(*sys.argv[1:])",
                f"/camera/.{photograph.name}.new", f"/camera/{photograph.name}",
            )  # fmt: skip

        def all_inspected() -> bool:
            listed = run.kubectl.run(
                "-n", namespace, "exec", pod, "--", "python", "-c", "import os; print(*os.listdir('/camera'))"
            )
            return not any(name.endswith((".jpg", ".png")) for name in listed.split())

        eventually(all_inspected, DEVICE_S, "the device to inspect all photographs")
        inspected_at = datetime.now(UTC)

        def all_sent() -> bool:
            report = device_report(run)
            return report is not None and report.outbox_depth == 0 and report.reported_at > inspected_at

        eventually(all_sent, DEVICE_S, "the device to send what it wants to send")
        images = RawImages(run.store("importer"), "kizu-raw").list_images()
        sent = sum(image.device == DEVICE for image in images)
        said.append(f"{len(run.data.device)} inspected, {sent} sent back")


def test_connections_are_allowed_and_refused_as_documented(run: Acceptance):
    """From a pod in the place of each, every connection that it needs opens, and no other."""
    with run.check("connections from pods of every kind", needs=("ready",)) as said:
        targets = {name: run.names.host(address) for name, address in TARGETS.items()}
        if not run.kubeflow:
            del targets["kubeflow"]
        probing = clients(run.names)
        asked = [str(SETTLE_S), *targets.values()]
        pods = [probe_pod(c, run.names.prefix, CONNECTIONS, asked, image=probe_image(run)) for c in probing]
        seen = results(run.kubectl, pods)
        wrong = []
        opened = 0
        for client in probing:
            for name, address in targets.items():
                found = seen[f"probe-{client.name}"][address]
                opened += found
                allowed = name in ALLOWED[client.name]
                if found != allowed:
                    wrong.append(f"{client.name} -> {name}: {'opens' if found else 'is closed'}")
        said.append(f"{len(probing)} x {len(targets)} tried, {opened} opened")
        assert not wrong, "; ".join(wrong)


def test_rights_are_those_of_the_task(run: Acceptance):
    """A step of a pipeline cannot read Secrets, make pods or run commands in them; no server has a token at all."""
    with run.check("rights of pipelines, from inside pods", needs=("ready",)) as said:
        probing = [client for client in clients(run.names) if client.name in ("labeling", "training", "deployment")]
        asked = forbidden_requests(run.names)
        pods = [
            probe_pod(c, run.names.prefix, REQUESTS, asked, account=f"kizu-{c.name}", image=probe_image(run))
            for c in probing
        ]
        seen = results(run.kubectl, pods)
        allowed = [f"{name}: {ask}" for name, found in seen.items() for ask, status in found.items() if status != 403]
        said.append(f"{len(probing)} accounts x {len(asked)} requests refused")
        assert not allowed, f"expected 403 for each, but: {allowed}"
    with run.check("no server mounts a token of the API server", needs=("ready",)) as said:
        with_token = []
        for namespace in run.names.made:
            for pod in run.kubectl.items("pod", "-n", namespace):
                volumes = [volume for volume in pod["spec"].get("volumes", []) if "projected" in volume]
                if any("serviceAccountToken" in source for v in volumes for source in v["projected"]["sources"]):
                    with_token.append(pod["metadata"]["name"])
        assert not with_token, with_token
        said.append("none of the pods")


def test_a_pod_of_each_kind_is_lost_in_the_middle_of_work(run: Acceptance):
    """A pod of each kind is deleted while a run of `labeling` goes on; the run ends well, and nothing is lost."""
    with run.check(
        "a pod of each kind deleted, during a run of `labeling` where there is one",
        key="survived",
        needs=("ready", "imported"),
    ) as said:
        before, lost = what_must_last(run), list[str]()
        if "labelled" in run.held:
            import_photographs(run, "second", run.data.device)
            with meanwhile(lambda stop: None if stop.wait(20.0) else lose_servers(run, lost)):
                said.append(label_all(run, len(run.data.first) + len(run.data.device)))
        else:
            lose_servers(run, lost)
        said.append(all_back(run, lost))
        nothing_lost(run, before, new_versions=0)


def test_pods_are_lost_during_a_training(run: Acceptance):
    """A pod of each kind and the training's own pod are deleted during a run of `training`, which ends well."""
    with run.check(
        "a pod of each kind and the training's own deleted, during a run of `training`",
        needs=("survived", "trained"),
    ) as said:
        before, lost = what_must_last(run), list[str]()

        def lose(stop: threading.Event) -> None:
            lose_step(run, "training", "train-detector", lost, stop)
            lose_servers(run, lost)

        with meanwhile(lose):
            said.append(submit(run, "training"))
        assert "train-detector" in lost, f"expected the training's own pod among those that were lost: {lost}"
        said.append(all_back(run, lost))
        nothing_lost(run, before, new_versions=1)


def test_runs_by_the_clock(run: Acceptance):
    """`kizu schedule` makes recurring runs, changes nothing when it is called again, and removes them."""
    with run.check("`kizu schedule`: a run by the clock", needs=("labelled",)) as said:
        said.append(scheduled(run))


def all_back(run: Acceptance, lost: list[str]) -> str:
    """Wait until every server is ready again. Every kind has to be among those that were lost."""
    began = time.monotonic()
    assert set(lost) >= {kind for kinds in KINDS.values() for kind in kinds}, lost
    for namespace, workloads in (*SERVICES.items(), ("kizu", LATER["kizu"])):
        run.kubectl.rollout(run.namespace(namespace), workloads, READY_S)
    if "taken" in run.held:
        run.kubectl.rollout(run.namespace("kizu-edge"), LATER["kizu-edge"], READY_S)
    return f"{', '.join(lost)}; all ready {time.monotonic() - began:.0f} s later, nothing lost"


def nothing_lost(run: Acceptance, before: dict[str, Any], *, new_versions: int) -> None:
    """What was there before the pods were lost is there still, and so many versions more."""
    after: dict[str, Any] = {}
    eventually(lambda: not after.update(what_must_last(run)), 60, "the servers to answer through new forwards")
    assert after["images"] >= before["images"], (before, after)
    assert after["labels"] >= before["labels"], (before, after)
    assert after["versions"] == before["versions"] + new_versions, (before, after)
    assert after["release"] == before["release"], (before, after)


def test_everything_is_removed(run: Acceptance):
    """After the run nothing with its label is left in the cluster."""
    with run.check("all removed") as said:
        if hasattr(run.remembered, "pipelines"):
            said.append(remove_from_kubeflow(run, run.remembered.pipelines))
        run.open.close()
        for namespace in run.names.made:
            run.kubectl.run("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")
        for namespace in run.names.made:
            run.kubectl.run("wait", f"namespace/{namespace}", "--for=delete", "--timeout=300s", timeout_s=330)
        if run.kubeflow:
            kinds = "secret,serviceaccount,networkpolicy,role,rolebinding"
            selected = ("-n", run.names.pipelines, "-l", f"{RUN_LABEL}={run.names.prefix}")
            run.kubectl.run("delete", kinds, *selected)
            left = run.kubectl.items(kinds, *selected)
            assert not left, [document["metadata"]["name"] for document in left]
        else:
            run.kubectl.run("delete", "namespace", run.names.pipelines, "--ignore-not-found", timeout_s=330)
        volumes = [
            volume["metadata"]["name"]
            for volume in run.kubectl.items("persistentvolume")
            if volume["spec"].get("claimRef", {}).get("namespace") in run.names.made
        ]
        said.append(f"{len(run.names.made)} namespaces")
        if volumes:
            said.append(f"the storage class kept {len(volumes)} volumes")
