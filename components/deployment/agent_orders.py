"""The agent's own software: it is published as a release of its role, and ordered for a group in the desired state.

Other requests to the signer name a version and never content. This one brings content, because nothing else in Kizu
holds the agent's wheels. So it takes a right of its own, which a person's token has and no pipeline's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Self

from tuf.api.metadata import TargetFile

from components.deployment.release import ReleaseError
from components.deployment.rollout_steps import Asked
from components.deployment.shadow_orders import current_state
from components.deployment.software_steps import SoftwareWaves, begin_software, take_software
from components.stores.releases.repository import Published, ReleaseRepository
from inspection.agent_release import AGENT_FILE, FOLDER, AgentRelease, WheelFile, agent_path, version_numbers
from inspection.documents import AgentOrder, DesiredState, Release, Wave
from inspection.paths import check_name, check_sha256

_log = logging.getLogger(__name__)

MAX_WHEEL_BYTES: Final = 300_000_000
MAX_DOCUMENT_BYTES: Final = 1_000_000
MAX_DEVICES: Final = 50


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """Which release of the agent a group should run, and on which of its devices.

    devices, percent: those alone; the others keep what was ordered for the whole group before. waves: stage by stage
    instead, which the reconciler opens. by: who orders it. probation_s: how long it must run well. again: devices that
    refused it try it once more. downgrade: it may be older than what is ordered.
    """

    use_case: str
    group: str
    digest: str
    devices: tuple[str, ...] = ()
    percent: float = 100.0
    probation_s: float = 120.0
    again: bool = False
    downgrade: bool = False
    waves: SoftwareWaves | None = None
    by: str = ""

    def __post_init__(self) -> None:
        check_name("use case", self.use_case)
        check_name("group", self.group)
        check_sha256(self.digest)
        if len(self.devices) > MAX_DEVICES:
            raise ValueError(f"expected at most {MAX_DEVICES} devices by name, but got {len(self.devices)}")
        for device in self.devices:
            check_name("device", device)
        if self.waves is not None and (self.devices or self.percent != 100.0):
            raise ValueError("expected either waves, or devices and percent, but got both")
        if not 0.0 < self.percent <= 100.0 or not 0.0 <= self.probation_s <= 86_400.0:
            raise ValueError(
                "expected percent above 0 and at most 100, and probation_s from 0 to 86400, but got "
                f"{self.percent} and {self.probation_s}"
            )

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """Read the body of a request.

        Raises:
            ValueError: an unknown key, or a value of another type or out of its range.
        """
        kinds: dict[str, tuple[type, ...]] = {
            "use_case": (str,), "group": (str,), "digest": (str,), "devices": (list,), "percent": (int, float),
            "probation_s": (int, float), "again": (bool,), "downgrade": (bool,),
            "waves": (dict,), "by": (str,),
        }  # fmt: skip
        unknown = sorted(set(given) - set(kinds))
        if unknown or not {"use_case", "group", "digest"} <= set(given):
            raise ValueError(f"expected use_case, group and digest, and else {sorted(kinds)}, but got {sorted(given)}")
        for name, value in given.items():
            is_flag = isinstance(value, bool)
            if not isinstance(value, kinds[name]) or (is_flag and bool not in kinds[name]):
                raise ValueError(f"expected another type for {name}, but got {str(value)[:80]!r}")
        devices = given.get("devices", [])
        if not all(isinstance(device, str) for device in devices):
            raise ValueError(f"expected a list of names for devices, but got {str(devices)[:80]!r}")
        waves = SoftwareWaves.from_value(given["waves"]) if "waves" in given else None
        return cls(**{**given, "devices": tuple(dict.fromkeys(devices)), "waves": waves})


def upload_wheel(repository: ReleaseRepository, wheel: WheelFile, data: bytes) -> None:
    """Put the bytes of a wheel. They count for nothing before a release of the agent names them.

    Raises:
        RepositoryError: they are other bytes than the wheel's digest says.
    """
    repository.upload(_target(wheel), data)


def missing_wheels(repository: ReleaseRepository, release: AgentRelease) -> tuple[WheelFile, ...]:
    """The wheels of a release whose bytes are not in the repository yet, each once."""
    return tuple(wheel for wheel in wheels_of(release) if not repository.holds(_target(wheel)))


def publish_agent(repository: ReleaseRepository, release: AgentRelease) -> bool:
    """Sign a release of the agent with the key of its role, and publish it; False where it is published already.

    Raises:
        ReleaseError: the bytes of a wheel were not uploaded before.
        RepositoryError: this signer has no key for the agent's software.
    """
    missing = missing_wheels(repository, release)
    if missing:
        names = ", ".join(wheel.file for wheel in missing[:5])
        raise ReleaseError(f"expected all wheels to be uploaded before, but {len(missing)} are not there: {names}")

    def files(_: Published) -> Iterator[tuple[str, bytes | TargetFile]]:
        for wheel in wheels_of(release):
            yield agent_path(wheel.sha256, wheel.file), _target(wheel)
        yield agent_path(release.digest, AGENT_FILE), release.to_json()

    published = repository.change(files)
    if published:
        _log.info("published the agent's software %s, version %s", release.digest, release.version)
    return published


def agent_releases(repository: ReleaseRepository) -> list[AgentRelease]:
    """All published releases of the agent, the newest version last."""
    return _releases(repository.targets(), repository.read_target)


def published_agents(published: Published) -> list[AgentRelease]:
    """The same of what is published at one moment."""
    return _releases(published.targets, published.read)


def _releases(targets: Iterable[str], read: Callable[[str], bytes | None]) -> list[AgentRelease]:
    paths = [path for path in targets if path.startswith(f"{FOLDER}/") and path.endswith(f"/{AGENT_FILE}")]
    found = [AgentRelease.from_json(data) for path in paths if (data := read(path)) is not None]
    return sorted(found, key=lambda release: (version_numbers(release.version), release.digest))


def order_agent(
    repository: ReleaseRepository, request: AgentRequest, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> DesiredState:
    """Publish the desired state of a group with this order. The same order again changes nothing.

    Raises:
        ReleaseError: the release of the agent is not published or its wheels were pruned, it is older than the one that
            is ordered without `downgrade`, it is too old for a release that is desired, or the group has no desired
            state.
        StepRefused: its rollout by stages was stopped before.
    """
    wanted: list[DesiredState] = []

    def files(published: Published) -> Iterator[tuple[str, bytes]]:
        current, paths = current_state(published, request.use_case, request.group)
        release = _published(published, request.digest)
        if release is None:
            raise ReleaseError(f"the agent's software {request.digest[:12]} is not published; run: kizu agent publish")
        _check_order(published, current, release, downgrade=request.downgrade)
        wanted[:] = [_ordered(current, release, request, now())]
        for path in paths:
            yield path, wanted[0].to_json()

    if repository.change(files):
        _log.info(
            "desired state %d of %s in group %s: agent %s",
            wanted[0].sequence, request.use_case, request.group, request.digest,
        )  # fmt: skip
    return wanted[0]


def step_agent(repository: ReleaseRepository, use_case: str, group: str, asked: Asked, now: datetime) -> DesiredState:
    """Publish the desired state of a group after one step of the rollout of its software.

    Raises:
        ReleaseError: the group has no desired state.
        StepRefused: the step does not fit, or the desired state has changed since the caller looked.
    """
    wanted: list[DesiredState] = []

    def files(published: Published) -> Iterator[tuple[str, bytes]]:
        current, paths = current_state(published, use_case, group)
        wanted[:] = [take_software(current, asked, now)]
        for path in paths:
            yield path, wanted[0].to_json()

    repository.change(files)
    _log.info("software: %s of %s in group %s by %s: %s", asked.step, use_case, group, asked.by, asked.reason)
    return wanted[0]


def _ordered(current: DesiredState, release: AgentRelease, request: AgentRequest, now: datetime) -> DesiredState:
    if request.waves is None:
        return with_agent(current, request)
    return begin_software(
        current, release, request.waves, probation_s=request.probation_s, again=request.again, by=request.by, now=now
    )


def with_agent(current: DesiredState, request: AgentRequest) -> DesiredState:
    """The next desired state with this order; the current one where that orders it already."""
    before = current.agent
    named, percent = _stages(before, request.digest)
    if request.devices:
        named = tuple(dict.fromkeys((*named, *request.devices)))
    else:
        percent = request.percent
    waves = []
    if named and percent < 100.0:
        waves.append(Wave(release_digest=request.digest, devices=named))
    if percent > 0.0:
        waves.append(Wave(release_digest=request.digest, percent=percent))
    everyone = before.waves[-1] if before is not None else None
    if percent < 100.0 and everyone is not None and everyone.percent == 100.0:
        waves.append(everyone)
    known = before is not None and any(wave.release_digest == request.digest for wave in before.waves)
    sequence = current.sequence + 1
    since = before.since if before is not None and known and not request.again else sequence
    order = AgentOrder(waves=tuple(waves), since=since, probation_s=request.probation_s)
    if order == before:
        return current
    return replace(current, sequence=sequence, again=current.asked_since, agent=order)


def _stages(order: AgentOrder | None, digest: str) -> tuple[tuple[str, ...], float]:
    """The devices by name, and the percent, for which a release of the agent is ordered for some of the group."""
    named: tuple[str, ...] = ()
    percent = 0.0
    for wave in order.waves if order is not None else ():
        if wave.release_digest == digest:
            named, percent = (*named, *(wave.devices or ())), max(percent, wave.percent or 0.0)
    return named, percent


def _check_order(published: Published, current: DesiredState, release: AgentRelease, *, downgrade: bool) -> None:
    if any(agent_path(wheel.sha256, wheel.file) not in published.targets for wheel in wheels_of(release)):
        raise ReleaseError(
            f"the wheels of the agent's software {release.digest[:12]} were pruned; publish them again from the same "
            "folder: kizu agent publish"
        )
    for digest in {wave.release_digest for wave in current.waves}:
        data = published.read(f"releases/{digest}/release.json")
        needed = Release.from_json(data).min_agent_version if data is not None else "0"
        if version_numbers(release.version) < version_numbers(needed):
            raise ReleaseError(
                f"release {digest[:12]}, which is desired now, needs agent {needed} or newer, but this is "
                f"{release.version}; deploy another release first"
            )
    if current.agent is None or downgrade:
        return
    for digest in {wave.release_digest for wave in current.agent.waves if wave.devices != ()}:
        ordered = _published(published, digest)
        if ordered is not None and version_numbers(release.version) < version_numbers(ordered.version):
            raise ReleaseError(
                f"agent {release.version} is older than {ordered.version}, which is ordered now; if you want to go "
                "back, order it with --downgrade"
            )


def _published(published: Published, digest: str) -> AgentRelease | None:
    data = published.read(agent_path(digest, AGENT_FILE))
    return AgentRelease.from_json(data) if data is not None else None


def wheels_of(release: AgentRelease) -> tuple[WheelFile, ...]:
    """The wheels of a release of the agent, each once."""
    return tuple({wheel.sha256: wheel for build in release.builds for wheel in build.wheels}.values())


def _target(wheel: WheelFile) -> TargetFile:
    return TargetFile(wheel.bytes, {"sha256": wheel.sha256}, agent_path(wheel.sha256, wheel.file))
