"""A use case with labels in the real label store, images in the real raw bucket, and a champion in a real MLflow."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import cv2
import numpy as np

from components.settings import Settings
from components.stores.labels.store import LabelEvent, LabelStatus, LabelStore
from components.stores.models.registry import CHAMPION, ModelRegistry
from components.stores.objects.s3 import S3ObjectStore
from components.stores.raw_images.images import RawImages, capture_id_for
from components.use_case import UseCase
from inspection.documents import Capture, Reason
from inspection.geometry import Box, LabelledBox
from inspection.image import sha256_of
from tests.components.evaluation.brightness_detector import MARK, brightness_model
from tests.components.guarded_mlflow import GuardedMlflow
from tests.components.model_runs import evaluated_run, unique_use_case

HOSTILE = "<script>alert(1)</script>|`#*"
AT = datetime(2025, 3, 3, 9, tzinfo=UTC)


def picture(brightness: int, seed: int) -> bytes:
    """64 x 64, its own texture, and a square of this brightness where the champion looks."""
    pixels = np.random.default_rng(seed).integers(60, 120, (64, 64, 3), dtype=np.uint8)
    pixels[16:32, 16:32] = brightness
    return cv2.imencode(".png", pixels)[1].tobytes()


class ReportWorld:
    """What a report is made of. The champion sees one scratch in `MARK`, with the brightness there as its score."""

    def __init__(self, installation: Settings, registry: ModelRegistry, mlflow: GuardedMlflow) -> None:
        self.settings = installation.model_copy(update={"mlflow_tracking_uri": mlflow.uri})
        self._mlflow = mlflow
        self.use_case: UseCase = unique_use_case()
        self.registry = registry
        self.device = f"line-{uuid.uuid4().hex[:8]}"
        self._raw = RawImages(S3ObjectStore.from_settings(installation), installation.bucket("raw"))
        self._count = 0

    def roll_out(self) -> str:
        """Make a champion; its title."""
        run_id = evaluated_run(self.registry, self.use_case, onnx=brightness_model())
        version = self.registry.create_version(self.use_case.name, run_id, {}, "")
        with self._mlflow.acting_as("reconciler"):
            self.registry.set_alias(version, CHAMPION)
        return f"{version.name}/{version.version}"

    def put(self, data: bytes, *, camera: str = "top") -> tuple[str, str]:
        """An image in the raw bucket; its URI and sha256."""
        self._count += 1
        sha256, at = sha256_of(data), AT + timedelta(days=self._count % 3)
        capture = Capture(
            capture_id=capture_id_for(sha256, "initial", at), sha256=sha256, device=self.device, camera=camera,
            captured_at=at, reason=Reason.INITIAL,
        )  # fmt: skip
        return self._raw.put(data, capture, site="tests").uri, sha256

    def approve(self, data: bytes, boxes: list[tuple[str, Box]], *, camera: str = "top", **more: str) -> str:
        """An image with an approved label; its sha256."""
        uri, sha256 = self.put(data, camera=camera)
        height, width = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2]
        common = {
            "use_case": self.use_case.name, "image_uri": uri, "sha256": sha256, "width": width, "height": height,
            "boxes": tuple(LabelledBox(name, box) for name, box in boxes), "group": f"part-{self._count}",
            "source": "test", "annotator": "7",
        } | more  # fmt: skip
        at = AT + timedelta(hours=self._count)
        LabelStore.open(self.settings).append(
            [
                LabelEvent(event_id=uuid.uuid4().hex, status=LabelStatus.LABELLED, at=at, **common),
                LabelEvent(
                    event_id=uuid.uuid4().hex, status=LabelStatus.APPROVED, at=at + timedelta(minutes=1), verifier="8",
                    **common,
                ),
            ]
        )  # fmt: skip
        return sha256

    def fill(self, champion: str) -> dict[str, str]:
        """Labels of every kind; name -> sha256."""
        mark = ("scratch", MARK)
        return {
            "as shown": self.approve(picture(200, 1), [mark], prelabel_model=champion),
            "removed": self.approve(picture(100, 2), [], prelabel_model=champion),
            "missing": self.approve(picture(250, 3), [], camera=HOSTILE),
            "nothing": self.approve(picture(0, 4), [mark], annotator=HOSTILE),
            "other": self.approve(picture(220, 5), [(HOSTILE, MARK)], group=HOSTILE),
        }
