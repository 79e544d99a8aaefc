"""The sections on labels: what labelers see, which photographs belong together, how parts are split."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from components.use_case.section import Score, Section, Share

_DRIFT_SHARE = 0.3


class Priority(Section):
    """Which images labelers get first; see components/labeling/priority.py.

    random_share: share of the places that go to images chosen at random, so that the labels do not only show what a
    model doubts. drift_share: share of the places that go to images of lines that drift, while there are some.
    max_per_group, max_per_hour: how many images of one part, and of one hour (UTC) of capture, come before the images
    of all others.
    """

    random_share: Share = 0.2
    drift_share: Annotated[Share, Field(exclude_if=lambda value: value == _DRIFT_SHARE)] = _DRIFT_SHARE
    max_per_group: Annotated[int, Field(ge=1)] = 5
    max_per_hour: Annotated[int, Field(ge=1)] = 50


class Labeling(Section):
    """What labelers see. max_images_per_job: open labeling tasks at a time. language: of the sentences that Kizu adds.

    overlap: how many people draw each image independently. With 2, two boxes of the same class agree if their IoU is
    at least `agreement_iou`; a third person draws the image where the two people disagree.
    """

    instructions: str
    """The text that Label Studio shows to labelers."""
    language: Literal["en", "ja"] = "en"
    colours: dict[str, str] = {}  # noqa: RUF012 # pydantic copies it
    """A colour for each class, as `#rrggbb`."""
    max_images_per_job: Annotated[int, Field(ge=1, le=10_000)] = 200
    overlap: Literal[1, 2] = 1
    former_classes: Annotated[dict[str, str], Field(exclude_if=lambda value: not value)] = {}  # noqa: RUF012
    """Former name of a class -> its name now. Boxes that people drew under the former name count as the class of now.
    Stored labels get the new name by `kizu labels rename-class`. Without any, they are part of no digest."""
    agreement_iou: Score = 0.5
    """The least overlap (IoU) at which two people's boxes agree."""
    priority: Priority = Priority()
    """Which images come first."""


class Grouping(Section):
    """Which photographs belong together: those of one physical part, or each image alone; and which parts do."""

    rule: Literal["part", "image"] = "part"
    """`part`: photographs of one part stay in one split. `image`: each image alone."""
    split_by: Annotated[str | None, Field(exclude_if=lambda value: value is None)] = None
    """A regular expression over the names of parts. Parts in which it finds the same text (its first group, or all that
    it finds) stay in one split, such as pieces of one board, of one melt or of one roll. Each is judged by itself.
    Without it, each part falls to a split by itself."""

    @field_validator("split_by")
    @classmethod
    def _is_an_expression(cls, value: str | None) -> str | None:
        try:
            found = None if value is None else re.compile(value).search("")
        except re.error as e:
            raise ValueError(f"expected a regular expression, but {e}") from e
        if found is not None:
            raise ValueError("expected an expression that finds at least one character of a part's name")
        return value

    @model_validator(mode="after")
    def _splits_parts(self) -> Grouping:
        if self.rule == "image" and self.split_by is not None:
            raise ValueError("expected rule part with split_by: with rule image there are no parts")
        return self

    def unit_of(self, part: str) -> str:
        """What falls to one split with this part, by its name: the text that `split_by` finds, or the part alone."""
        found = None if self.split_by is None else re.search(self.split_by, part)
        if found is None:
            return part
        return (found[1] if found.re.groups else found[0]) or part


class Split(Section):
    """How groups are divided into test, val and train: test and val are shares, train is the rest."""

    seed: int = 0
    """Chooses, with a part's name, the split that the part falls to. A new seed is a new split."""
    test: Share = 0.2
    """Share of the parts for the test split."""
    val: Share = 0.15
    """Share of the parts for the validation split."""
    min_images: Annotated[int, Field(ge=1)] = 10
    """Fewer approved images than this are refused."""
    min_test_parts: Annotated[int, Field(ge=1)] = 2
    """Fewer parts than this in the test split are refused."""

    @model_validator(mode="after")
    def _leaves_training(self) -> Split:
        if self.test + self.val >= 0.9:
            raise ValueError(f"test + val must leave at least a tenth for train, but got {self.test} + {self.val}")
        return self
