"""The licence of each locked package, as its own metadata in an installed environment or in a wheel say it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from tools.site_bundle.wheel_choice import Locked

UNKNOWN: Final = "not said"
_CLASSIFIER: Final = "License :: "
_LONGEST: Final = 100


@dataclass(frozen=True, slots=True)
class Licence:
    """text: an SPDX expression where `is_expression`, else the package's own words."""

    text: str
    is_expression: bool = False


def licence_of(metadata: Message) -> Licence:
    """What a package's metadata say: an expression, else its classifiers, else the first line of `License`."""
    expression = metadata.get("License-Expression")
    if expression:
        return Licence(expression.strip(), is_expression=True)
    classified = [
        each.removeprefix(_CLASSIFIER).removeprefix("OSI Approved :: ")
        for each in metadata.get_all("Classifier", ())
        if each.startswith(_CLASSIFIER)
    ]
    named = [each for each in classified if each != "OSI Approved"]
    if named:
        return Licence(" AND ".join(dict.fromkeys(named)))
    lines = (metadata.get("License") or "").strip().splitlines()
    return Licence(lines[0][:_LONGEST] if lines else UNKNOWN)


def installed(environments: Iterable[Path]) -> dict[tuple[str, str], Licence]:
    """(name, version) -> licence of what is installed. environments: such as `.venv`; a missing one has nothing."""
    found: dict[tuple[str, str], Licence] = {}
    for environment in environments:
        for folder in sorted(environment.glob("lib/python3*/site-packages")):
            for each in distributions(path=[str(folder)]):
                metadata = HeaderParser().parsestr(each.read_text("METADATA") or "")
                found[canonicalize_name(each.metadata["Name"]), each.version] = licence_of(metadata)
    return found


def of_wheels(folder: Path) -> dict[tuple[str, str], Licence]:
    """(name, version) -> licence of the wheels in a folder."""
    found: dict[tuple[str, str], Licence] = {}
    for path in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(path) as archive:
            names = [
                name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1
            ]
            for name in names:
                metadata = HeaderParser().parsestr(archive.read(name).decode("utf-8", "replace"))
                found[canonicalize_name(metadata["Name"]), metadata["Version"]] = licence_of(metadata)
    return found


def report(locks: Mapping[str, Iterable[Locked]], known: Mapping[tuple[str, str], Licence]) -> str:
    """A page: each locked package once, with its licence and the lock files that name it; those without one first."""
    used: dict[tuple[str, str], list[str]] = {}
    for lock, packages in locks.items():
        for package in packages:
            used.setdefault((package.name, package.version), []).append(lock)
    return "".join(_lines(used, known))


def _lines(used: Mapping[tuple[str, str], list[str]], known: Mapping[tuple[str, str], Licence]) -> Iterator[str]:
    yield "# Licences of the locked packages\n\nAs each package says itself. Nobody has checked it for you.\n\n"
    yield "| Package | Version | Licence | In |\n|---|---|---|---|\n"
    nothing = Licence(UNKNOWN)
    for name, version in sorted(used, key=lambda each: (known.get(each, nothing).text != UNKNOWN, each)):
        licence = known.get((name, version), nothing).text.replace("|", "\\|")
        yield f"| {name} | {version} | {licence} | {', '.join(used[name, version])} |\n"
