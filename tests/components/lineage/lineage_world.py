"""A small factory on real servers: images, labels, a dataset, models in MLflow, a signed release, a device.

Everybody acts with their own identity; the auditor looks.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np

from components.deployment.keys import init, load_root, load_signers
from components.deployment.signer import Signer
from components.lineage.published_releases import PublishedReleases
from components.lineage.sources import Sources
from components.registry.register import register
from components.stores.datasets.manifest import Manifest, ManifestImage, SplitName, regions, save_manifest
from components.stores.fleet.reports import FleetReports
from components.stores.labels.store import LabelEvent, LabelStatus, LabelStore
from components.stores.labels.versions import record_label_version
from components.stores.models.approval import decide_approval
from components.stores.models.registry import ModelRegistry, ModelVersion
from components.stores.objects.s3 import S3ObjectStore
from components.stores.raw_images.images import RawImages, capture_id_for
from components.stores.releases.repository import ReleaseRepository
from inspection.documents import Capture, Reason, Reported
from inspection.geometry import Box, LabelledBox
from inspection.image import sha256_of
from tests.components.guarded_mlflow import GuardedMlflow, password_of
from tests.components.model_runs import evaluated_run, unique_use_case
from tests.deploy.stack_fixture import Servers

AT = datetime(2025, 3, 3, 9, tzinfo=UTC)
SPLITS = (SplitName.TRAIN, SplitName.VAL, SplitName.TEST)
SCRATCH = LabelledBox("scratch", Box(4, 4, 8, 8))
WIDER = LabelledBox("scratch", Box(4, 4, 16, 8))


@dataclass(frozen=True)
class StoredPicture:
    """An image in the raw bucket."""

    sha256: str
    uri: str
    device: str


def remove_releases(s3: Servers) -> None:
    """Empty the bucket of releases. Other tests of the same process leave repositories of other keys in it."""
    store = s3.store("signer")
    for info in list(store.list("kizu-releases")):
        store.delete("kizu-releases", info.key)


class LineageWorld:
    """One use case of its own, with devices of its own."""

    def __init__(self, s3: Servers, mlflow: GuardedMlflow, keys: Path | None) -> None:
        """keys: a folder for those of the signer; None where nothing is released."""
        self._s3, self._mlflow, self._count = s3, mlflow, 0
        self.use_case = unique_use_case()
        mlflow.allow(self.use_case.name, "approver")
        self.registry = ModelRegistry(mlflow.uri)
        self.device = f"line-{uuid.uuid4().hex[:8]}"
        self._raw = RawImages(s3.store("importer"), "kizu-raw")
        self.labels = LabelStore.open(s3.settings("labeling"))
        self._root: bytes | None = None
        if keys is None:
            return
        self._root = init(keys / "root", keys / "signer").read_bytes()
        self._repository = ReleaseRepository(
            s3.store("signer"), "kizu-releases", load_root(keys / "signer"), load_signers(keys / "signer")
        )
        self._repository.initialise()

    def sources(self, mlflow_uri: str = "", *, signed: bool = True) -> Sources:
        """What the auditor reads, with the auditor's rights in S3. signed: the auditor has the trusted root."""
        config, store = self._s3.settings("auditor"), self._s3.store("auditor")
        return Sources(
            store,
            "kizu-datasets",
            RawImages(store, "kizu-raw"),
            LabelStore.open(config),
            PublishedReleases(store, "kizu-releases", self._root if signed else None),
            ModelRegistry(mlflow_uri or self._mlflow.uri),
            FleetReports(store, "kizu-fleet"),
        )

    def environment(self, identity: str, mlflow_uri: str) -> dict[str, str]:
        """Of a process with this identity in S3 and in the MLflow of these tests."""
        account = {"MLFLOW_TRACKING_USERNAME": identity, "MLFLOW_TRACKING_PASSWORD": password_of(identity)}
        return self._s3.environment(identity) | account | {"MLFLOW_TRACKING_URI": mlflow_uri}

    def store(self, identity: str) -> S3ObjectStore:
        return self._s3.store(identity)

    def picture(self, *, judged_by: str | None = None, part: str | None = None) -> StoredPicture:
        """A new image, sent by the device."""
        self._count += 1
        pixels = np.random.default_rng(uuid.uuid4().int).integers(0, 255, (24, 32, 3), dtype=np.uint8)
        data = cv2.imencode(".png", pixels)[1].tobytes()
        sha256, at = sha256_of(data), AT + timedelta(minutes=self._count)
        reason = Reason.UNCERTAIN if judged_by else Reason.INITIAL
        capture = Capture(
            capture_id=capture_id_for(sha256, reason, at), sha256=sha256, device=self.device, camera="top",
            captured_at=at, reason=reason, release_digest=judged_by, part_id=part,
        )  # fmt: skip
        return StoredPicture(sha256, self._raw.put(data, capture, site="tests").uri, self.device)

    def approve(
        self, picture: StoredPicture, boxes: tuple[LabelledBox, ...] = (SCRATCH,), people: tuple[str, str] = ("7", "8")
    ) -> LabelEvent:
        """Drawn by the first, verified by the second; the approved event."""
        self._count += 1
        common = {
            "use_case": self.use_case.name, "image_uri": picture.uri, "sha256": picture.sha256, "width": 32,
            "height": 24, "boxes": boxes, "group": f"part-{picture.sha256[:6]}", "source": "label-studio",
            "annotator": people[0], "project": "3", "task": "14",
        }  # fmt: skip
        at = AT + timedelta(days=1, minutes=self._count)
        approved = LabelEvent(
            event_id=sha256_of(uuid.uuid4().bytes), status=LabelStatus.APPROVED, at=at + timedelta(seconds=30),
            verifier=people[1], **common,
        )  # fmt: skip
        labelled = LabelEvent(event_id=sha256_of(uuid.uuid4().bytes), status=LabelStatus.LABELLED, at=at, **common)
        self.labels.append([labelled, approved])
        return approved

    def freeze(
        self, pictures: list[StoredPicture], boxes: tuple[LabelledBox, ...] = (SCRATCH,), *, record: bool = True
    ) -> str:
        """A dataset of these images as they are labelled now; train, val, test in turn."""
        images = sorted(
            (
                ManifestImage(
                    sha256=picture.sha256, uri=picture.uri, width=32, height=24, group=f"part-{number}",
                    split=SPLITS[number % 3], boxes=regions(boxes),
                )
                for number, picture in enumerate(pictures)
            ),
            key=lambda image: image.sha256,
        )  # fmt: skip
        manifest = Manifest(
            use_case=self.use_case.name, classes=("scratch",), split_seed=self._count, images=tuple(images)
        )
        store = self._s3.store("training")
        if record:
            record_label_version(store, "kizu-datasets", self.use_case.name, manifest.digest, self.labels.mark())
        return save_manifest(store, "kizu-datasets", manifest)

    def train(self, dataset: str, **tags: str) -> str:
        """A finished run without what it would leave behind; its id."""
        told = {"dataset_digest": dataset, "use_case": self.use_case.name, **tags}
        run_id = self.registry.start_run(self.use_case.name, "test", told)
        self.registry.end_run(run_id)
        return run_id

    def register(self, dataset: str) -> ModelVersion:
        """A version of a run that was evaluated."""
        run_id = evaluated_run(self.registry, self.use_case, dataset=dataset)
        return register(self.registry, run_id, self.use_case, self.labels.version())

    def release(self, version: ModelVersion) -> str:
        """Approved by `approver`, and signed; its digest."""
        with self._mlflow.acting_as("approver"):
            decide_approval(self.registry, version.name, version.version, "approved", reason="no escapes")
        return Signer(self._repository, self.registry).publish_release(version.name, version.version)

    def release_of_unknown(self, digest: str) -> str:
        """Publish a copy of a release for a version that the registry does not have, and return its digest."""
        known = PublishedReleases(self._s3.store("signer"), "kizu-releases").release(digest)
        release = replace(known, version=77)
        self._repository.publish([(f"releases/{release.digest}/release.json", release.to_json())])
        return release.digest

    def report(self, running: str | None, pending: str | None = None, device: str = "") -> str:
        """What the device says that it runs; its name."""
        name = device or self.device
        reported = Reported(
            device=name, group=self.use_case.name, reported_at=AT + timedelta(days=9), state="running",
            running_release=running, pending_release=pending,
        )  # fmt: skip
        self._s3.device(name).put("kizu-fleet", f"{name}/reported.json", reported.to_json())
        return name
