"""The use case file: what changes from one product to another. Unknown keys are refused by name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from inspection.codec import canonical_json
from inspection.paths import check_name

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Score = Annotated[float, Field(gt=0.0, le=1.0)]
Side = Annotated[int, Field(ge=32, le=4096, multiple_of=32)]
Rate = Literal["escape_rate", "overkill_rate", "champion_interval"]


class UseCaseError(ValueError):
    """A use case file that is missing or does not have the expected form."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Priority(_Section):
    """Which images people get first; see components/labeling/priority.py.

    random_share: places that go to images chosen by chance, so that the labels do not only show what a model doubts.
    max_per_group, max_per_hour: of one part, and of one hour (UTC) of capture, before all others had their turn.
    """

    random_share: Share = 0.2
    max_per_group: Annotated[int, Field(ge=1)] = 5
    max_per_hour: Annotated[int, Field(ge=1)] = 50


class Labeling(_Section):
    """What labelers see. max_images_per_job: open labeling tasks at a time. language: of the sentences that Kizu adds.

    overlap: how many people draw each image without each other; with 2, boxes of one class that lie on each other by
    `agreement_iou` agree, and a third person draws where the two do not.
    """

    instructions: str
    language: Literal["en", "ja"] = "en"
    colours: dict[str, str] = {}
    max_images_per_job: Annotated[int, Field(ge=1, le=10_000)] = 200
    overlap: Literal[1, 2] = 1
    agreement_iou: Score = 0.5
    priority: Priority = Priority()


class Grouping(_Section):
    """Which photographs belong together: those of one physical part, or each image alone."""

    rule: Literal["part", "image"] = "part"


class Split(_Section):
    """How groups fall to the splits; train takes what test and val leave."""

    seed: int = 0
    test: Share = 0.2
    val: Share = 0.15
    min_images: Annotated[int, Field(ge=1)] = 10
    min_test_parts: Annotated[int, Field(ge=1)] = 2

    @model_validator(mode="after")
    def _leaves_training(self) -> Split:
        if self.test + self.val >= 0.9:
            raise ValueError(f"test + val must leave at least a tenth for train, but got {self.test} + {self.val}")
        return self


class Augmentation(_Section):
    """Ultralytics' names and ranges; hsv_v is how much brighter or darker."""

    mosaic: Share = 1.0
    scale: Share = 0.3
    flip_horizontal: Share = 0.5
    flip_vertical: Share = 0.5
    hsv_v: Share = 0.3


class BaseWeights(_Section):
    """Weights to begin from, pinned by digest."""

    uri: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Pretraining(_Section):
    """Base weights from generated parts (`components/line_generator.py`), for a product with few images and no others.

    Made once for the same recipe and network, then kept and pinned by digest like any base weights.
    scratches: what they look like; defect_rate: share of parts that carry some. image_width, image_height: of the
    network's input while it learns from them, where they are not those of the training: smaller ones cost less.
    """

    scratches: Literal["burr", "hairline"] = "hairline"
    parts: Annotated[int, Field(ge=20, le=100_000)] = 400
    defect_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.85
    epochs: Annotated[int, Field(ge=1, le=5000)] = 12
    learning_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.002
    seed: Annotated[int, Field(ge=0)] = 0
    image_width: Side | None = None
    image_height: Side | None = None


class TrainingSettings(_Section):
    """How a detector is trained. image_width, image_height: the static input, pixels, as it will run.

    detector: `yolov8` (Ultralytics, AGPL-3.0) or `fcos` (torchvision, BSD-3-Clause; `model` n or s). width_multiple
    narrows the network, YOLOv8 below `n` (0.25) too; None takes the model's own.
    """

    detector: Literal["yolov8", "fcos"] = "yolov8"
    model: Literal["n", "s", "m", "l", "x"] = "n"
    width_multiple: Annotated[float, Field(gt=0.0, le=2.0)] | None = None
    image_width: Side = 320
    image_height: Side = 224
    epochs: Annotated[int, Field(ge=1, le=5000)] = 36
    batch: Annotated[int, Field(ge=1, le=1024)] = 8
    patience: Annotated[int, Field(ge=0)] = 0
    seed: int = 0
    learning_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.002
    augmentation: Augmentation = Augmentation()
    base_weights: BaseWeights | None = None
    pretraining: Pretraining | None = None

    @model_validator(mode="after")
    def _begins_from_one_thing(self) -> TrainingSettings:
        if self.base_weights is not None and self.pretraining is not None:
            raise ValueError("expected base_weights or pretraining, but got both; leave one out")
        return self

    @model_validator(mode="after")
    def _is_a_size_of_the_detector(self) -> TrainingSettings:
        if self.detector == "fcos" and self.model not in ("n", "s"):
            raise ValueError(f"expected model n or s with detector fcos, but got {self.model!r}")
        return self

    def for_pretraining(self) -> TrainingSettings:
        """How the network learns from generated parts, where there is a recipe."""
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
        """SHA-256 of what the base weights from generated parts depend on; None where there are none to make."""
        if self.pretraining is None:
            return None
        parts = ("detector", "model", "width_multiple", "image_width", "image_height", "batch", "augmentation")
        network = self.for_pretraining().model_dump(mode="json", include=set(parts))
        own = self.pretraining.model_dump(mode="json", exclude={"image_width", "image_height"})
        recipe = {"network": network, "pretraining": own}
        return hashlib.sha256(canonical_json(recipe)).hexdigest()


