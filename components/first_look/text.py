"""The use case file of a proposal: YAML with the reason of each value above it."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

from components.first_look.proposal import ANOMALY, Proposal

_WIDTH: Final = 118
_PLAIN: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_WORDS_OF_YAML: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_COLOURS: Final = ("#e4572e", "#2e86e4", "#2ea44f", "#a371f7", "#d29922", "#db61a2", "#17a2b8", "#8a6d3b")

_SMALLEST: Final = "The smallest network, which a device with a processor runs."
_WITHOUT_DEFECTS: Final = (
    "  min_image_auroc: 0.8",
    "  allow_not_measurable: [escape_rate, image_auroc]",
    "# The lowest score with so few false alarms on good parts; from 0.7 of it on, a part is uncertain.",
    "operating: {max_false_alarm_rate: 0.05, uncertain_ratio: 0.7}",
)


def use_case_text(proposal: Proposal, found: Sequence[str], photographs: str) -> str:
    """The file as text.

    Args:
        found: what the first look found, in sentences.
        photographs: the name of their folder.
    """
    classes, good_only = proposal.classes.value, proposal.kind.value == ANOMALY
    colours = ", ".join(
        f"{_scalar(name)}: {json.dumps(colour)}" for name, colour in zip(classes, _COLOURS * len(classes), strict=False)
    )
    split, (width, height) = proposal.split.value, proposal.input.value
    lines = [
        *_comment([f"{proposal.name}: proposed by `kizu new` from the photographs in {photographs}. What it found:"]),
        *_comment(found, first="# - ", rest="#   "),
        *_comment(["Each value below has its reason above it. Change what you know better. Every key:"]),
        "# docs/reference/use-case.md",
        "schema_version: 2",
        f"name: {proposal.name}",
        f"description: {json.dumps(f'The product in {photographs}.', ensure_ascii=False)}",
        *_comment([proposal.classes.why]),
        f"classes: [{', '.join(_scalar(name) for name in classes)}]",
        *_comment(["MLflow accounts that may approve a model. The account that registered it never approves it."]),
        "approvers: [approver]",
        "labeling:",
        *_comment(["What labelers read. Say what is no defect, too: dust, glare, marks."], indent="  "),
        "  instructions: >-",
        *textwrap.wrap(
            f"Draw a tight box around each defect ({', '.join(classes)}). Submit an image without a box where there is "
            "no defect.",
            _WIDTH,
            initial_indent="    ",
            subsequent_indent="    ",
        ),
        f"  colours: {{{colours}}}",
        *_comment([proposal.grouping]),
        "grouping: {rule: part}",
        *_comment([proposal.split.why]),
        f"split: {{seed: 0, test: {split.test}, val: {split.val}, min_images: {split.min_images}, "
        f"min_test_parts: {split.min_test_parts}}}",
        "training:",
        *_comment([proposal.kind.why], indent="  "),
        f"  detector: {proposal.kind.value}",
        *([] if good_only else [*_comment([_SMALLEST], indent="  "), "  model: n"]),
        *_comment([proposal.input.why], indent="  "),
        f"  image_width: {width}",
        f"  image_height: {height}",
        *([] if proposal.tiles.value else _comment([f"Tiles: {proposal.tiles.why}"], indent="  ")),
        *([] if good_only else _epochs_and_batch(proposal)),
        "  seed: 0",
        *_tiles(proposal),
        *_comment(["What a model must reach. Write what the line needs before you see a score; do not lower it then."]),
        "gates:",
        *(["  # Of an anomaly map no mAP50 is asked.", "  min_map50: 0.0"] if good_only else ["  min_map50: 0.6"]),
        "  max_escape_rate: 0.15",
        "  max_overkill_rate: 0.25",
        "  max_review_rate: 0.25",
        *_comment([proposal.bound.why], indent="  "),
        f"  bound: {proposal.bound.value}",
        *(_WITHOUT_DEFECTS if good_only else ()),
        *_comment(["The group of devices that gets the releases (`kizu enroll`)."]),
        f"rollout: {{group: {proposal.name}}}",
    ]
    return "\n".join(lines) + "\n"


def _tiles(proposal: Proposal) -> list[str]:
    cut = proposal.tiles.value
    if cut is None:
        return []
    return [*_comment([proposal.tiles.why]), f"tiles: {{scale: {cut.scale}, overlap_px: {cut.overlap_px}}}"]


def _epochs_and_batch(proposal: Proposal) -> list[str]:
    return [
        *_comment([proposal.epochs.why], indent="  "),
        f"  epochs: {proposal.epochs.value}",
        *_comment([proposal.batch.why], indent="  "),
        f"  batch: {proposal.batch.value}",
    ]


def _comment(sentences: Iterable[str], *, indent: str = "", first: str = "# ", rest: str = "# ") -> list[str]:
    return [
        line
        for sentence in sentences
        for line in textwrap.wrap(
            _one_line(sentence), _WIDTH, initial_indent=indent + first, subsequent_indent=indent + rest
        )
    ]


def _one_line(text: str) -> str:
    """Without characters that would end a comment: names of files may have them."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)


def _scalar(text: str) -> str:
    plain = _PLAIN.fullmatch(text) and text not in _WORDS_OF_YAML
    return text if plain else json.dumps(text, ensure_ascii=False)
