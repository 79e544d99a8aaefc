"""The documents name files and folders of the repository that exist."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Final

import pytest

REPOSITORY: Final = Path(__file__).resolve().parents[2]
_ROOMS: Final = (
    "benchmarks", "components", "demo", "deploy", "docs", "edge_agent", "inspection", "locks", "pipelines",
    "reconciler", "tests", "tools", "use_cases",
)  # fmt: skip
# `kizu/…` is a container image or an MQTT topic as well: of these paths, only Python files are files.
_PATH: Final = re.compile(rf"`((?:{'|'.join(_ROOMS)})/[^`\s]*|kizu/[^`\s]*\.py)`")
_BRACES: Final = re.compile(r"\{([^}]*)\}")
# Files that a command writes, a folder that this version no longer has, and the step that a how-to page makes up.
_NOT_IN_THE_REPOSITORY: Final = ("pipelines/compiled/", "docs/_build", "components/trainers", "components/image_check/")

DOCUMENTS: Final = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for path in (*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"))
    if "_build" not in path.parts
)


def _spelled_out(path: str) -> list[str]:
    """The paths that `a/{b,c}.py` stands for; `<step>` stands for any name."""
    pieces = _BRACES.split(re.sub(r"<[^>]*>", "*", path))
    choices = [piece.split(",") if number % 2 else [piece] for number, piece in enumerate(pieces)]
    return ["".join(chosen) for chosen in product(*choices)]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_path_that_a_document_names_exists(document):
    """A path in backquotes that begins with a folder of the repository leads to a file or folder."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    named = {path for found in _PATH.findall(text) for path in _spelled_out(found)}
    missing = sorted(
        path
        for path in named
        if not path.startswith(_NOT_IN_THE_REPOSITORY) and not any(REPOSITORY.glob(path.rstrip("/")))
    )
    assert not missing, f"{document} names {', '.join(missing)}, but there is no such file or folder"


def test_each_decision_record_is_in_the_index_under_its_number_and_title():
    """Each record has a number of its own, and the index in their folder lists each with its title.

    A gap in the numbers is allowed: several changes, each with a number given to it, may be on their way at once.
    """
    folder = REPOSITORY / "docs" / "adr"
    records = sorted(folder.glob("[0-9]*.md"))
    titles = [record.read_text(encoding="utf-8").partition("\n")[0] for record in records]
    numbers = [int(record.name[:4]) for record in records]
    assert len(set(numbers)) == len(numbers) >= 41
    index = (folder / "README.md").read_text(encoding="utf-8")
    for number, record, title in zip(numbers, records, titles, strict=True):
        assert title.startswith(f"# {number}. "), record.name
        assert f"| {number} | [{title.partition('. ')[2]}]({record.name}) |" in index
