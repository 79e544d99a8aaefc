"""The demo with a reconciler: three rounds turn, and people only label, verify and approve."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from components.settings import Settings
from components.stores.fleet.reports import FleetReports
from components.stores.labels.store import LabelStore, Mark
from components.stores.models.evaluation_report import EvaluationReport
from components.stores.models.registry import CHAMPION, EVALUATION_REPORT, ROLLOUT_TAG
from components.stores.objects.whole_file import write_whole
from components.stores.raw_images.images import RawImages
from components.stores.releases.signer_client import SignerClient
from components.use_case import UseCase
from demo.acts import approve_as, automate, automate_no_more
from demo.approver import Approver
from demo.data import Photograph
from demo.device import Agent, feed, free_port, prepare
from demo.hints import Door
from demo.pictures import LABELS, round_picture
from demo.round_plans import AFTER_STOP, CANARY, CANARY_PARTS, OTHER_PARTS, OTHERS, ROUNDS, RoundPlan, file_of, plan_of
from demo.rounds_page import page_of
from demo.state import Demo, DemoError, GateFailed
from demo.steps import draw_approved_labels, draw_model, ingest_first_set, people
from demo.summary import RoundFacts
from demo.turning import Standing, Training, Turning
from deploy.access.identities import environment_for
from deploy.local import stack
from inspection.documents import Reported
from reconciler.decisions import Decision
from reconciler.training_facts import training_facts

APPROVER: Final = "approver"
PAGE: Final = "rounds.html"
_PHOTOGRAPHS: Final = 2
_IMAGES: Final = (".jpg", ".jpeg", ".png")


def run_rounds(demo: Demo, door: Door) -> None:
    """Turn all rounds, and write the page about them after each; `demo.rounds` gets what came of each.

    The reconciler's service must run.

    Raises:
        GateFailed: see `demo.turning.Turning.turn` and `refuse_what_was_stopped`; the rounds that are done are kept.
        DemoError: see `Turning.turn`.
    """
    with demo.step("raw images and Captures into S3"):
        demo.say(demo.progress.once("ingest", lambda: ingest_first_set(demo)))
    line = ServersAndDevices(demo)
    turning = Turning(line, demo.step, demo.say)
    with ExitStack() as held:
        held.callback(line.stop)
        held.callback(automate_no_more, demo.layout, demo.use_case.name)
        held.enter_context(people(demo, door.labelled))
        reasons = [""]
        if not demo.options.real_people:
            held.enter_context(_approver(demo, door, reasons))
        for number in range(1, ROUNDS + 1):
            began = demo.progress.once(f"round-{number}-began", line.counts)
            plan = plan_of(demo.use_case, number, began["images"], began["learned"])
            reasons[0] = plan.reason
            turned = partial(_turn, turning, plan, began)
            facts = RoundFacts.from_json(demo.progress.once(f"round-{number}", turned))
            demo.rounds.append(facts)
            if number == 1:
                demo.show(LABELS, "the boxes that people drew and verified", partial(draw_approved_labels, demo))
            drawn = partial(draw_model, demo, facts.run_id)
            demo.show(round_picture(number), "the boxes of this model on photographs of the test split", drawn)
            _write_page(demo)
    refuse_what_was_stopped(demo.rounds)


def refuse_what_was_stopped(rounds: Sequence[RoundFacts]) -> None:
    """Check that only a spoilt round was stopped.

    Raises:
        GateFailed: the model of another round was taken back.
    """
    for facts in rounds:
        if facts.rollout == "failed" and not facts.spoilt:
            raise GateFailed(
                f"round {facts.number}: version {facts.version} was stopped on the line and taken back "
                f"({facts.rollout_reason}), though nothing was wrong with the use case file; the champion stays"
            )


def _turn(turning: Turning, plan: RoundPlan, began: dict[str, Any]) -> dict[str, Any]:
    return turning.turn(plan, began["run"], began["sent"]).to_json()


def _approver(demo: Demo, door: Door, reasons: list[str]) -> Approver:
    model = demo.use_case.name

    def approve(version: int, reason: str) -> None:
        approve_as(demo.layout, APPROVER, model, version, reason=reason)

    return Approver(demo.registry, model, approve, lambda: reasons[0], door.approved)


def _write_page(demo: Demo) -> None:
    store, name = demo.store("reconciler"), demo.use_case.name
    keys = sorted(info.key for info in store.list("kizu-state", f"decisions/{name}/"))
    decisions = [Decision.from_json(store.get("kizu-state", key)) for key in keys]
    reports = [report for report in FleetReports(store, "kizu-fleet").reports() if report.use_case == name]
    path = demo.layout.home / "demo" / PAGE
    text = page_of(name, demo.rounds, decisions, reports, seconds=time.monotonic() - demo.began, now=datetime.now(UTC))
    write_whole(path, text.encode())


@dataclass(slots=True)
class _Running:
    """A device of the demo, and its agent."""

    agent: Agent
    started: bool = False


class ServersAndDevices:
    """The port `demo.turning.Line` over the servers and three devices of this machine."""

    def __init__(self, demo: Demo) -> None:
        self._demo = demo
        self._model = demo.use_case.name
        self._reconciler = Settings.from_environment(environment_for(demo.layout, "reconciler"))
        self._signer = SignerClient.from_settings(self._reconciler)
        self._labels = Settings.from_environment(environment_for(demo.layout, "labeling"))
        self._raw = RawImages(demo.store("importer"), "kizu-raw")
        self._fleet = FleetReports(demo.store("reconciler"), "kizu-fleet")
        group = demo.use_case.rollout.group
        others = [
            prepare(demo.layout, use_case=self._model, group=group, name=name, page_port=free_port()) for name in OTHERS
        ]
        self._devices = {device.name: _Running(Agent(device)) for device in (demo.device, *others)}
        self._fed_at = 0.0
        self._approved: tuple[Mark, int] | None = None

    def counts(self) -> dict[str, Any]:
        """What is there before a round."""
        run = self.trained()
        approved = self.approved()
        images = self._raw.list_images()
        return {
            "images": len({image.sha256 for image in images}),
            "learned": approved - training_facts(self._reconciler, self._model).new_labels if approved else 0,
            "run": run.run_id if run else "",
            "sent": sum(image.device in self._devices for image in images),
        }

    def automate(self, number: int, use_case: UseCase) -> None:
        """Write a use case file of the round, and give it to the reconciler as a person would."""
        file = self._demo.layout.home / "demo" / f"use-case-of-round-{number}.yaml"
        write_whole(file, file_of(use_case).encode())
        automate(self._demo.layout, file)

    def approved(self) -> int:
        """Images with an approved label."""
        labels = LabelStore.open(self._labels)
        mark = labels.mark()
        if self._approved is None or self._approved[0] != mark:
            self._approved = mark, len(labels.latest_approved(self._model))
        return self._approved[1]

    def trained(self) -> Training | None:
        """The training run that finished last."""
        run = self._demo.registry.newest_run(self._model, {"use_case": self._model})
        return Training(run.run_id, run.tags.get("gate") == "passed") if run and run.tags.get("gate") else None

    def figures(self, run_id: str) -> dict[str, Any]:
        """Figures of the evaluation report."""
        report = EvaluationReport.from_json(self._demo.registry.get_artifact(run_id, EVALUATION_REPORT))
        test = report.test
        return {
            "dataset": report.dataset_digest, "map50": test.map50, "escape": str(test.escape),
            "overkill": str(test.overkill),
        }  # fmt: skip

    def version_of(self, run_id: str) -> int | None:
        """The version that a run registered."""
        found = self._demo.registry.newest_versions(self._model, {"gate": "passed"}, 1)
        return found[0].version if found and found[0].run_id == run_id else None

    def approval(self, version: int) -> tuple[str, str, str]:
        """The state of an approval, who gave it, and their reason."""
        tags = self._demo.registry.version(self._model, version).tags
        return tags.get("approval", ""), tags.get("approval_by", ""), tags.get("approval_reason", "")

    def start_devices(self) -> None:
        """Start the devices that do not run yet."""
        for device in self._devices.values():
            if not device.started:
                device.agent.start()
                device.started = True

    def standing(self, version: int) -> Standing | None:
        """How the rollout of a version stands."""
        desired = self._signer.desired(self._model, self._demo.use_case.rollout.group)
        plan = desired.rollout if desired is not None else None
        if plan is None or plan.version != version:
            return None
        return Standing(plan.state, plan.release_digest, plan.former_digest, plan.reason, plan.devices)

    def runs(self, devices: Sequence[str], digest: str | None) -> bool:
        """Whether all of these devices run a release for good."""
        reports = [self._fleet.report(device) for device in devices]
        return all(r is not None and r.running_release == digest and r.pending_release is None for r in reports)

    def feed(self, number: int, device: str, parts: int) -> None:
        """Let the next parts of a round pass a device's camera."""
        camera = self._devices[device].agent.device.camera
        at = self._demo.progress.once(f"photographed-{number}-{device}", lambda: datetime.now(UTC).timestamp())
        for frame in _frames(self._demo.data.device, number, device)[: parts * _PHOTOGRAPHS]:
            feed(camera, frame.name, frame.data, frame.part_id, at)

    def ended(self, version: int) -> str:
        """How the rollout of a version is noted in MLflow."""
        return self._demo.registry.version(self._model, version).tags.get(ROLLOUT_TAG, "")

    def champion(self) -> int | None:
        """The champion's version."""
        found = self._demo.registry.by_alias(self._model, CHAMPION)
        return found.version if found else None

    def sent(self) -> int | None:
        """Images that the devices have sent back; None while a camera or an outbox is not empty."""
        cameras = [device.agent.device.camera for device in self._devices.values()]
        if any(path.suffix in _IMAGES for camera in cameras for path in camera.iterdir()):
            self._fed_at = datetime.now(UTC).timestamp()
            return None
        reports = [self._fleet.report(name) for name in self._devices]
        if not all(report is not None and self._is_empty(report) for report in reports):
            return None
        return sum(image.device in self._devices for image in self._raw.list_images())

    def _is_empty(self, report: Reported) -> bool:
        return report.outbox_depth == 0 and report.reported_at.timestamp() > self._fed_at

    def check(self) -> None:
        """Raise DemoError where the reconciler has ended, DeviceError where a device has."""
        for device in self._devices.values():
            device.agent.check()
        for service in stack.status(self._demo.layout).services:
            if service.name == "reconciler" and service.state == "exited":
                raise DemoError(f"the reconciler has ended ({service.detail}); see {self._demo.layout.logs}")

    def stop(self) -> None:
        """Stop the devices."""
        for device in self._devices.values():
            device.agent.stop()


def _frames(frames: Sequence[Photograph], number: int, device: str) -> Sequence[Photograph]:
    """The photographs of a device in a round: the canary's rounds first, then those of the others' first round."""
    if device == CANARY:
        count = CANARY_PARTS * _PHOTOGRAPHS
        return frames[(number - 1) * count : number * count]
    count = OTHER_PARTS * _PHOTOGRAPHS
    begin = AFTER_STOP * CANARY_PARTS * _PHOTOGRAPHS + OTHERS.index(device) * count
    return frames[begin : begin + count]
