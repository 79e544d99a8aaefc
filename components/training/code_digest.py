"""The digest of the code that trains: one of the inputs by which a finished training is found again."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

from components.training.trainer import TrainingError

_ROOT = Path(__file__).resolve().parents[2]
# The sources that a detector's training depends on. The code of another detector is not among them.
_SOURCES: Final[Mapping[str, tuple[str, ...]]] = {
    "yolov8": ("components/training", "components/yolov8", "inspection"),
    "fcos": ("components/training", "inspection"),
    "patchcore": ("components/training", "inspection"),
}
_LOCKS: Final[Mapping[str, str]] = {
    "yolov8": "locks/training.txt",
    "fcos": "locks/training-permissive.txt",
    "patchcore": "locks/training-permissive.txt",
}


def code_digest(detector: str, image_digest: str | None = None, root: Path = _ROOT) -> str:
    """`image:<digest>` of the training image where there is one, else `source:<sha256>`.

    The sources are the Python files of the rooms that train this detector and of `inspection`, and the lock file that
    pins its libraries. Where the files are, their times, and compiled files do not change the digest.

    Raises:
        TrainingError: a source folder or the lock file is missing below `root`.
    """
    if image_digest:
        return f"image:{image_digest}"
    sources, lock = _SOURCES[detector], root / _LOCKS[detector]
    folders = [sorted((root / folder).rglob("*.py")) for folder in sources]
    if not lock.is_file() or not all(folders):
        raise TrainingError(
            f"expected the sources {', '.join(sources)} and {_LOCKS[detector]} below {root}, but not all are there; "
            f"take an image that trains {detector}, or in one of your own set KIZU_TRAINING_IMAGE_DIGEST to its digest"
        )
    files = [lock, *(file for found in folders for file in found)]
    total = hashlib.sha256()
    for file in files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(root).as_posix()}\0{content}\n".encode())
    return f"source:{total.hexdigest()}"


def code_revision(root: Path = _ROOT) -> str:
    """The commit of the sources, with `-dirty` where they were changed since; '' outside a git repository.

    It is for people. Whether something was trained already is decided by `code_digest`.
    """
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def packages() -> str:
    """The installed packages, one `name==version` a line, sorted."""
    found = {f"{item.name}=={item.version}" for item in distributions() if item.name}
    return "".join(f"{line}\n" for line in sorted(found, key=str.lower))