class Retraining(_Section):
    """When a training is due, see components/retraining.py. max_age_days: since the last one; null: never by age."""

    min_new_labels: Annotated[int, Field(ge=1)] = 50
    max_age_days: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None


class Toleration(_Section):
    """A taint of nodes that the training's pod may stand on all the same; Kubernetes' names and meaning."""

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    @model_validator(mode="after")
    def _is_one_that_kubernetes_takes(self) -> Toleration:
        if self.operator == "Exists" and self.value:
            raise ValueError(f"expected no value with operator Exists, but got {self.value!r}")
        if not self.key and self.operator != "Exists":
            raise ValueError("expected a key, or operator Exists for all taints")
        return self


class Resources(_Section):
    """What the pod of a training asks a cluster for; a single machine gives what it has.

    cpu, memory: in Kubernetes' notation (`4`, `500m`; `8Gi`), request and limit alike; the training has a thread for
    each cpu. gpu_type: the name of the resource of which there are `gpus`. workers: processes that load images for each
    GPU; they pass them through shared memory of that size. retries: how often a pod that was lost or failed is started
    again; it goes on from the last checkpoint.
    """

    cpu: Annotated[str, Field(pattern=r"^([0-9]*[.])?[0-9]+m?$")] | None = None
    memory: Annotated[str, Field(pattern=r"^[0-9]+(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)?$")] | None = None
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    gpu_type: Annotated[str, Field(min_length=1)] = "nvidia.com/gpu"
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    workers: Annotated[int, Field(ge=0, le=64)] = 0
    shared_memory: Annotated[str, Field(pattern=r"^[0-9]+(Gi|Mi)$")] = "2Gi"
    retries: Annotated[int, Field(ge=0, le=10)] = 2


class Gates(_Section):
    """What a model must reach on the test split before a person is asked.

    A rate that fewer than `min_parts` parts support is not measurable; that passes only where the rate is listed in
    `allow_not_measurable`. max_map50_drop: how far below the champion, scored on the same split, it may lie; nor
    may the whole 95 % interval of the difference (`champion_interval`) lie below 0. A drop of 1 compares neither.
    """

    min_map50: Share
    max_escape_rate: Share
    max_overkill_rate: Share
    min_parts: Annotated[int, Field(ge=1)] = 5
    allow_not_measurable: tuple[Rate, ...] = ()
    max_map50_drop: Share = 0.02
    max_class_map50_drop: Share = 0.05


class Operating(_Section):
    """The score from which a part is defective: chosen on the validation split, lowest overkill with escape <= bound.

    uncertain_ratio: the score from which a frame is uncertain, as a share of that threshold. default_score is taken
    where the validation split cannot tell (no defective or no good part in it).
    """

    max_escape_rate: Share = 0.05
    default_score: Score = 0.35
    min_score: Score = 0.15
    max_score: Score = 0.7
    uncertain_ratio: Annotated[float, Field(ge=0.01, le=1.0)] = 0.5

    @model_validator(mode="after")
    def _there_are_scores_to_choose_from(self) -> Operating:
        if not 0.01 <= self.min_score <= self.max_score:
            raise ValueError(f"expected 0.01 <= min_score <= max_score, but got {self.min_score}, {self.max_score}")
        return self


class SamplingPolicy(_Section):
    """Which frames a device sends back; travels in the release."""

    uncertain_low: Share = 0.1
    uncertain_high: Share = 0.6
    nothing_found_rate: Share = 0.05
    control_rate: Share = 0.02
    disagreement_rate: Share = 0.0
    """Share of frames that the release before judges too; where the two verdicts differ the frame is sent."""
    max_per_minute: Annotated[int, Field(ge=0)] = 60
    max_per_hour: Annotated[int, Field(ge=0)] = 1000
    max_per_day: Annotated[int, Field(ge=0)] = 10_000

    @model_validator(mode="after")
    def _the_band_of_doubt_has_an_extent(self) -> SamplingPolicy:
        # A release refuses the same, but that is after a training and an approval.
        if self.uncertain_low > self.uncertain_high:
            raise ValueError(
                f"expected uncertain_low <= uncertain_high, but got {self.uncertain_low}, {self.uncertain_high}"
            )
        return self


