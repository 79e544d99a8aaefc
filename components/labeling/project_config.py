"""The configuration of the two Label Studio projects of a use case, made from the use case file alone."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Final, Literal
from xml.sax.saxutils import escape, quoteattr

from components.labeling.conversion import BOXES, IMAGE
from components.labeling.texts import APPROVE, REJECT, TEXTS, UNUSABLE_REASONS, Texts
from components.use_case import UseCase

Role = Literal["labeling", "verification"]

DECISION: Final = "decision"
REASON: Final = "reason"
UNUSABLE: Final = "unusable"
# Label Studio fills a new annotation with the predictions of the version that the project names.
SHOWN_BOXES: Final = "boxes shown by kizu"

# Without a and r, which are the keys for the decision in the verification project.
_HOT_KEYS: Final = "123456789bcdefghijklmnopqstuvwxyz"
_PALETTE: Final = ("#d32f2f", "#1976d2", "#388e3c", "#f57c00", "#7b1fa2", "#00838f", "#5d4037", "#c2185b")


@dataclass(frozen=True, slots=True)
class ProjectSpec:
    """A project as it should be. `marker` is part of its description, and identifies it after a person renamed it.

    annotations: how many people each task asks for.
    """

    role: Role
    title: str
    marker: str
    instructions: str
    label_config: str
    annotations: int = 1

    @property
    def description(self) -> str:
        """The description of a new project."""
        return f"Kept in step with its use case by kizu; do not change this line: {self.marker}"


def project_spec(use_case: UseCase, role: Role) -> ProjectSpec:
    """The labeling or the verification project of a use case."""
    return ProjectSpec(
        role=role,
        title=f"{use_case.name}: {role}"[:50],  # Label Studio's limit
        marker=f"[kizu {role} of {use_case.name}]",
        instructions=_instructions(use_case, role),
        label_config=_labeling_config(use_case) if role == "labeling" else _verification_config(use_case),
        annotations=use_case.labeling.overlap if role == "labeling" else 1,
    )


def class_colour(use_case: UseCase, class_name: str) -> str:
    """The colour from the use case file, else one of a palette, else one spread over the hues."""
    index = use_case.classes.index(class_name)
    if class_name in use_case.labeling.colours:
        return use_case.labeling.colours[class_name]
    if index < len(_PALETTE):
        return _PALETTE[index]
    red, green, blue = colorsys.hls_to_rgb(index * 0.618 % 1.0, 0.4, 0.8)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def _labels(use_case: UseCase) -> str:
    lines = []
    for index, name in enumerate(use_case.classes):
        hot_key = f' hotkey="{_HOT_KEYS[index]}"' if index < len(_HOT_KEYS) else ""
        colour = quoteattr(class_colour(use_case, name))
        lines.append(f"    <Label value={quoteattr(name)} background={colour}{hot_key}/>")
    # Label Studio refuses a configuration without a class that somebody's boxes have.
    for name, now in use_case.labeling.former_classes.items():
        colour, hint = quoteattr(class_colour(use_case, now)), quoteattr(f"= {now}")
        lines.append(f"    <Label value={quoteattr(name)} background={colour} hint={hint}/>")
    return "\n".join(lines)


def _labeling_config(use_case: UseCase) -> str:
    texts = TEXTS[use_case.labeling.language]
    return f"""<View>
  <Header name="note" value="$note"/>
  <RectangleLabels name="{BOXES}" toName="{IMAGE}" canRotate="false" strokeWidth="2">
{_labels(use_case)}
  </RectangleLabels>
  <Image name="{IMAGE}" value="$image" zoom="true" zoomControl="true" rotateControl="false"/>
  <Header name="unusable-note" value={quoteattr(texts.cannot_be_labelled)} size="6"/>
  <Choices name="{UNUSABLE}" toName="{IMAGE}" choice="single" showInline="true" allowNested="false">
{_unusable(texts)}
  </Choices>
</View>"""


def _unusable(texts: Texts) -> str:
    lines = []
    for value in UNUSABLE_REASONS:
        shown = texts.unusable[value]
        alias = f" alias={quoteattr(value)}" if shown != value else ""
        lines.append(f"    <Choice value={quoteattr(shown)}{alias}/>")
    return "\n".join(lines)


def _verification_config(use_case: UseCase) -> str:
    texts = TEXTS[use_case.labeling.language]
    # Both words, so that the reason appears whether Label Studio compares with the shown text or with the alias.
    rejected = ",".join(dict.fromkeys((REJECT, texts.reject)))
    return f"""<View>
  <Header name="note" value="$note"/>
  <Choices name="{DECISION}" toName="{IMAGE}" choice="single-radio" showInline="true" required="true"
           requiredMessage={quoteattr(texts.choose)}>
    {_choice(texts.approve, APPROVE, "a")}
    {_choice(texts.reject, REJECT, "r")}
  </Choices>
  <TextArea name="{REASON}" toName="{IMAGE}" rows="2" maxSubmissions="1" editable="true"
            placeholder={quoteattr(texts.what_is_wrong)} required="true"
            requiredMessage={quoteattr(texts.say_what_is_wrong)}
            visibleWhen="choice-selected" whenTagName="{DECISION}" whenChoiceValue="{rejected}"/>
  <RectangleLabels name="{BOXES}" toName="{IMAGE}" canRotate="false" strokeWidth="2">
{_labels(use_case)}
  </RectangleLabels>
  <Image name="{IMAGE}" value="$image" zoom="true" zoomControl="true" rotateControl="false"/>
</View>"""


def _choice(shown: str, value: str, hot_key: str) -> str:
    alias = f" alias={quoteattr(value)}" if shown != value else ""
    return f"<Choice value={quoteattr(shown)}{alias} hotkey={quoteattr(hot_key)}/>"


def _instructions(use_case: UseCase, role: Role) -> str:
    # In the form that Label Studio keeps after cleaning (<br>, not <br/>); else each run would find a difference.
    written = "<br>".join(escape(line) for line in use_case.labeling.instructions.strip().splitlines())
    texts = TEXTS[use_case.labeling.language]
    return f"{written}<br>{escape(texts.nothing_to_mark if role == 'labeling' else texts.how_to_verify)}"
