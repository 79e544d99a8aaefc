"""The use case file as a whole: what differs from one product to another. Unknown keys are refused by name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from components.use_case.acceptance import AcceptanceSection
from components.use_case.automation import Schedules
from components.use_case.labeling import Grouping, Labeling, Split
from components.use_case.pictures import Shrink, Tiles
from components.use_case.policy import LATER_KEYS, Gates, Operating, Rollout, SamplingPolicy
from components.use_case.section import Section
from components.use_case.training import Resources, Retraining, TrainingSettings
from inspection.anomaly import ANOMALY
from inspection.codec import canonical_json
from inspection.documents import InputSpec
from inspection.outputs import ANOMALY_MAP
from inspection.paths import check_name

_SOURCE: Final = r"^[a-z0-9*?][a-z0-9*?-]{0,62}/[a-z0-9*?][a-z0-9*?-]{0,62}$"


class UseCaseError(ValueError):
    """The use case file is missing or does not have the expected form."""


class UseCase(Section):
    """One product to inspect.

    approvers: the MLflow accounts that may approve its models. They are not stored with runs and are part of no digest:
    the account that trains writes the run and must not choose who approves it. `kizu` brings them to MLflow's server.
    retraining: when a training is due. It is not stored with runs and is part of no digest: a change of it causes no
    new evaluation.
    schedules, language: what the reconciler does by the clock, and the language in which it writes to people. As
    `retraining`, they are not stored with runs and are part of no digest.
    resources: what a training's pod asks for. `resources` is part of no digest: the node does not change the result.
    schema_version: in a file of version 1, `gates.bound` is `point` and `gates.max_review_rate` is 1 unless it says
    otherwise, so that it means what it meant before these keys were there.
    """

    schema_version: Literal[1, 2] = 2
    """The version of this form."""
    name: str
    """The product's name: also the model's name in MLflow and part of the Label Studio projects' titles."""
    description: str = ""
    """One sentence for people."""
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    """What labelers mark and the model finds. Their order is the model's."""
    approvers: Annotated[tuple[Annotated[str, Field(pattern=r"^[^\s:]{1,255}$")], ...], Field(exclude=True)] = ()
    sources: tuple[Annotated[str, Field(pattern=_SOURCE)], ...] = ()
    """Which images are of this product: patterns `<site>/<device>`, in which `*` stands for any characters. Images that
    were imported for this use case are its own without a pattern. Without sources, all images are. They are part of no
    digest: the labels say what a model learned from."""
    labeling: Labeling
    """What labelers see."""
    grouping: Grouping = Grouping()
    """Which photographs belong together."""
    split: Split = Split()
    """How parts fall to test, validation and training."""
    training: TrainingSettings = TrainingSettings()
    """How a detector is trained."""
    shrink: Shrink = 1
    """A picture is decoded to sides of this part of its own, which is quicker where it is far larger than the network's
    input: 1, 2, 4 or 8."""
    tiles: Tiles | None = None
    """How a large picture is cut into tiles; without it, the whole picture is scaled to the network's input."""
    retraining: Annotated[Retraining, Field(exclude=True)] = Retraining()
    schedules: Annotated[Schedules, Field(exclude=True)] = Schedules()
    language: Annotated[Literal["en", "ja"], Field(exclude=True)] = "en"
    resources: Annotated[Resources, Field(exclude=True)] = Resources()
    gates: Gates
    """What a model must reach before a person is asked."""
    operating: Operating = Operating()
    """How the threshold is chosen."""
    acceptance: AcceptanceSection = AcceptanceSection()
    """What fails a part."""
    sampling: SamplingPolicy = SamplingPolicy()
    """Which frames a device sends back."""
    rollout: Rollout = Rollout()
    """How a release reaches its devices."""

    @model_validator(mode="before")
    @classmethod
    def _version_1_keeps_its_meaning(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("schema_version") == 1 and isinstance(value.get("gates"), dict):
            return {**value, "gates": {"bound": "point", "max_review_rate": 1.0, **value["gates"]}}
        return value

    @field_validator("name")
    @classmethod
    def _name_is_a_name(cls, value: str) -> str:
        return check_name("use case", value)

    @model_validator(mode="after")
    def _names_its_own_classes(self) -> UseCase:
        unknown = sorted(set(self.gates.allow_classes_not_measurable) - set(self.classes))
        if unknown:
            raise ValueError(
                f"expected gates.allow_classes_not_measurable to name some of {list(self.classes)}, but got {unknown}"
            )
        return self

    @model_validator(mode="after")
    def _rules_are_about_its_own_classes(self) -> UseCase:
        for rule in self.acceptance.rules:
            unknown = sorted(set(rule.classes) - set(self.classes))
            if unknown:
                raise ValueError(
                    f"expected acceptance rule {rule.name} to be about some of {list(self.classes)}, but got {unknown}"
                )
        return self

    @model_validator(mode="after")
    def _former_classes_became_others(self) -> UseCase:
        former = self.labeling.former_classes
        kept, unknown = sorted(former.keys() & set(self.classes)), sorted(set(former.values()) - set(self.classes))
        if kept or unknown:
            raise ValueError(
                "expected labeling.former_classes to map names that are no class now to some of "
                f"{list(self.classes)}, but got {former}"
            )
        return self

    @model_validator(mode="after")
    def _asks_for_no_more_gpus_than_the_detector_takes(self) -> UseCase:
        most, said = {"fcos": (1, "at most one GPU"), "patchcore": (0, "no GPU")}.get(
            self.training.detector, (None, "")
        )
        if most is not None and self.resources.gpus > most:
            raise ValueError(
                f"expected {said} with detector {self.training.detector}, but got resources.gpus {self.resources.gpus}"
            )
        return self

    @model_validator(mode="after")
    def _tiles_fit_the_network(self) -> UseCase:
        self.input_spec()
        return self

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value) or not all(value):
            raise ValueError(f"expected different, non-empty class names, but got {list(value)}")
        return value

    @property
    def model_classes(self) -> tuple[str, ...]:
        """The classes that its models answer: its own, or `anomaly` alone where they learn from good parts.

        People label with the product's own classes from the first day, so that a detector can learn from the same
        labels later.
        """
        return (ANOMALY,) if self.training.output == ANOMALY_MAP else self.classes

    def to_json(self) -> str:
        """Canonical JSON, as passed to pipelines and stored with runs: without what is excluded."""
        return canonical_json(self._values() | ({"sources": list(self.sources)} if self.sources else {})).decode()

    def _values(self) -> dict[str, Any]:
        values = self.model_dump(mode="json", exclude={"sources"})
        # A key that came later is left out where it has its default, so that digests of before stay as they were.
        usual = Rollout().model_dump(mode="json")
        for key in LATER_KEYS:
            if values["rollout"][key] == usual[key]:
                del values["rollout"][key]
        values["acceptance"] = self.acceptance.model_dump(mode="json", exclude_none=True)
        if self.acceptance == AcceptanceSection():
            del values["acceptance"]
        for key in ("shrink", "tiles"):
            if getattr(self, key) == type(self).model_fields[key].default:
                del values[key]
        return values

    def input_spec(self) -> InputSpec:
        """How a picture becomes the input of the network that is trained."""
        tiles = None if self.tiles is None else self.tiles.to_release()
        return InputSpec(
            width=self.training.image_width, height=self.training.image_height, shrink=self.shrink, tiles=tiles
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON without the sources."""
        return hashlib.sha256(canonical_json(self._values())).hexdigest()

    @property
    def training_digest(self) -> str:
        """SHA-256 of what a training depends on. A new gate or rollout policy leaves it as it is."""
        parts: dict[str, Any] = {"classes": self.classes, "training": self.training.model_dump(mode="json")}
        values = self._values()
        parts |= {key: values[key] for key in ("shrink", "tiles") if key in values}
        return hashlib.sha256(canonical_json(parts)).hexdigest()


def parse_use_case(text: str, *, where: str = "the use case") -> UseCase:
    """Read a use case from YAML or JSON text. where: what error messages call the text.

    Raises:
        UseCaseError: the text has mistakes; the message names each wrong or unknown key.
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
        UseCaseError: there is no such file, it is not UTF-8, or it does not have the expected form.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        raise UseCaseError(f"cannot read the use case file {path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise UseCaseError(f"cannot read the use case file {path}: expected UTF-8, but {e}") from e
    return parse_use_case(text, where=str(path))


def write_schema(path: Path) -> None:
    """Write the JSON Schema of the use case file, by which an editor checks and completes it."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **UseCase.model_json_schema()}
    path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _loaded(text: str) -> Any:
    # YAML changes some characters that JSON keeps (U+0085, U+2028), so JSON is tried first.
    try:
        return json.loads(text)
    except ValueError:
        return yaml.safe_load(text)


def _said(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key; see docs/reference/use-case.schema.json"
    return f"{error['msg']} (got {str(error.get('input'))[:60]!r})"
