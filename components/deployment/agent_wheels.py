"""Makes the document of a release of the agent from folders of wheels, as `tools/agent-wheels` fills them.

A folder `3.11-x86_64` holds all wheels for one kind of device. Version and facts come from the agent's own wheel.
"""

from __future__ import annotations

import ast
import hashlib
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from inspection.agent_release import AgentBuild, AgentRelease, WheelFile

OWN_WHEEL: Final = "kizu_edge"
_KIND: Final = re.compile(r"(?P<python>3\.[0-9]{1,2})-(?P<machine>x86_64|aarch64)")


class WheelsError(ValueError):
    """The folders do not hold the wheels of one version of the agent."""


@dataclass(frozen=True, slots=True)
class AgentWheels:
    """A release of the agent, and where each of its wheels lies, by sha256."""

    release: AgentRelease
    paths: Mapping[str, Path] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """The size of all wheels together, each once."""
        return sum({wheel.sha256: wheel.bytes for build in self.release.builds for wheel in build.wheels}.values())


def read_wheels(folder: Path, image_digest: str = "") -> AgentWheels:
    """Read the wheels of one version of the agent, for each kind of device that has a folder.

    Args:
        folder: holds folders such as `3.11-x86_64`.
        image_digest: `sha256:…` of the container image of the same version; empty for none.

    Raises:
        WheelsError: a folder or a wheel is missing, or the builds are of different versions.
    """
    kinds = {path: match for path in sorted(folder.glob("*")) if (match := _KIND.fullmatch(path.name))}
    if not kinds:
        raise WheelsError(
            f"expected folders such as 3.11-x86_64 in {folder}; make them with: tools/agent-wheels {folder}"
        )
    builds, paths, facts = [], {}, {}
    for path, match in kinds.items():
        wheels = []
        for wheel in sorted(path.glob("*.whl")):
            data = wheel.read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            wheels.append(WheelFile(file=wheel.name, sha256=sha256, bytes=len(data)))
            paths[sha256] = wheel
            if wheel.name.startswith(f"{OWN_WHEEL}-"):
                facts[path.name] = _facts(wheel)
        if path.name not in facts:
            raise WheelsError(f"expected the agent's own wheel {OWN_WHEEL}-….whl in {path}, but it is not there")
        builds.append(AgentBuild(python=match["python"], machine=match["machine"], wheels=tuple(wheels)))
    if len(set(facts.values())) > 1:
        raise WheelsError(f"expected one version of the agent in all folders, but got {facts}")
    version, state_version, launcher = next(iter(facts.values()))
    release = AgentRelease(
        version=version,
        builds=tuple(builds),
        image_digest=image_digest,
        state_version=state_version,
        min_launcher=launcher,
    )
    return AgentWheels(release, paths)


def _facts(wheel: Path) -> tuple[str, int, int]:
    """Version, form of the state folder, and launcher needed, as the agent's own code says. Nothing is executed."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            constants = _constants(archive.read("edge_agent/__init__.py"))
        return str(constants["__version__"]), int(constants["STATE_VERSION"]), int(constants["MIN_LAUNCHER"])
    except (KeyError, ValueError, SyntaxError, zipfile.BadZipFile) as e:
        raise WheelsError(
            f"expected the constants of the agent in edge_agent/__init__.py of {wheel}, but: {e!r}"
        ) from e


def _constants(source: bytes) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    for node in ast.parse(source).body:
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(node.value, ast.Constant)
        ):
            value = node.value.value
            if isinstance(value, str | int):
                found[node.target.id] = value
    return found
