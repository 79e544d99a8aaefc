"""Tiny releases of the agent's software: real wheels, made in memory."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass, field

from inspection.agent_release import AgentBuild, AgentRelease, WheelFile

PYTHON, MACHINE = "3.11", "x86_64"


@dataclass(frozen=True)
class BuiltWheel:
    """One wheel with its bytes."""

    file: str
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def described(self) -> WheelFile:
        return WheelFile(file=self.file, sha256=self.sha256, bytes=len(self.data))


@dataclass(frozen=True)
class BuiltAgent:
    """A release of the agent with its wheels, by file name."""

    release: AgentRelease
    wheels: dict[str, BuiltWheel] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return self.release.digest


def make_wheel(name: str, files: dict[str, str | bytes], version: str = "1.0") -> BuiltWheel:
    """A wheel with these files: always the same bytes for the same content."""
    buffer = io.BytesIO()
    info = f"{name}-{version}.dist-info"
    known = {
        **files,
        f"{info}/METADATA": f"Name: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\n",
    }
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in known.items():
            archive.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), content)
    return BuiltWheel(f"{name}-{version}-py3-none-any.whl", buffer.getvalue())


RUNTIME = make_wheel("runtime", {"runtime/__init__.py": "SIZE = 1\n", "runtime/model.bin": bytes(range(256)) * 40})
"""The large part of a release, which a change of the agent's code leaves alone."""


def build_agent(code: str = "one", version: str = "0.1.0", *more: BuiltWheel, **facts: object) -> BuiltAgent:
    """A release of the agent whose code is this word. facts: other fields of the release."""
    own = make_wheel("kizu_edge", {"edge_agent/__init__.py": f"CODE = {code!r}\n"}, version)
    wheels = {wheel.file: wheel for wheel in (own, RUNTIME, *more)}
    given = {"python": PYTHON, "machine": MACHINE} | {k: v for k, v in facts.items() if k in ("python", "machine")}
    build = AgentBuild(**given, wheels=tuple(wheel.described() for wheel in wheels.values()))
    rest = {k: v for k, v in facts.items() if k not in given}
    return BuiltAgent(AgentRelease(version=version, builds=(build,), **rest), wheels)
