"""Label Studio's JSON export of a project of others (https://labelstud.io/guide/task_format).

Of each task the latest annotation that was submitted counts. Boxes are in percent of the picture that Label Studio
showed; it says that picture's size and turn with each region. The size must be that of the image.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from components.exchange.rows import ClassNames, ExchangeError, RowError, SourceRow, SourceStatus, around, moment
from components.exchange.rows import whole_pixels as pixels
from components.stores.labels.box_rule import Drawn, number
from components.stores.raw_images.set_aside import SetAside

_IMAGE: Final = re.compile(r"\.(jpe?g|png|bmp|webp|tiff?)$", re.IGNORECASE)
_UPLOAD: Final = re.compile(r"(?:^|.*/)upload/(?:.*/)?[0-9a-f]{8}-([^/]+)$")
_WITHOUT_PLACE: Final = frozenset({"choices", "textarea", "rating", "number", "datetime", "taxonomy", "pairwise"})


def read_label_studio(data: bytes, names: ClassNames) -> Iterator[SourceRow | SetAside]:
    """A row for each task that somebody submitted; the others are set aside with their position.

    Raises:
        ExchangeError: it is no JSON export of tasks.
    """
    try:
        tasks = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise ExchangeError(f"expected the JSON export of Label Studio, but {e}") from e
    if not isinstance(tasks, list):
        raise ExchangeError(f"expected a list of tasks of Label Studio, but got {type(tasks).__name__}")
    # Label Studio puts 8 digits before the name of an uploaded file. Without them two names may be the same.
    plain = Counter(_without_digits(_address(task) or "") for task in tasks)
    for position, task in enumerate(tasks, start=1):
        name = ""
        try:
            address = _address(task)
            if address is None:
                raise RowError("no-image", f"expected a task with the address of an image, but got {str(task)[:60]!r}")
            name = _without_digits(address)
            name = address if plain[name] > 1 else name
            yield _row(position, name, task, names)
        except RowError as e:
            yield SetAside(name, e.reason, str(e), position)


def _address(task: Any) -> str | None:
    """The image of a task: the value of `image`, or the first that has the name of one."""
    data = task.get("data") if isinstance(task, Mapping) else None
    if not isinstance(data, Mapping):
        return None
    texts = [data.get("image"), *data.values()]
    found = (text.partition("?d=")[2] or text.partition("?")[0] for text in texts if isinstance(text, str))
    return next((text for text in found if _IMAGE.search(text)), None)


def _without_digits(address: str) -> str:
    uploaded = _UPLOAD.match(address)
    return uploaded[1] if uploaded else address


def _row(position: int, image: str, task: Mapping[str, Any], names: ClassNames) -> SourceRow:
    annotations = task.get("annotations")
    if not isinstance(annotations, list):
        raise RowError("no-boxes", "expected a list of annotations; export as JSON, not as JSON-MIN")
    done = [one for one in annotations if isinstance(one, Mapping) and not one.get("was_cancelled")]
    if not done:
        raise RowError("no-labels", "expected a submitted annotation, but there is none")
    at, latest = max(
        ((moment(one.get("updated_at"), "updated_at"), one) for one in done), key=lambda pair: (pair[0], str(pair[1]))
    )
    result = latest.get("result")
    if not isinstance(result, list):
        raise RowError("no-boxes", f"expected a list of regions, but got {str(result)[:60]!r}")
    regions = [one for one in result if not isinstance(one, Mapping) or one.get("type") not in _WITHOUT_PLACE]
    sizes = {_size(one) for one in regions if isinstance(one, Mapping)}
    if len(sizes) > 1:
        raise RowError("size", f"expected regions of one picture, but they are of pictures of {sorted(sizes)} pixels")
    width, height = next(iter(sizes), (None, None))
    return SourceRow(
        line=position,
        image=image,
        boxes=tuple(_drawn(one, names) for one in regions),
        status=SourceStatus.UNSAID,
        at=at,
        job=str(latest.get("id") or "")[:100],
        width=width,
        height=height,
    )


def _size(region: Mapping[str, Any]) -> tuple[int, int]:
    return (
        pixels(region.get("original_width"), "original_width"),
        pixels(region.get("original_height"), "original_height"),
    )


def _drawn(region: Any, names: ClassNames) -> Drawn:
    value = region.get("value") if isinstance(region, Mapping) else None
    kind = region.get("type") if isinstance(region, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(kind, str):
        return Drawn(None, is_rectangle=False)
    labels = value.get(kind)
    label = labels[0] if isinstance(labels, list) and len(labels) == 1 else None
    name = names.find(label, label if isinstance(label, str) else "")
    width, height = _size(region)
    is_turned = number(region.get("image_rotation") or 0) != 0.0
    if kind == "rectanglelabels":
        x, y, w, h = (number(value.get(key)) for key in ("x", "y", "width", "height"))
        if x is None or y is None or w is None or h is None:
            return Drawn(name)
        return Drawn(
            name, x * width / 100, y * height / 100, w * width / 100, h * height / 100, value.get("rotation", 0),
            other_picture=is_turned,
        )  # fmt: skip
    points = value.get("points")
    if kind != "polygonlabels" or not isinstance(points, list) or len(points) < 3:
        return Drawn(None, is_rectangle=False)
    shares = [(number(p[0]), number(p[1])) for p in points if isinstance(p, list) and len(p) == 2]
    known = [(x * width / 100, y * height / 100) for x, y in shares if x is not None and y is not None]
    outline = around(known) if len(known) == len(points) else None
    if outline is None:
        return Drawn(name)
    return replace(outline, class_name=name, other_picture=is_turned)
