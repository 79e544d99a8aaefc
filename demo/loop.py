"""`make demo`: runs the whole loop on this machine, with the real servers: twice by itself, or with the reconciler."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from components.deployment import keys
from components.settings import Settings
from components.stores.models.champion import champion
from components.stores.models.evaluation_report import EvaluationReport
from components.stores.models.mlflow_account import act_as
from components.stores.models.registry import CHAMPION, EVALUATION_REPORT, ModelRegistry, ModelVersion
from components.stores.objects.s3 import ObjectNotFound
from components.stores.raw_images.images import RawImages
from demo import good_start
from demo.accounts import ensure_people
from demo.acts import approve_as
from demo.choices import demo_use_case, photographs_of
from demo.data import DemoData, digest_of
from demo.device import DEVICE, Agent, feed, prepare, wait_until
from demo.hints import Door
from demo.pictures import CONTACT_SHEET, LABELS, round_picture
from demo.progress import Progress
from demo.round_plans import OTHERS
from demo.round_plans import ROUNDS as RECONCILED_ROUNDS
from demo.rounds import PAGE, run_rounds
from demo.state import Demo, DemoError, DemoOptions, GateFailed
from demo.steps import draw_approved_labels, draw_model, ingest_first_set, people, version_of
from demo.summary import RoundResult, rollout_table, round_table
from deploy.access.identities import allow_approvers, environment_for
from deploy.access.layout import Layout, make_private
from deploy.access.locks import locked
from deploy.local import stack
from deploy.local.runs import RunFailed, run_pipeline
from inspection.documents import Reported
from inspection.outputs import BOXES

GATE_FAILED = 3
NOTHING_MARKED = 4
_TITLES = {
    RECONCILED_ROUNDS: "Kizu: three rounds that the reconciler turns",
    "": "Kizu: the loop, twice",
    good_start.START: "Kizu: the loop once, from good parts alone",
}
ROUNDS = 2
PEOPLE_WAIT_S = 600
UNKNOWN_WAIT_S = 20
CHAMPION_WAIT_S = 90
QUIET_RUNS = 3
APPROVER = "approver"
_OF_THE_DEMO = ("metal-tag", "metal-tag-public", "metal-tag-good-only", "pcb", "pcb-good-only")
"""The use cases that a demo may have run: what is there of them may be deleted with its state."""


def run(layout: Layout, options: DemoOptions, console: Console) -> int:
    """Run all rounds. Returns 0 if all went well, and 3 if a model did not pass its gate and the champion stays.

    From good parts alone it returns 4 if the device marked no defect.

    Raises:
        DemoError: the demo cannot continue. Finished steps are kept.
    """
    if options.fresh:
        with _alone(layout):
            refuse_what_is_not_the_demos(layout)
            stack.down(layout)
            shutil.rmtree(layout.home, ignore_errors=True)
    with _alone(layout):
        return _run(layout, options, console)


def refuse_what_is_not_the_demos(layout: Layout) -> None:
    """Refuse to delete an installation in which a person works with a product or a device of their own.

    Raises:
        DemoError: there is such a product or device; the message names it.
    """
    demos = set(_OF_THE_DEMO)
    demos |= {f"{name}-quick" for name in demos}
    others = sorted(
        {f"product {path.name}" for path in _names_in(layout.products) if path.name not in demos}
        | {f"device {path.name}" for path in _names_in(layout.home / "devices") if path.name not in (DEVICE, *OTHERS)}
    )
    if others:
        raise DemoError(
            f"{layout.home} holds more than the demo ({', '.join(others)}), and nothing of it is deleted; "
            "give the demo its own home (KIZU_HOME=<folder> make demo FRESH=1), or delete all of it with make clean"
        )


def _names_in(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """Hold the lock of the demo. Two demos would do the same work, and `fresh` would remove the state of the other.

    Raises:
        DemoError: another demo runs in this home.
    """
    with ExitStack() as held:
        try:
            held.enter_context(locked(layout.run / "demo.lock", wait=False))
        except BlockingIOError as e:
            raise DemoError(
                f"another demo runs in {layout.home}; wait for its end or stop it (Ctrl-C), "
                "or give this one its own home and ports (KIZU_HOME, KIZU_PORT_S3 and the others)"
            ) from e
        yield


def _run(layout: Layout, options: DemoOptions, console: Console) -> int:
    began = time.monotonic()
    use_case, changes = demo_use_case(options)
    reconciled = options.rounds == RECONCILED_ROUNDS
    console.rule(_TITLES[options.rounds if reconciled else options.start])
    console.print(f"use case {use_case.name} ({'; '.join(changes)})", highlight=False, soft_wrap=True)

    def begin() -> tuple[DemoData, Progress]:
        data = photographs_of(options, use_case)
        console.print(data.said, highlight=False, soft_wrap=True)
        return data, Progress(progress_file, f"{use_case.digest}:{digest_of(data)}")

    make_private(layout.home)
    progress_file = layout.home / "demo" / "progress.json"
    with ThreadPoolExecutor(1) as beside:
        begun = beside.submit(begin)
        if options.data or progress_file.exists():
            begun.result()  # what it refuses, it refuses before a server starts
        keys.init_once(layout.home / "root-key", layout.keys)
        console.print("starting the servers")
        allow_approvers(layout, use_case)
        door = Door(layout) if reconciled else None
        with door.in_environment() if door is not None else nullcontext():
            stack.up(layout, on_progress=lambda line: console.print(f"        {line}", highlight=False))
        data, progress = begun.result()
    config = Settings.from_environment(environment_for(layout, "deployment"))  # this account of MLflow can only read
    act_as(config)
    _say_where(layout, console)
    demo = Demo(
        layout, options, console, use_case, data, progress,
        prepare(layout, use_case=use_case.name, group=use_case.rollout.group),
        began, ModelRegistry.from_settings(config),
    )  # fmt: skip
    _say_people(demo)
    agent = Agent(demo.device)
    code = 0
    try:
        try:
            if door is not None:
                run_rounds(demo, door)
            else:
                _loop(demo, agent)
                code = NOTHING_MARKED if options.start and not good_start.say_what_was_marked(demo) else 0
        except GateFailed as e:
            console.print(f"[bold red]{e}[/bold red]", highlight=False, soft_wrap=True)
            code = GATE_FAILED
        finally:
            agent.stop()
        _finish(demo, code)  # reads MLflow and S3, so it comes before the servers stop
    finally:
        if options.stop:
            stack.down(layout)
    return code


def _loop(demo: Demo, agent: Agent) -> None:
    with demo.step("1/7  raw images and Captures into S3"):
        demo.say(demo.progress.once("ingest", lambda: ingest_first_set(demo)))
    for number in range(1, 2 if demo.options.start else ROUNDS + 1):
        with demo.step(f"{2 if number == 1 else 7}/7  round {number}: people label and verify"):
            demo.say(demo.progress.once(f"label-{number}", partial(_with_people, demo)))
            good_start.since_labelled(demo.progress, time.time())
            if number == 1:
                demo.show(LABELS, "the boxes that people drew and verified", partial(draw_approved_labels, demo))
        with demo.step(f"{3 if number == 1 else 7}/7  round {number}: train, export to ONNX, score as deployed, gate"):
            outputs = demo.progress.once(f"train-{number}", partial(_train, demo))
            version, report = _judge(demo, number, outputs)
            drawn = partial(draw_model, demo, version.run_id)
            demo.show(round_picture(number), "the boxes of this model on photographs of the test split", drawn)
        with demo.step(f"{4 if number == 1 else 7}/7  round {number}: a person approves version {version.version}"):
            _approve(demo, version)
        if number == 1:
            agent.start()  # without a release it waits for one
        with demo.step(f"{5 if number == 1 else 7}/7  round {number}: a signed release for the group of devices"):
            released = demo.progress.once(f"deploy-{number}", partial(_deploy, demo, version))
            demo.say(f"release {released['release_digest'][:12]}, sequence {released['sequence']}")
        with demo.step(f"{6 if number == 1 else 7}/7  round {number}: the device takes it over"):
            if number == 1:
                demo.say(f"the operator's page: {demo.device.page}")
            digest = released["release_digest"]
            demo.progress.once(f"device-{number}", partial(_take_over, demo, agent, digest, version))
            if demo.options.start:
                after = demo.progress.once(
                    "released-after", lambda: good_start.since_labelled(demo.progress, time.time())
                )
                demo.say(
                    f"the first release runs {after:.0f} s after people had labelled ({good_start.GOAL_S:.0f} asked)"
                )
        sent = 0
        if number == 1:
            with demo.step(f"6/7  {len(demo.data.device)} parts pass the camera; doubtful ones come back"):
                sent = demo.progress.once("inspect", lambda: _inspect(demo, agent))
        demo.results.append(
            RoundResult(
                number, outputs["images"], outputs["dataset_digest"], report, version.version,
                released["release_digest"], sent,
            )
        )  # fmt: skip


def _with_people(demo: Demo) -> str:
    with people(demo):
        return _label(demo)


def _label(demo: Demo) -> str:
    """Run the labeling pipeline until people have nothing left to do.

    A run ends when people have finished all tasks, or after a time limit. The limit is short if some tasks stay open
    because the stand-ins do not know the labels of their images.
    """
    wait_s = UNKNOWN_WAIT_S if demo.data.unlabelled and not demo.options.real_people else PEOPLE_WAIT_S
    approved = rejected = 0
    outputs: dict[str, Any] = {}
    quiet = 0
    while True:
        outputs = run_pipeline(demo.layout, "labeling", {"use_case": demo.use_case.to_json(), "wait_s": wait_s})
        approved += outputs["approved"]
        rejected += outputs["rejected"]
        unknown = 0 if demo.options.real_people else _open_for_nobody(demo)
        left = outputs["open_labeling"] + outputs["open_verification"]
        demo.say(
            f"found {outputs['found']}, to label {outputs['open_labeling']}, to verify {outputs['open_verification']}, "
            f"approved {approved}, rejected {rejected}"
        )
        moved = outputs["labelled"] + outputs["approved"] + outputs["rejected"]
        # If the batch is full, images may be left for the next one.
        if left <= unknown and (not moved or outputs["found"] < demo.use_case.labeling.max_images_per_job):
            break
        quiet = 0 if moved else quiet + 1
        if quiet > QUIET_RUNS and not demo.options.real_people:
            raise DemoError(f"no task changed in Label Studio for several runs; see {demo.layout.logs}")
    left_open = f"; {unknown} stay open, because their labels are not known" if unknown else ""
    return f"{approved} images approved, {rejected} sent back to labeling on the way{left_open}"


def _open_for_nobody(demo: Demo) -> int:
    """Return the number of images in the raw bucket whose labels the stand-ins do not know. Their tasks stay open."""
    images = RawImages(demo.store("importer"), "kizu-raw").list_images()
    return sum(image.sha256 not in demo.data.truth for image in images)


def _train(demo: Demo) -> dict[str, Any]:
    outputs = run_pipeline(
        demo.layout, "training", {"use_case": demo.use_case.to_json(), "label_version": -1, "force": False}
    )
    if outputs["passed"] and version_of(demo, outputs["run_id"]) is None:
        raise DemoError(f"training run {outputs['run_id']} passed its gate but was not registered; run the demo again")
    return outputs


def _judge(demo: Demo, number: int, outputs: dict[str, Any]) -> tuple[ModelVersion, EvaluationReport]:
    report = EvaluationReport.from_json(demo.registry.get_artifact(outputs["run_id"], EVALUATION_REPORT))
    test = report.test
    demo.say(f"dataset {outputs['dataset_digest'][:12]} of {outputs['images']} images")
    score = f"mAP50 {test.map50:.3f}, " if report.output == BOXES else ""
    demo.say(f"test {score}escape {test.escape}, overkill {test.overkill}, review {test.review}")
    if report.champion is not None:
        demo.say(f"champion version {report.champion.version} on the same split: {report.champion.test.map50:.3f}")
    if not outputs["passed"]:
        kept = champion(demo.registry, demo.use_case.name)
        demo.results.append(RoundResult(number, outputs["images"], outputs["dataset_digest"], report, None, None, 0))
        raise GateFailed(
            f"round {number} did not pass its gate: {outputs['failures']}. Nothing was registered; "
            + (f"version {kept.version.version} stays champion." if kept else "there is no champion yet.")
        )
    version = version_of(demo, outputs["run_id"])
    if version is not None:
        return version, report
    raise DemoError(f"the training run {outputs['run_id']} has no registered version; begin again with FRESH=1")


def _approve(demo: Demo, version: ModelVersion) -> None:
    if demo.registry.version(version.name, version.version).approval == "approved":
        return
    url = f"{demo.layout.mlflow_url}/#/models/{version.name}/versions/{version.version}"
    if not demo.options.real_people:
        approve_as(demo.layout, APPROVER, version.name, version.version, reason="the demo's stand-in")
        by = demo.registry.version(version.name, version.version).tags["approval_by"]
        demo.say(f"the stand-in approved, as the account {by}: {url}")
        return
    demo.say(f"open {url}, sign in as {APPROVER} and set the tag [bold]approval[/bold] to approved (or rejected)")
    while True:
        decision = demo.registry.version(version.name, version.version).approval
        if decision == "approved":
            return
        if decision == "rejected":
            raise GateFailed(f"version {version.version} was rejected by a person; the champion stays")
        time.sleep(3)


def _deploy(demo: Demo, version: ModelVersion) -> dict[str, Any]:
    return run_pipeline(demo.layout, "deployment", {"use_case": demo.use_case.to_json(), "version": version.version})


def _report(demo: Demo) -> Reported | None:
    try:
        return Reported.from_json(demo.store("reconciler").get("kizu-fleet", f"{DEVICE}/reported.json"))
    except ObjectNotFound:
        return None


def _take_over(demo: Demo, agent: Agent, digest: str, version: ModelVersion) -> bool:
    _wait_for_device(demo, agent, digest)
    _move_champion(demo, version)
    return True


def _wait_for_device(demo: Demo, agent: Agent, digest: str) -> None:
    def runs_it() -> bool:
        agent.check()
        report = _report(demo)
        return report is not None and report.running_release == digest and report.pending_release is None

    if not wait_until(runs_it, timeout_s=300):
        report = _report(demo)
        said = f"{report.state}: {report.reason}" if report else "it never reported"
        raise DemoError(f"the device did not take release {digest[:12]} within 5 minutes ({said}); {demo.device.log}")
    demo.say(f"the device keeps {digest[:12]}: it reproduced the golden samples and passed probation")


def _move_champion(demo: Demo, version: ModelVersion) -> None:
    from demo.acts import reconcile_once

    def moved() -> bool:
        found = champion(demo.registry, demo.use_case.name)
        return found is not None and found.version.version == version.version

    try:
        reconcile_once(demo.layout)
    except RunFailed as e:  # the servers' own reconciler may take the same step at the same moment
        demo.say(str(e))
    if not wait_until(moved, timeout_s=CHAMPION_WAIT_S):
        raise DemoError(f"expected version {version.version} to be champion after the rollout, but it is not")
    demo.say(f"champion is version {version.version}")


def _inspect(demo: Demo, agent: Agent) -> int:
    at = demo.progress.once("photographed-at", lambda: datetime.now(UTC).timestamp())
    for frame in demo.data.device:
        feed(demo.device.camera, frame.name, frame.data, frame.part_id, at)

    def all_inspected() -> bool:
        agent.check()
        return not any(path.suffix in (".jpg", ".jpeg", ".png") for path in demo.device.camera.iterdir())

    def all_sent() -> bool:
        agent.check()
        report = _report(demo)
        return report is not None and report.outbox_depth == 0 and report.reported_at.timestamp() > inspected_at

    if not wait_until(all_inspected, timeout_s=600):
        raise DemoError(f"the device did not inspect all frames within 10 minutes; see {demo.device.log}")
    inspected_at = datetime.now(UTC).timestamp()
    if not wait_until(all_sent, timeout_s=120):
        raise DemoError(f"the device did not send all images of its outbox within 2 minutes; see {demo.device.log}")
    images = RawImages(demo.store("importer"), "kizu-raw").list_images()
    sent = sum(image.device == DEVICE for image in images)
    demo.say(f"{len(demo.data.device)} frames inspected, {sent} images sent back")
    return sent


def _say_people(demo: Demo) -> None:
    demo.console.print(
        f"        to approve, sign in to {demo.layout.mlflow_url} as {APPROVER}; "
        f"its password is in {demo.layout.mlflow_accounts}",
        highlight=False,
        soft_wrap=True,
    )
    if demo.options.real_people:
        for role, person in zip(("label", "verify"), ensure_people(demo.layout), strict=False):
            account = f"{person.email}, password {person.password}"
            demo.console.print(
                f"        to {role}, log in to {demo.layout.label_studio_url} as {account}",
                highlight=False,
                soft_wrap=True,
            )
        demo.console.print("        label in the project ending in labeling, verify in the one ending in verification;")
        demo.console.print("        this program collects what you finish within seconds, and goes on when all is done")
        return
    demo.console.print(
        "[yellow]Stand-ins replace the people: two programs, each with its own Label Studio account, label and verify\n"
        "with the known boxes, and the demo approves. To do this yourself: PEOPLE=real make demo[/yellow]"
    )


def _say_where(layout: Layout, console: Console) -> None:
    for service in stack.status(layout).services:
        if service.url:
            console.print(f"        {service.name:<14}{service.url}", highlight=False)


def _finish(demo: Demo, code: int) -> None:
    console = demo.console
    turned = "three rounds turned by themselves" if demo.rounds else "the loop turned twice"
    turned = "the loop turned from good parts alone" if demo.options.start else turned
    ended = {0: turned, NOTHING_MARKED: "the device marked no defect"}
    console.rule(ended.get(code, "the loop stopped at a gate"))
    console.print(rollout_table(demo.rounds) if demo.rounds else round_table(demo.results))
    if demo.rounds:
        console.print(f"the rounds, as a page: {demo.layout.home / 'demo' / PAGE}", highlight=False, soft_wrap=True)
    if demo.results or demo.rounds:
        current = demo.registry.by_alias(demo.use_case.name, CHAMPION)
        sheet = demo.layout.home / "demo" / CONTACT_SHEET
        if current is not None and draw_model(demo, current.run_id, sheet):
            console.print(f"detections, as a picture: {sheet}", highlight=False, soft_wrap=True)
    minutes, seconds = divmod(int(time.monotonic() - demo.began), 60)
    console.print(f"took {minutes} min {seconds} s")
    again = ["make demo FRESH=1"]
    if demo.options.rounds != ROUNDS:
        again.append(f"ROUNDS={demo.options.rounds}")
    if demo.options.data:
        again.append(f"DATA={shlex.quote(str(demo.options.data))}")
    if demo.options.start:
        again.append(f"START={demo.options.start}")
    if demo.options.use_case:
        again.append(f"USE_CASE={shlex.quote(demo.options.use_case)}")
    if demo.options.real_people:
        again.append("PEOPLE=real")
    rows = ["all servers are stopped"]
    if not demo.options.stop:
        rows = ["the servers still run, to look around", "stop them   make down"]
    for row in (*rows, f"again       {' '.join(again)}", "clean up    make clean"):
        console.print(row, highlight=False, soft_wrap=True, markup=False)
