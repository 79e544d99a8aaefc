"""Which code trains: part of the answer to "has this been trained already?"."""

from __future__ import annotations

import hashlib
import subprocess
from importlib.metadata import distributions
from pathlib import Path

from components.trainers.trainer import TrainingError

_ROOT = Path(__file__).resolve().parents[2]
_SOURCES = ("components/trainers", "inspection")
_AGPL_ROOM = "components/training"  # not in every image
_LOCKS = ("locks/training.txt", "locks/training-permissive.txt")


def code_digest(image_digest: str | None = None, root: Path = _ROOT) -> str:
    """`image:<digest>` of the training image where there is one, else `source:<sha256>`.

    The sources are those of this room, of YOLOv8's where it is there and of `inspection`, and the lock files that pin
    the libraries. Neither the place of the files nor their times, nor compiled files, have a part in it.

    Raises:
        TrainingError: a source folder or the lock file is missing below `root`.
    """
    if image_digest:
        return f"image:{image_digest}"
    files = [root / lock for lock in _LOCKS if (root / lock).is_file()]
    folders = [sorted((root / folder).rglob("*.py")) for folder in (*_SOURCES, _AGPL_ROOM)]
    if not files or not all(folders[:-1]):
        raise TrainingError(
            f"expected the sources {', '.join(_SOURCES)} and one of {', '.join(_LOCKS)} below {root}, but not all are "
            "there; in an image without them set KIZU_TRAINING_IMAGE_DIGEST to the image's digest"
        )
    files += [file for found in folders for file in found]
    total = hashlib.sha256()
    for file in files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(root).as_posix()}\0{content}\n".encode())
    return f"source:{total.hexdigest()}"


def code_revision(root: Path = _ROOT) -> str:
    """The commit that the sources stand at, with `-dirty` where they were changed since; '' outside a git repository.

    For people: what decides whether something was trained already is the digest.
    """
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def packages() -> str:
    """What is installed, one `name==version` a line."""
    found = {f"{item.name}=={item.version}" for item in distributions() if item.name}
    return "".join(f"{line}\n" for line in sorted(found, key=str.lower))
