# SPDX-License-Identifier: AGPL-3.0-only
"""Which code trains: part of the answer to "has this been trained already?"."""

from __future__ import annotations

import hashlib
from pathlib import Path

from components.training.trainer import TrainingError

_ROOT = Path(__file__).resolve().parents[2]
_SOURCES = ("components/training", "inspection")
_LOCK = "locks/training.txt"


def code_digest(image_digest: str | None = None, root: Path = _ROOT) -> str:
    """`image:<digest>` of the training image where there is one, else `source:<sha256>`.

    The sources are those of this room and of `inspection`, and the lock file that pins the libraries. Neither the place
    of the files nor their times, nor compiled files, have a part in it.

    Raises:
        TrainingError: a source folder or the lock file is missing below `root`.
    """
    if image_digest:
        return f"image:{image_digest}"
    files = [root / _LOCK]
    for folder in _SOURCES:
        files += sorted((root / folder).rglob("*.py"))
    if len(files) < 3 or not files[0].is_file():
        raise TrainingError(
            f"expected the sources {', '.join(_SOURCES)} and {_LOCK} below {root}, but not all are there; in an image "
            "without them set KIZU_TRAINING_IMAGE_DIGEST to the image's digest"
        )
    total = hashlib.sha256()
    for file in files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(root).as_posix()}\0{content}\n".encode())
    return f"source:{total.hexdigest()}"