class Rollout(_Section):
    """How a release reaches a group of devices. Times in seconds, latency in milliseconds a frame."""

    group: str = "line"
    canary: tuple[str, ...] = ()
    waves: Annotated[tuple[Annotated[float, Field(gt=0.0, le=100.0)], ...], Field(min_length=1)] = (100.0,)
    probation_s: Annotated[float, Field(ge=0.0)] = 120.0
    report_timeout_s: Annotated[float, Field(gt=0.0)] = 3600.0
    latency_budget_ms: Annotated[float, Field(gt=0.0)] = 500.0

    @field_validator("group")
    @classmethod
    def _group_is_a_name(cls, value: str) -> str:
        return check_name("group", value)


class UseCase(_Section):
    """One product to inspect.

    approvers: the accounts of MLflow that may approve its models. They do not travel with a run and are in no digest:
    who trains writes the run, and must not choose who approves it. `kizu` brings them to MLflow's server.
    retraining: when to train says nothing of a model; it does not travel either, and a change evaluates nothing anew.
    resources: on which node a model was trained makes no other training, and no other evaluation, of it.
    """

    schema_version: Literal[1] = 1
    name: str
    description: str = ""
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    approvers: Annotated[tuple[Annotated[str, Field(pattern=r"^[^\s:]{1,255}$")], ...], Field(exclude=True)] = ()
    labeling: Labeling
    grouping: Grouping = Grouping()
    split: Split = Split()
    training: TrainingSettings = TrainingSettings()
    retraining: Annotated[Retraining, Field(exclude=True)] = Retraining()
    resources: Annotated[Resources, Field(exclude=True)] = Resources()
    gates: Gates
    operating: Operating = Operating()
    sampling: SamplingPolicy = SamplingPolicy()
    rollout: Rollout = Rollout()

    @field_validator("name")
    @classmethod
    def _name_is_a_name(cls, value: str) -> str:
        return check_name("use case", value)

    @model_validator(mode="after")
    def _asks_for_no_more_gpus_than_the_detector_takes(self) -> UseCase:
        if self.training.detector == "fcos" and self.resources.gpus > 1:
            raise ValueError(
                f"expected at most one GPU with detector fcos, but got resources.gpus {self.resources.gpus}"
            )
        return self

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value) or not all(value):
            raise ValueError(f"expected different, non-empty class names, but got {list(value)}")
        return value

    def to_json(self) -> str:
        """Canonical JSON: how a use case travels as a pipeline parameter; without what stays at home (see above)."""
        return canonical_json(self.model_dump(mode="json")).decode()

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def training_digest(self) -> str:
        """SHA-256 of what a training depends on: a new gate or rollout policy trains nothing anew."""
        parts = {"classes": self.classes, "training": self.training.model_dump(mode="json")}
        return hashlib.sha256(canonical_json(parts)).hexdigest()


def parse_use_case(text: str, *, where: str = "the use case") -> UseCase:
    """From YAML or JSON text.

    Raises:
        UseCaseError: each wrong or unknown key by name.
    """
    try:
        value = _loaded(text)
    except (yaml.YAMLError, ValueError, RecursionError) as e:  # ValueError: a date that does not exist
        raise UseCaseError(f"{where}: expected YAML, but {e}") from e
    if not isinstance(value, dict):
        raise UseCaseError(f"{where}: expected a mapping of keys, but got {type(value).__name__}")
    try:
        return UseCase.model_validate(value)
    except ValidationError as e:
        lines = [f"  {'.'.join(str(part) for part in error['loc'])}: {_said(error)}" for error in e.errors()]
        raise UseCaseError(f"{where} has {len(lines)} mistake(s):\n" + "\n".join(lines)) from None


def load_use_case(path: Path) -> UseCase:
    """Read a use case file.

    Raises:
        UseCaseError: there is no such file, or it does not have the expected form.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        raise UseCaseError(f"cannot read the use case file {path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise UseCaseError(f"cannot read the use case file {path}: expected UTF-8, but {e}") from e
    return parse_use_case(text, where=str(path))


def write_schema(path: Path) -> None:
    """Write the JSON Schema of the file: what an editor checks and completes with."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **UseCase.model_json_schema()}
    path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _loaded(text: str) -> Any:
    # YAML folds some characters that JSON keeps (U+0085, U+2028): what travels as JSON is read as JSON.
    try:
        return json.loads(text)
    except ValueError:
        return yaml.safe_load(text)


def _said(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key; see docs/reference/use-case.schema.json"
    return f"{error['msg']} (got {str(error.get('input'))[:60]!r})"
