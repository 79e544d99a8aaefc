"""Checks the shell lines in documents: whether their commands exist and have the options that the lines use."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from typer.main import get_command

from edge_agent.__main__ import app as edge_app
from kizu.cli import app as kizu_app
from tools.docs.markdown import code_blocks

REPOSITORY: Final = Path(__file__).resolve().parents[2]
SHELL: Final = frozenset({"sh", "bash", "shell", "console"})
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
# `<admin's key>` stands for one word that the reader inserts, and `…` for several words.
_PLACEHOLDER: Final = re.compile(r"<[^<>]*>")
_NOT_A_WORD: Final = re.compile(r"…|\.\.\.")


@dataclass(frozen=True, slots=True)
class ShellLine:
    """One command. Lines that end with a backslash are joined, and comments are removed."""

    file: str
    line: int
    text: str

    @property
    def where(self) -> str:
        """The file and the line, as text."""
        return f"{self.file}:{self.line}"


def shell_lines(file: str, text: str) -> Iterator[ShellLine]:
    """Return the commands of all shell blocks of a page: blocks fenced as shell, and indented blocks."""
    for block in code_blocks(text):
        if block.language not in SHELL and block.language != "":
            continue
        joined, begin = "", block.line
        for number, line in enumerate(block.text.splitlines(), start=block.line):
            begin = begin if joined else number
            joined += line.rstrip()
            if joined.endswith("\\"):
                joined = joined[:-1].rstrip() + " "
                continue
            command = _without_comment(joined).strip()
            joined = ""
            if command:
                yield ShellLine(file, begin, command)


def _without_comment(line: str) -> str:
    return re.sub(r"(^|\s)#.*$", "", line)


def mistakes(command: str) -> list[str]:
    """Return what does not exist in the `kizu`, `kizu-edge` and `make` commands of a line. Others are not checked."""
    found = []
    try:
        commands = _commands(_PLACEHOLDER.sub("X", command))
    except ValueError as e:
        return [f"not a shell line: {e}"]
    for words in commands:
        while words and (_ASSIGNMENT.match(words[0]) or words[0] in ("sudo", "time")):
            words = words[1:]
        if not words:
            continue
        program = words[0].rpartition("/")[2]
        if program in ("kizu", "kizu-edge"):
            found += _mistakes_of(get_command(kizu_app if program == "kizu" else edge_app), words[1:], program)
        elif program == "make":
            targets = [word for word in words[1:] if not word.startswith("-") and not _ASSIGNMENT.match(word)]
            found += [f"the Makefile has no target {target}" for target in targets if target not in make_targets()]
    return found


def _commands(line: str) -> list[list[str]]:
    """Return the words of each command of a line. Commands are separated by `&&`, `||`, `|`, `;` and `&`."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("&|;"):
            found.append([])
        else:
            found[-1].append(word)
    return found


@cache
def make_targets() -> frozenset[str]:
    """Return the targets of the Makefile."""
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    return frozenset(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))


def _mistakes_of(command: Any, words: list[str], name: str) -> list[str]:
    options = _options(command)
    words = _with_default(command, words)
    while words:
        word = words.pop(0)
        children = getattr(command, "commands", None)
        if word.startswith("-") and word != "-":
            option, has_value, _ = word.partition("=")
            if option not in options:
                return [f"{name} has no option {option}"]
            if not options[option] and not has_value and words:
                words.pop(0)
        elif children is not None:
            if word not in children:
                return [f"{name} has no command {word}"]
            command, name = children[word], f"{name} {word}"
            options |= _options(command)
            words = _with_default(command, words)
        elif not _NOT_A_WORD.search(word) and not any(_is_argument(item) for item in command.params):
            return [f"{name} takes no argument, but got {word}"]
    return []


def _with_default(command: Any, words: list[str]) -> list[str]:
    """The words, with the command that a group takes where none is named."""
    default = getattr(command, "default_command", None)
    named = bool(words) and words[0] in (*getattr(command, "commands", ()), "--help")
    return words if default is None or named else [default, *words]


def _options(command: Any) -> dict[str, bool]:
    """Return option -> whether it is a flag, which takes no value."""
    found = {"--help": True, "--debug": True}
    for item in command.params:
        if not _is_argument(item):
            for option in (*item.opts, *item.secondary_opts):
                found[option] = bool(getattr(item, "is_flag", False))
    return found


def _is_argument(item: Any) -> bool:
    return type(item).__name__.endswith("Argument")
