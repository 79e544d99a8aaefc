"""What the checks of an acceptance run do: commands, pipelines, waiting."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import kfp
import yaml

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
from tests.cluster.own_names import RUN_LABEL, Document
from tests.cluster.probes import IMAGE

DEVICE, SITE = "line1", "factory"
RUN_S = 1800.0
PEOPLE_WAIT_S = 240
CLOCK_WAIT_S = 240.0
MOST_IMAGES = 50
"""How many images a kubelet tells of, unless its `nodeStatusMaxImages` says otherwise."""


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


def kizu(run: Acceptance, identity: str, *arguments: str, timeout_s: float = 600, status: int = 0) -> str:
    """Run a command with the rights of an identity. It has to end with `status`. Returns what it said."""
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
    assert done.returncode == status, f"kizu {' '.join(arguments[:3])} ended with {done.returncode}: {said[-1500:]}"
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
    return not missing_images(run, [f"{REGISTRY}/{name}:{TAG}"])


def missing_images(run: Acceptance, wanted: Sequence[str]) -> list[str]:
    """Which images no node has. Where the nodes pull from a registry, none is missing."""
    return [] if run.names.registry else lacking(run.kubectl.items("node"), wanted)


def lacking(nodes: Sequence[Document], wanted: Sequence[str]) -> list[str]:
    """Which images none of the nodes tells of. A kubelet tells of its fifty largest: a full list says nothing."""
    told = [node["status"].get("images") or [] for node in nodes]
    if any(len(images) >= MOST_IMAGES for images in told):
        return []
    names = [name for images in told for image in images for name in image.get("names") or []]
    return [image for image in wanted if not any(name.endswith(image) for name in names)]


def on_kubeflow(
    run: Acceptance, *arguments: str, use_case: Path | None = None, timeout_s: float = 300, status: int = 0
) -> str:
    """Run `kizu submit …` or `kizu schedule …`. use_case: by default that of the run. Returns what it said."""
    registry = ("--registry", run.names.registry) if run.names.registry else ()
    return kizu(
        run, "deployment", *arguments, "--endpoint", f"http://127.0.0.1:{run.kubeflow_port}",
        "--use-case", str(use_case or run.use_case_file), "--namespace", run.names.pipelines, *registry,
        timeout_s=timeout_s, status=status,
    )  # fmt: skip


def submit(run: Acceptance, pipeline: str, *arguments: str) -> str:
    """Run a pipeline on Kubeflow Pipelines to its end; a run that does not succeed fails. Returns how long it took."""
    began = time.monotonic()
    said = on_kubeflow(run, "submit", pipeline, *arguments, timeout_s=RUN_S)
    assert "the run succeeded" in said, said[-500:]
    return f"{pipeline} took {time.monotonic() - began:.0f} s"


def submit_in_vain(run: Acceptance, pipeline: str, step: str) -> str:
    """Run a pipeline that must fail in `step`; the command has to end with 1 and name the step."""
    began = time.monotonic()
    said = on_kubeflow(run, "submit", pipeline, timeout_s=RUN_S, status=1)
    assert re.search(rf"the run failed in {re.escape(step)}\b", said), said[-500:]
    return f"status 1 and `{step}` named, {time.monotonic() - began:.0f} s"


def scheduled(run: Acceptance) -> str:
    """Have Kubeflow Pipelines start `labeling` each minute until it started one run, and take the schedule away."""
    document = yaml.safe_load(run.use_case_file.read_text())
    document["schedules"] = {"labeling": {"cron": "* * * * *", "time_zone": "UTC"}}
    file = run.folder / "scheduled.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    client, began = kubeflow(run), time.monotonic()

    def runs() -> set[str]:
        experiment = client.get_experiment(experiment_name=run.use_case.name, namespace=run.names.pipelines)
        return {r.run_id for r in client.list_runs(experiment_id=experiment.experiment_id, page_size=200).runs or []}

    try:
        before = runs()
        first = on_kubeflow(run, "schedule", use_case=file)
        assert ": made" in first, first
        again = on_kubeflow(run, "schedule", use_case=file)
        assert ": as it was" in again, again
        eventually(lambda: bool(runs() - before), CLOCK_WAIT_S, "a run by the clock")
        took = time.monotonic() - began
    finally:
        removed = on_kubeflow(run, "schedule", "--remove")
    assert ": removed" in removed, removed
    for new in runs() - before:
        ended = client.wait_for_run_completion(new, timeout=int(RUN_S), sleep_duration=5)
        assert str(ended.state).lower() == "succeeded", f"the run by the clock {ended.state}"
    return f"a run started by the clock after {took:.0f} s and succeeded; removed"


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
