"""What the checks of an acceptance run do: commands, pipelines, waiting."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import kfp

from components.container_images import REGISTRY, TAG
from components.settings import Settings
from components.stores.labels.store import LabelStore
from components.stores.objects.s3 import ObjectNotFound
from components.stores.raw_images.images import RawImages
from demo.accounts import ensure_people
from demo.data import Photograph
from demo.people import Labeler, Verifier
from inspection.documents import Reported
from tests.cluster.conftest import Acceptance
from tests.cluster.kubectl import Kubectl
from tests.cluster.own_names import RUN_LABEL
from tests.cluster.probes import IMAGE

DEVICE, SITE = "line1", "factory"
RUN_S = 1800.0
PEOPLE_WAIT_S = 240


def restricted_namespace(name: str, prefix: str) -> dict[str, object]:
    labels = {RUN_LABEL: prefix, "pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def kubeflow_version(run: Acceptance) -> str:
    if not run.kubeflow:
        return "not installed: pipelines are left out"
    deployment = run.kubectl.json("-n", run.names.pipelines, "get", "deployment", "ml-pipeline")
    image = str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])
    return image.rpartition(":")[2]


def probe_image(run: Acceptance) -> str:
    return run.names.image(IMAGE)


def eventually(holds: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Wait until something holds. A server that does not answer yet is asked again."""
    end = time.monotonic() + timeout_s
    last: Exception | None = None
    while time.monotonic() < end:
        try:
            if holds():
                return
        except Exception as e:  # the errors of three libraries
            last = e
        time.sleep(2)
    raise AssertionError(f"waited {timeout_s:.0f} s for {what}; last error: {last}")


def running_pod(kubectl: Kubectl, namespace: str, name: str) -> str:
    """The name of a pod of a workload that is not on its way out."""
    pods = kubectl.items("pod", "-n", namespace, "-l", f"app.kubernetes.io/name={name}")
    alive = [p for p in pods if "deletionTimestamp" not in p["metadata"] and p["status"].get("phase") == "Running"]
    assert alive, f"expected a running pod of {name} in {namespace}"
    return str(alive[0]["metadata"]["name"])


def restarts(run: Acceptance) -> str:
    """Which pods restarted until now."""
    found = []
    for namespace in run.names.made:
        for pod in run.kubectl.items("pod", "-n", namespace):
            count = sum(status["restartCount"] for status in pod["status"].get("containerStatuses", []))
            if count:
                found.append(f"{pod['metadata']['labels'].get('app.kubernetes.io/name')} {count}x")
    return f"restarted on the way: {', '.join(found)}" if found else "no pod restarted"


def kizu(run: Acceptance, identity: str, *arguments: str, timeout_s: float = 600) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "kizu", *arguments],
        env=run.environment(identity),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    said = f"{done.stdout}\n{done.stderr}".strip()
    assert done.returncode == 0, f"kizu {' '.join(arguments[:3])} ended with {done.returncode}: {said[-1500:]}"
    return said


def import_photographs(run: Acceptance, name: str, photographs: tuple[Photograph, ...]) -> str:
    folder = run.folder / name
    folder.mkdir()
    for photograph in photographs:
        (folder / photograph.name).write_bytes(photograph.data)
    parts = "\n".join(f"{p.name},{p.part_id}" for p in photographs)
    (folder / "parts.csv").write_text(f"image,part\n{parts}\n")
    kizu(run, "importer", "import", "images", str(folder), "--set-aside", str(run.folder / f"set-aside-{name}.csv"))
    return f"{len(photographs)} photographs"


def image_is_there(run: Acceptance, name: str) -> bool:
    """Whether the nodes can start an image: they pull it from a registry, or one of them has it."""
    if run.names.registry:
        return True
    wanted = f"{REGISTRY}/{name}:{TAG}"
    listed = [image for node in run.kubectl.items("node") for image in node["status"].get("images", [])]
    return any(found.endswith(wanted) for image in listed for found in image.get("names") or [])


