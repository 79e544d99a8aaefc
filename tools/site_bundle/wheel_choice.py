"""Which file of each locked package a machine installs: a rule over a lock file and what the index has.

What the index has is read from a `pylock.toml` (PEP 751), which `uv pip compile` writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

_KIND: Final = re.compile(r"3\.(11|12|13)-(x86_64|aarch64)")
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")
# Every version of glibc from that of the oldest system that the default packages run on down. Two packages for servers
# and OpenVINO have wheels for newer ones only: these come last.
_GLIBC: Final = (28, 27, 26, 24, 17, 12, 5)
_NEWER_GLIBC: Final = (35, 34, 31)
_OLD_NAMES: Final = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


class ChoiceError(RuntimeError):
    """A locked package has no file that can be carried in."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of machine: a Python and a processor, such as `3.11-x86_64`."""

    python: str
    machine: str

    @classmethod
    def parse(cls, text: str) -> Kind:
        """Read `3.11-x86_64`.

        Raises:
            ChoiceError: it is no kind that the lock files hold for.
        """
        if not _KIND.fullmatch(text):
            raise ChoiceError(f"expected a kind such as 3.11-x86_64 or 3.12-aarch64, but got {text!r}")
        python, _, machine = text.partition("-")
        return cls(python, machine)

    def tags(self) -> dict[Tag, int]:
        """Each tag of a wheel that fits -> its rank; the least is the best."""
        version = tuple(int(part) for part in self.python.split("."))
        platforms: list[str] = []
        for glibc in (*_GLIBC, *_NEWER_GLIBC):
            platforms.append(f"manylinux_2_{glibc}_{self.machine}")
            if glibc in _OLD_NAMES:
                platforms.append(f"{_OLD_NAMES[glibc]}_{self.machine}")
        platforms.append(f"linux_{self.machine}")
        tags = (*cpython_tags(version, platforms=platforms), *compatible_tags(version, f"cp3{version[1]}", platforms))
        return {tag: rank for rank, tag in reversed(list(enumerate(tags)))}

    def __str__(self) -> str:
        return f"{self.python}-{self.machine}"


@dataclass(frozen=True, slots=True)
class Locked:
    """A line of a lock file. hashes: SHA-256 of every file that may be installed."""

    name: str
    version: str
    hashes: frozenset[str]


@dataclass(frozen=True, slots=True)
class IndexFile:
    """A file of the index that a machine gets. is_source: no wheel fits, and one is made from this source package."""

    package: Locked
    name: str
    url: str
    sha256: str
    size: int
    is_source: bool = False


def locked_packages(lock: str) -> tuple[Locked, ...]:
    """The packages of a lock file."""
    found = []
    for line in lock.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            requirement = Requirement(line.split("--hash=")[0].strip())
            (pin,) = requirement.specifier
            found.append(Locked(canonicalize_name(requirement.name), pin.version, frozenset(_HASH.findall(line))))
    return tuple(found)


def choose(lock: Sequence[Locked], index: Mapping[str, Any], kind: Kind) -> tuple[IndexFile, ...]:
    """For each package of a lock file the file for a kind of machine. Only files that the lock names are taken.

    index: a `pylock.toml`, as `tomllib` reads it.

    Raises:
        ChoiceError: a package has no such file.
    """
    offered: dict[str, Mapping[str, Any]] = {
        canonicalize_name(each["name"]): each for each in index.get("packages", ())
    }
    tags = kind.tags()
    found, missing = [], []
    for package in lock:
        files = list(_files(package, offered.get(package.name, {}), tags))
        if files:
            found.append(min(files, key=lambda each: each[0])[1])
        else:
            missing.append(f"{package.name} {package.version}")
    if missing:
        raise ChoiceError(f"the index has no file with a locked SHA-256 for {kind} of {', '.join(missing)}")
    return tuple(found)


def _files(package: Locked, offered: Mapping[str, Any], tags: Mapping[Tag, int]) -> Iterator[tuple[int, IndexFile]]:
    for wheel in offered.get("wheels", ()):
        name, sha256 = _name(wheel), wheel["hashes"].get("sha256", "")
        rank = min((tags[tag] for tag in parse_wheel_filename(name)[3] if tag in tags), default=None)
        if rank is not None and sha256 in package.hashes:
            yield rank, IndexFile(package, name, wheel["url"], sha256, wheel.get("size", 0))
    source = offered.get("sdist")
    if source is not None and source["hashes"].get("sha256", "") in package.hashes:
        name, sha256 = _name(source), source["hashes"]["sha256"]
        yield len(tags) + 1, IndexFile(package, name, source["url"], sha256, source.get("size", 0), is_source=True)


def _name(file: Mapping[str, Any]) -> str:
    return str(file.get("name") or unquote(urlsplit(file["url"]).path.rpartition("/")[2]))
