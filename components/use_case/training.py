"""The sections on training: the detector, its base weights, when a training is due, and what its pod asks for."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.quantities import BYTES, CPU
from components.use_case.section import Section, Share
from inspection.codec import canonical_json
from inspection.outputs import ANOMALY_MAP, BOXES, OutputForm

Side = Annotated[int, Field(ge=32, le=4096, multiple_of=32)]


class Augmentation(Section):
    """Augmentation of training images, with Ultralytics' names and ranges. hsv_v: how much brighter or darker."""

    mosaic: Share = 1.0
    """Chance that a training image is joined from four."""
    scale: Share = 0.3
    """How much larger or smaller an image may become, as a share."""
    flip_horizontal: Share = 0.5
    """Chance of a mirrored image, left to right."""
    flip_vertical: Share = 0.5
    """Chance of a mirrored image, top to bottom."""
    hsv_v: Share = 0.3
    """How much brighter or darker, as a share."""


class BaseWeights(Section):
    """Weights that a training begins from, pinned by digest."""

    uri: str
    """`s3://kizu-weights/…`"""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """The digest of the file."""


class Pretraining(Section):
    """Base weights made from generated parts (`components/generated_parts`), for a product with few images of its own.

    They are made once for the same recipe and network, then kept and pinned by digest like any base weights.
    scratches: what the scratches look like. defect_rate: share of parts that carry scratches. image_width,
    image_height: the network's input while it learns from generated parts, in pixels; null takes the training's own.
    A smaller input costs less time.
    """

    scratches: Literal["burr", "hairline"] = "hairline"
    parts: Annotated[int, Field(ge=20, le=100_000)] = 400
    """How many parts are drawn."""
    defect_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.85
    epochs: Annotated[int, Field(ge=1, le=5000)] = 12
    """Passes over them."""
    learning_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.002
    """The learning rate on them."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the drawing and of the training."""
    image_width: Side | None = None
    image_height: Side | None = None


class TrainingSettings(Section):
    """How a detector is trained. image_width, image_height: the static input of the network in pixels, as it will run.

    detector: `yolov8` (Ultralytics, AGPL-3.0), `fcos` (torchvision, BSD-3-Clause; `model` n or s), or `patchcore`
    (Apache-2.0; `model` n), which learns from good parts alone and finds what looks unlike them. width_multiple narrows
    the network, also below the 0.25 of YOLOv8 n; null takes the model's own width. `patchcore` learns in one pass: of
    the other settings it reads only the input's size and the seed.
    """

    detector: Literal["yolov8", "fcos", "patchcore"] = "yolov8"
    model: Literal["n", "s", "m", "l", "x"] = "n"
    """The size of the network."""
    width_multiple: Annotated[float, Field(gt=0.0, le=2.0)] | None = None
    """The width of the network, as a multiple; none takes that of `model`."""
    image_width: Side = 320
    image_height: Side = 224
    epochs: Annotated[int, Field(ge=1, le=5000)] = 36
    """Passes over the training split."""
    batch: Annotated[int, Field(ge=1, le=1024)] = 8
    """Images a step, on all GPUs together."""
    patience: Annotated[int, Field(ge=0)] = 0
    """End after so many epochs without progress on the validation split; 0: never."""
    seed: int = 0
    """Of all random numbers of the training."""
    learning_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.002
    """The first learning rate."""
    augmentation: Augmentation = Augmentation()
    """How training images are varied."""
    base_weights: BaseWeights | None = None
    """Weights to begin from."""
    pretraining: Pretraining | None = None
    """Weights to begin from, made from generated parts."""

    @model_validator(mode="after")
    def _begins_from_one_thing(self) -> TrainingSettings:
        if self.base_weights is not None and self.pretraining is not None:
            raise ValueError("expected base_weights or pretraining, but got both; leave one out")
        return self

    @model_validator(mode="after")
    def _is_a_size_of_the_detector(self) -> TrainingSettings:
        if self.detector == "fcos" and self.model not in ("n", "s"):
            raise ValueError(f"expected model n or s with detector fcos, but got {self.model!r}")
        if self.detector == "patchcore":
            given: dict[str, object] = {"width_multiple": self.width_multiple, "base_weights": self.base_weights}
            given |= {"pretraining": self.pretraining, "model": None if self.model == "n" else self.model}
            if wrong := sorted(name for name, value in given.items() if value is not None):
                raise ValueError(
                    f"expected no {', '.join(wrong)} with detector patchcore, whose network and weights are fixed"
                )
        return self

    @property
    def output(self) -> OutputForm:
        """What its models answer; see `inspection.outputs`."""
        return ANOMALY_MAP if self.detector == "patchcore" else BOXES

    def for_pretraining(self) -> TrainingSettings:
        """The settings for learning from generated parts; there must be a recipe (`pretraining`)."""
        recipe = self.pretraining
        assert recipe is not None
        return self.model_copy(
            update={
                "pretraining": None,
                "image_width": recipe.image_width or self.image_width,
                "image_height": recipe.image_height or self.image_height,
                "epochs": recipe.epochs,
                "learning_rate": recipe.learning_rate,
                "seed": recipe.seed,
                "patience": 0,
            }
        )

    @property
    def pretraining_digest(self) -> str | None:
        """SHA-256 of what the base weights from generated parts depend on; None where there is no recipe."""
        if self.pretraining is None:
            return None
        parts = ("detector", "model", "width_multiple", "image_width", "image_height", "batch", "augmentation")
        network = self.for_pretraining().model_dump(mode="json", include=set(parts))
        own = self.pretraining.model_dump(mode="json", exclude={"image_width", "image_height"})
        recipe = {"network": network, "pretraining": own}
        return hashlib.sha256(canonical_json(recipe)).hexdigest()


