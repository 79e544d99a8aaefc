"""What a part of the bundle will hold, said before it is made."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that a bundle does not hold, and why."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A part of a bundle.

    size: bytes of its files, or about so many where they are made. write: makes the part's folder, or completes it;
    None where nothing of it can be made.
    """

    part: str
    says: str
    size: int
    write: Callable[[Path, Say], None] | None
    left_out: tuple[LeftOut, ...] = ()


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository, with nothing to read."""
    return subprocess.run(
        list(command), cwd=REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def did(runner: Run, command: Sequence[str], what: str) -> str:
    """Run a command that has to succeed, and return what it printed.

    Raises:
        RuntimeError: it failed; the message ends with what it said.
    """
    done = runner(command)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-8:]
        raise RuntimeError(f"{what}: {' '.join(command[:3])} failed:\n  " + "\n  ".join(said))
    return done.stdout


def size_of(folder: Path) -> int:
    """Bytes of all files of a folder; 0 where it is not there."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def replace_folder(made: Path, target: Path) -> None:
    """Put a folder that was made beside another in its place. In between there may be none, but never a half one."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    made.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def fresh(target: Path) -> Path:
    """An empty folder beside `target`, for `replace_folder`."""
    made = target.with_name(f".{target.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    return made
