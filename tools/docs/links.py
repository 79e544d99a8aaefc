"""Checks every relative link and anchor of every Markdown file: `python -m tools.docs.links`. It needs no network."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from tools.docs.markdown import anchors, links

REPOSITORY: Final = Path(__file__).resolve().parents[2]
_HAS_A_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_LINES_OF_A_FILE: Final = re.compile(r"L(\d+)(?:-L(\d+))?")


@dataclass(frozen=True, slots=True)
class DeadLink:
    """A link whose target does not exist. file: relative to the repository."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


def files_of(repository: Path) -> frozenset[str]:
    """Return all files that git tracks or would add, relative to the repository.

    Raises:
        subprocess.CalledProcessError: the folder is not a git repository.
    """
    listed = subprocess.run(
        ["git", "-C", str(repository), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    ).stdout
    names = [name.decode() for name in listed.split(b"\0") if name]
    return frozenset(name for name in names if (repository / name).is_file())


def dead_links(repository: Path, files: frozenset[str]) -> Iterator[DeadLink]:
    """Return the dead links of all Markdown files among `files`, file by file."""
    folders = {str(parent) for name in files for parent in Path(name).parents}

    @cache
    def page(name: str) -> str:
        return (repository / name).read_text(encoding="utf-8")

    @cache
    def anchors_of(name: str) -> frozenset[str]:
        return anchors(page(name))

    for file in sorted(name for name in files if name.endswith(".md")):
        for link in links(page(file)):
            if _HAS_A_SCHEME.match(link.target) or link.target.startswith("//"):
                continue
            path, _, fragment = unquote(link.target).partition("#")
            name = _resolved(file, path) if path else file
            if name is None:
                yield DeadLink(file, link.line, f"{link.target} leads out of the repository")
            elif name not in files and name not in folders:
                yield DeadLink(file, link.line, f"there is no file or folder {name} ({link.target})")
            elif fragment and name.endswith(".md") and fragment not in anchors_of(name):
                yield DeadLink(file, link.line, f"{name} has no heading with the anchor #{fragment}")
            elif fragment and not name.endswith(".md") and not _has_lines(repository / name, fragment):
                yield DeadLink(file, link.line, f"{name} has no lines #{fragment}")


def _resolved(file: str, path: str) -> str | None:
    """Return the path relative to the repository; None if it is outside."""
    parts: list[str] = [] if path.startswith("/") else list(Path(file).parent.parts)
    for part in path.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts) or "."


def _has_lines(path: Path, fragment: str) -> bool:
    match = _LINES_OF_A_FILE.fullmatch(fragment)
    if match is None or not path.is_file():
        return False
    count = len(path.read_bytes().splitlines())
    return all(1 <= int(number) <= count for number in match.groups() if number)


def main() -> int:
    """Print each dead link with its file and line. Returns 1 if there is one."""
    files = files_of(REPOSITORY)
    dead = list(dead_links(REPOSITORY, files))
    for link in dead:
        sys.stdout.write(f"{link}\n")
    pages = sum(name.endswith(".md") for name in files)
    sys.stdout.write(
        f"{len(dead)} dead links in {pages} Markdown files\n" if dead else f"{pages} pages: no dead link\n"
    )
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main())