class Retraining(Section):
    """When a training is due; see reconciler/training_due.py. max_age_days: since the last one; null: no limit."""

    min_new_labels: Annotated[int, Field(ge=1)] = 50
    """Approved labels since the last training that make a new one due."""
    max_age_days: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    """A training is due when the last one is older and there is a new label; null: never by age."""


class Toleration(Section):
    """A taint that the training's pod tolerates, with Kubernetes' names and meaning."""

    key: str = ""
    """The taint's key."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """`Exists` takes any value."""
    value: str = ""
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; any where it is not given."""

    @model_validator(mode="after")
    def _is_one_that_kubernetes_takes(self) -> Toleration:
        if self.operator == "Exists" and self.value:
            raise ValueError(f"expected no value with operator Exists, but got {self.value!r}")
        if not self.key and self.operator != "Exists":
            raise ValueError("expected a key, or operator Exists for all taints")
        return self


class Resources(Section):
    """What the pod of a training asks a cluster for. On a single machine it has no effect.

    cpu, memory: in Kubernetes' notation (`4`, `500m`; `8Gi`), as request and as limit; the training uses one thread for
    each cpu. gpu_type: the name of the resource of which `gpus` are asked for. workers: processes that load images for
    each GPU; they pass images through shared memory of the size `shared_memory`. retries: how often a pod that was lost
    or failed is started again; the training goes on from its last checkpoint.
    """

    cpu: Annotated[str, Field(pattern=rf"^{CPU}$")] | None = None
    memory: Annotated[str, Field(pattern=rf"^{BYTES}$")] | None = None
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    """GPUs of the pod."""
    gpu_type: Annotated[str, Field(min_length=1)] = "nvidia.com/gpu"
    node_selector: dict[str, str] = {}  # noqa: RUF012 # pydantic copies it
    """Labels of the nodes that the pod may run on."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that the pod tolerates."""
    workers: Annotated[int, Field(ge=0, le=64)] = 0
    shared_memory: Annotated[str, Field(pattern=r"^[0-9]+(Gi|Mi)$")] = "2Gi"
    """Size of `/dev/shm` where there are workers."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
