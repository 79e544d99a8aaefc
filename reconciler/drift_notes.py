"""What follows from drift: one notice for each device, release and set of quantities; and earlier labeling. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Final

from inspection.drifting import DriftingLine
from reconciler.drift import Comparison, Quantity, State
from reconciler.view import Notice, Topic

_NAMES: Final[Mapping[str, Mapping[Quantity, str]]] = {
    "en": {quantity: str(quantity) for quantity in Quantity},
    "ja": {
        Quantity.SCORE: "スコア",
        Quantity.SIZE: "枠の大きさ",
        Quantity.BRIGHTNESS: "明るさ",
        Quantity.SHARPNESS: "鮮明さ",
        Quantity.VERDICTS: "合格以外の割合",
    },
}


def drift_notices(found: Iterable[Comparison], languages: Mapping[str, str]) -> tuple[Notice, ...]:
    """The notices about alerts.

    A later window of the same alert gives the same subject, so that it is told once; another quantity that begins to
    drift gives another one.

    Args:
        languages: product -> language of its notices; nobody is told of another product.
    """
    alerts = [one for one in found if one.state is State.ALERT and one.use_case in languages]
    alerts.sort(key=_line_of)
    notices = []
    for (use_case, device, digest), of_device in groupby(alerts, key=_line_of):
        drifting = sorted(of_device, key=lambda one: (one.class_name, one.quantity))
        language = languages[use_case]
        names = _NAMES.get(language, _NAMES["en"])
        notices.append(
            Notice(
                use_case=use_case,
                language=language,
                topic=Topic.DRIFT,
                subject=f"{device}/{digest}/" + ",".join(f"{one.quantity}:{one.class_name}" for one in drifting),
                values={"device": device, "what": ", ".join(_said(one, names) for one in drifting)},
            )
        )
    return tuple(notices)


def drifting_lines(found: Iterable[Comparison], use_cases: Iterable[str]) -> dict[str, tuple[DriftingLine, ...]]:
    """The lines with an alert, of each of these products; a product without one has none.

    A line of which only scores or sizes of boxes drift is told with those classes, any other one as a whole.
    """
    lines: dict[str, list[DriftingLine]] = {name: [] for name in use_cases}
    alerts = [one for one in found if one.state is State.ALERT and one.use_case in lines and one.since is not None]
    alerts.sort(key=_line_of)
    for (use_case, device, _), of_device in groupby(alerts, key=_line_of):
        drifting = list(of_device)
        classes = {one.class_name for one in drifting}
        since = min(one.since for one in drifting if one.since is not None)
        whole = "" in classes
        lines[use_case].append(
            DriftingLine(device=device, since=since, classes=() if whole else tuple(sorted(classes)))
        )
    return {name: tuple(of_product) for name, of_product in lines.items()}


def _line_of(one: Comparison) -> tuple[str, str, str]:
    return one.use_case, one.device, one.release_digest


def _said(one: Comparison, names: Mapping[Quantity, str]) -> str:
    name = f"{one.class_name}: {names[one.quantity]}" if one.class_name else names[one.quantity]
    return f"{name} {one.from_median:.3g} → {one.to_median:.3g}"
