"""The questions of a newcomer in CONTRIBUTING.md are answered by files and names that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

REPOSITORY: Final = Path(__file__).resolve().parent.parent
_ROW: Final = re.compile(r"^\| (?P<question>[^|]+\?) \| `(?P<file>[^`]+)` \| `(?P<name>[^`]+)` \|$", re.MULTILINE)


def _answers() -> list[tuple[str, str, str]]:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return [(row["question"], row["file"], row["name"]) for row in _ROW.finditer(text)]


def _names_defined_in(file: Path) -> set[str]:
    """The classes, functions and constants that a module defines at its top level."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                names.add(node.name)
            case ast.Assign():
                names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return names


def test_the_table_answers_at_least_ten_different_questions():
    """A row of another form than question, file and name is not counted, so that no answer goes unchecked."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    questions = [question for question, _, _ in _answers()]
    assert len(questions) == len(set(questions)) >= 10
    assert len(questions) == sum(line.startswith("| ") and "?" in line for line in text.splitlines())


@pytest.mark.parametrize(("question", "file", "name"), _answers(), ids=lambda value: str(value).replace("/", "."))
def test_the_file_that_answers_a_question_defines_the_name(question, file, name):
    """Each named file exists and defines the named class, function or constant at its top level."""
    path = REPOSITORY / file
    assert path.is_file(), f"{question} expected the file {file}, but there is none; correct CONTRIBUTING.md"
    assert name in _names_defined_in(path), f"{question} expected {name} in {file}; correct CONTRIBUTING.md"
