"""Draw photographs of ceramic discs for the tutorial: `python docs/tutorial/draw_discs.py FOLDER`.

A disc may have a chip at its rim or a crack; pencil marks and dust are harmless. Each disc is photographed twice.
FOLDER gets photographs/ and line/, what a camera sees later. In photographs/, parts.csv says which of them show one
disc, and annotations.json holds the true boxes of all discs but the first five, which are left to people.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

WIDTH, HEIGHT = 320, 240
CLASSES = ("chip", "crack")
PARTS, LEFT_TO_PEOPLE, LINE_PARTS, PHOTOGRAPHS_PER_PART = 90, 5, 12, 2


def draw_disc(part: int, photograph: int) -> tuple[np.ndarray, list[tuple[int, list[float]]]]:
    """One photograph (240, 320, 3) uint8 and its boxes: class number, [x, y, width, height] in pixels."""
    # What belongs to the part is drawn by the part's own random numbers; light, pose and noise differ by photograph.
    of_part = np.random.default_rng([7, part])
    of_photograph = np.random.default_rng([7, part, photograph])
    centre = np.array([WIDTH / 2, HEIGHT / 2]) + of_photograph.uniform(-20, 20, 2)
    turn = of_photograph.uniform(0, 2 * np.pi)
    radius = 85.0
    ground, body = of_photograph.uniform(45, 65), of_photograph.uniform(185, 215)
    image = np.full((HEIGHT, WIDTH), ground, np.float32)
    cv2.circle(image, _point(centre), int(radius), float(body), -1, cv2.LINE_AA)

    for _ in range(of_part.integers(0, 5)):  # pencil marks: thin, straight, a little darker
        start, end = (_on_disc(of_part, centre, turn, radius) for _ in range(2))
        cv2.line(image, _point(start), _point(start + (end - start) * 0.3), float(body - 18), 1, cv2.LINE_AA)
    for _ in range(of_part.integers(5, 15)):  # dust
        cv2.circle(image, _point(_on_disc(of_part, centre, turn, radius)), 1, float(body - 40), -1, cv2.LINE_AA)
    cv2.circle(image, _point(centre), 22, float(ground), -1, cv2.LINE_AA)

    boxes: list[tuple[int, list[float]]] = []
    kind = of_part.choice(["good", "chip", "crack", "both"], p=[0.4, 0.25, 0.25, 0.1])
    if kind in ("chip", "both"):
        angle = of_part.uniform(0, 2 * np.pi) + turn
        at = centre + radius * np.array([np.cos(angle), np.sin(angle)])
        size = of_part.uniform(10, 18)
        corners = at + np.stack([_around(a, size * of_part.uniform(0.7, 1.0)) for a in np.arange(0, 6.2, 0.7)])
        before = image.copy()
        cv2.fillPoly(image, [corners.round().astype(np.int32)], float(ground), cv2.LINE_AA)
        boxes.append((0, _box_of(np.abs(image - before) > 25)))
    if kind in ("crack", "both"):
        angle = of_part.uniform(0, 2 * np.pi)
        places = np.linspace(0.35, of_part.uniform(0.75, 0.95), 7) * radius
        bends = angle + np.cumsum(of_part.normal(0, 0.09, 7)) + turn
        line = centre + np.stack([places * np.cos(bends), places * np.sin(bends)], axis=1)
        before = image.copy()
        cv2.polylines(image, [line.round().astype(np.int32)], isClosed=False, color=float(body - 110), thickness=2)
        boxes.append((1, _box_of(np.abs(image - before) > 25)))

    slope = of_photograph.uniform(-0.15, 0.15, 2)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    image = image * (1 + slope[0] * (x / WIDTH - 0.5) + slope[1] * (y / HEIGHT - 0.5))
    image = image + of_photograph.normal(0, 4, image.shape)
    return cv2.cvtColor(np.clip(image, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR), boxes


def _around(angle: float, size: float) -> np.ndarray:
    return size * np.array([np.cos(angle), np.sin(angle)])


def _on_disc(chance: np.random.Generator, centre: np.ndarray, turn: float, radius: float) -> np.ndarray:
    return centre + _around(chance.uniform(0, 2 * np.pi) + turn, chance.uniform(0.35, 0.9) * radius)


def _point(at: np.ndarray) -> tuple[int, int]:
    return round(float(at[0])), round(float(at[1]))


def _box_of(changed: np.ndarray) -> list[float]:
    rows, columns = np.nonzero(changed.any(axis=1))[0], np.nonzero(changed.any(axis=0))[0]
    return [float(columns[0]), float(rows[0]), float(np.ptp(columns) + 1), float(np.ptp(rows) + 1)]


def main() -> None:
    """Write both folders."""
    folder = Path(sys.argv[1])
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    parts = ["image,part"]
    drawn = 0
    for name, numbers in (("photographs", range(PARTS)), ("line", range(1000, 1000 + LINE_PARTS))):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for part in numbers:
            for photograph in range(PHOTOGRAPHS_PER_PART):
                picture, boxes = draw_disc(part, photograph)
                file = f"disc-{part:04}-{photograph}.jpg"
                (folder / name / file).write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
                if name == "line":
                    continue
                drawn += 1
                parts.append(f"{file},disc-{part:04}")
                if part < LEFT_TO_PEOPLE:
                    continue
                images.append({"id": len(images) + 1, "file_name": file, "width": WIDTH, "height": HEIGHT})
                for class_number, box in boxes:
                    annotations.append(
                        {"id": len(annotations) + 1, "image_id": len(images), "category_id": class_number + 1,
                         "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
                    )  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "photographs" / "annotations.json").write_text(json.dumps(truth), encoding="utf-8")
    (folder / "photographs" / "parts.csv").write_text("\n".join(parts) + "\n", encoding="utf-8")
    sys.stdout.write(f"{drawn} photographs of {PARTS} discs in {folder / 'photographs'}, others in {folder / 'line'}\n")


if __name__ == "__main__":
    main()