def submit(run: Acceptance, pipeline: str, *arguments: str) -> str:
    """Run a pipeline on Kubeflow Pipelines to its end; a run that does not succeed fails. Returns how long it took."""
    began = time.monotonic()
    endpoint = f"http://127.0.0.1:{run.kubeflow_port}"
    registry = ("--registry", run.names.registry) if run.names.registry else ()
    said = kizu(
        run, "deployment", "submit", pipeline, "--endpoint", endpoint, "--use-case", str(run.use_case_file),
        "--namespace", run.names.pipelines, *registry, *arguments, timeout_s=RUN_S,
    )  # fmt: skip
    assert "the run succeeded" in said, said[-500:]
    return f"{pipeline} took {time.monotonic() - began:.0f} s"


def label_all(run: Acceptance, expected: int) -> str:
    """Run `labeling` with the stand-ins until `expected` images have approved labels."""
    eventually(lambda: bool(ensure_people(run.layout)), 120, "the accounts of two people")
    annotator, verifier = ensure_people(run.layout)
    url = run.layout.label_studio_url
    took = []
    with Labeler(url, annotator.token, run.data.truth), Verifier(url, verifier.token, run.data.truth):
        for _ in range(4):
            took.append(submit(run, "labeling", "-a", f"wait_s={PEOPLE_WAIT_S}"))
            if approved_images(run) >= expected:
                break
    assert approved_images(run) == expected, (
        f"expected {expected} approved images, but there are {approved_images(run)}"
    )
    return f"{expected} approved; {', '.join(took)}"


def approved_images(run: Acceptance) -> int:
    config = Settings.from_environment(run.environment("labeling"))
    return len(LabelStore.open(config).latest_approved(run.use_case.name))


def device_report(run: Acceptance) -> Reported | None:
    try:
        return Reported.from_json(run.store("reconciler").get("kizu-fleet", f"{DEVICE}/reported.json"))
    except ObjectNotFound:
        return None


def what_must_last(run: Acceptance) -> dict[str, object]:
    """What must outlive pods: images, labels, versions, and the device's release."""
    report = device_report(run)
    return {
        "images": len(list(RawImages(run.store("importer"), "kizu-raw").list_images())),
        "labels": approved_images(run) if "labelled" in run.held else 0,
        "versions": len(run.registry().versions(run.use_case.name)) if "trained" in run.held else 0,
        "release": report.running_release if report else None,
    }


def kubeflow(run: Acceptance) -> kfp.Client:
    """A client of Kubeflow's own."""
    with warnings.catch_warnings():
        # It warns at each start about the versions that it supports; nobody can act on it.
        warnings.filterwarnings("ignore", "This client only works with Kubeflow", FutureWarning)
        return kfp.Client(host=f"http://127.0.0.1:{run.kubeflow_port}", namespace=run.names.pipelines)


def pipelines_there(run: Acceptance) -> dict[str, str]:
    """Id -> name of the pipelines that Kubeflow Pipelines has."""
    client = kubeflow(run)
    return {p.pipeline_id: p.display_name for p in client.list_pipelines(page_size=200).pipelines or []}


def remove_from_kubeflow(run: Acceptance, before: dict[str, str]) -> str:
    """Remove the runs, the experiment and the pipelines that the run made; versions of older pipelines stay."""
    client = kubeflow(run)
    named = client.list_experiments(page_size=200, namespace=run.names.pipelines).experiments or []
    removed = 0
    for experiment in named:
        if experiment.display_name != run.use_case.name:
            continue
        for found in client.list_runs(experiment_id=experiment.experiment_id, page_size=200).runs or []:
            client.delete_run(found.run_id)
            removed += 1
        client.delete_experiment(experiment.experiment_id)
    new = {key: name for key, name in pipelines_there(run).items() if key not in before}
    for pipeline in new:
        for version in client.list_pipeline_versions(pipeline, page_size=200).pipeline_versions or []:
            client.delete_pipeline_version(pipeline, version.pipeline_version_id)
        client.delete_pipeline(pipeline)
    return f"{removed} runs and {len(new)} pipelines of Kubeflow"
