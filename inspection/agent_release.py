"""The agent's own software as a release: sets of wheels by digest for devices, and an image's digest for containers."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from inspection.codec import Document, Part
from inspection.paths import check_sha256

AGENT_FILE: Final = "agent.json"
"""The name of the document in the repository and in a slot."""
FOLDER: Final = "agent"
"""The folder of the repository that the role `agent` signs: `agent/<sha256>/<name>`."""
_WHEEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,250}\.whl")
_VERSION: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){0,3}")
_PYTHON: Final = re.compile(r"3\.[0-9]{1,2}")
_MACHINE: Final = re.compile(r"[a-z0-9_]{1,32}")
_IMAGE: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelFile(Part):
    """One wheel."""

    file: str
    """Its file name, as the wheel format makes it: name, version and tags."""
    sha256: str
    """Its digest."""
    bytes: int
    """Its size."""

    def __post_init__(self) -> None:
        if not _WHEEL.fullmatch(self.file):
            raise ValueError(f"expected the file name of a wheel, but got {self.file[:80]!r}")
        check_sha256(self.sha256)
        if self.bytes <= 0:
            raise ValueError(f"expected the size of {self.file} in bytes, but got {self.bytes}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentBuild(Part):
    """All wheels that the agent needs on one kind of device: the agent's own, and its packages."""

    python: str
    """The version of Python that they are for, such as `3.11`."""
    machine: str
    """The processor that they are for, such as `x86_64` or `aarch64`."""
    wheels: tuple[WheelFile, ...]
    """The wheels; two of them never hold the same file."""

    def __post_init__(self) -> None:
        if not _PYTHON.fullmatch(self.python) or not _MACHINE.fullmatch(self.machine):
            raise ValueError(
                f"expected a Python such as 3.11 and a machine such as x86_64, got {self.python!r}, {self.machine!r}"
            )
        if not self.wheels:
            raise ValueError("a build of the agent needs at least one wheel")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRelease(Document):
    """`agent.json`: one version of the agent's software, for each kind of device."""

    version: str
    """The version that the agent says of itself; `min_agent_version` of a release compares with it."""
    builds: tuple[AgentBuild, ...] = ()
    """One for each kind of device that takes wheels."""
    image_digest: str = ""
    """`sha256:…` of the container image of the same software; empty where there is none."""
    state_version: int = 1
    """The form in which it leaves the state folder behind. A device whose agent cannot read that form could not go
    back, and takes no release with it."""
    min_launcher: int = 1
    """The oldest launcher that can start it."""

    def __post_init__(self) -> None:
        check_version(self.version)
        if not self.builds and not self.image_digest:
            raise ValueError("a release of the agent needs wheels for a kind of device, or the digest of an image")
        if self.image_digest and not _IMAGE.fullmatch(self.image_digest):
            raise ValueError(
                f"expected sha256:<64 hexadecimal digits> for an image, but got {self.image_digest[:90]!r}"
            )
        kinds = [(build.python, build.machine) for build in self.builds]
        if len(set(kinds)) != len(kinds):
            raise ValueError(f"expected one build for each Python and machine, but got {kinds}")

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes; the name of the release."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def build_for(self, python: str, machine: str) -> AgentBuild | None:
        """The build for a kind of device; None where there is none."""
        return next((item for item in self.builds if (item.python, item.machine) == (python, machine)), None)


def check_version(text: str) -> str:
    """Return a version of one to four numbers; raises ValueError for any other text."""
    if not _VERSION.fullmatch(text):
        raise ValueError(f"expected a version such as 1.2.3, but got {text[:80]!r}")
    return text


def version_numbers(text: str) -> tuple[int, ...]:
    """The numbers of a version, to compare two: `1.10.2` -> (1, 10, 2). Raises ValueError for any other text."""
    return tuple(int(part) for part in check_version(text).split("."))


def agent_path(sha256: str, name: str) -> str:
    """The TUF target of the document (by the release's digest) or of a wheel (by its own)."""
    return f"{FOLDER}/{check_sha256(sha256)}/{name}"
