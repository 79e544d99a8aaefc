"""Orders that a candidate judges beside the running release, on devices that a person names.

Nobody has approved a candidate, so its files lie below `shadow/` and hold no approval. A device takes releases from
`releases/` only, and reads no release without an approval: it can let a candidate judge, and has no way to run it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from components.deployment.release import BuiltCandidate, ReleaseError
from components.stores.releases.repository import Published, ReleaseRepository
from inspection.documents import DesiredState, ShadowOrder
from inspection.paths import check_name, desired_path, former_desired_path

_log = logging.getLogger(__name__)

MAX_DEVICES: Final = 50


@dataclass(frozen=True, slots=True)
class ShadowRequest:
    """On which devices a candidate judges, and how much; see `ShadowOrder`."""

    devices: tuple[str, ...]
    share: float = 1.0
    cpu_share: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= len(self.devices) <= MAX_DEVICES:
            raise ValueError(f"expected 1 to {MAX_DEVICES} devices by name, but got {len(self.devices)}")
        for device in self.devices:
            check_name("device", device)
        self.order("0" * 64)  # an order refuses shares that are out of their range

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """Read the values of a request; None where one is not given.

        Raises:
            ValueError: a value has another type, or is out of its range.
        """
        devices = given.get("devices")
        if not isinstance(devices, list) or not all(isinstance(device, str) for device in devices):
            raise ValueError(f"expected a list of names for devices, but got {str(devices)[:80]!r}")
        numbers = {name: given[name] for name in ("share", "cpu_share") if given.get(name) is not None}
        for name, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"expected a number for {name}, but got {value!r}")
        return cls(tuple(dict.fromkeys(devices)), **{name: float(value) for name, value in numbers.items()})

    def order(self, digest: str) -> ShadowOrder:
        """The order for a candidate."""
        return ShadowOrder(release_digest=digest, devices=self.devices, share=self.share, cpu_share=self.cpu_share)


def order_shadow(repository: ReleaseRepository, built: BuiltCandidate, request: ShadowRequest) -> DesiredState:
    """Publish a candidate and the order for it, at once. The same order again changes nothing.

    Raises:
        ReleaseError: the group of the candidate's use case has no desired state.
    """
    order = request.order(built.candidate.digest)
    return _change(repository, built.candidate.use_case, built.use_case.rollout.group, order, built.targets())


def end_shadow(repository: ReleaseRepository, use_case: str, group: str) -> DesiredState:
    """Publish the desired state without an order for a candidate. Without such an order, nothing changes.

    Raises:
        ReleaseError: the group has no desired state.
    """
    return _change(repository, use_case, group, None, [])


def as_json(state: DesiredState) -> dict[str, Any]:
    """A desired state as an answer over HTTP."""
    answer: dict[str, Any] = json.loads(state.to_json())
    return answer


def _change(
    repository: ReleaseRepository,
    use_case: str,
    group: str,
    order: ShadowOrder | None,
    targets: list[tuple[str, bytes]],
) -> DesiredState:
    wanted: list[DesiredState] = []

    def files(published: Published) -> Iterator[tuple[str, bytes]]:
        current, paths = current_state(published, use_case, group)
        yield from targets
        wanted[:] = [current if current.shadow == order else with_shadow(current, order)]
        for name in paths:
            yield name, wanted[0].to_json()

    if repository.change(files):
        said = (
            f"candidate {order.release_digest[:12]} judges on {', '.join(order.devices)}" if order else "no candidate"
        )
        _log.info("desired state %d of %s in group %s: %s", wanted[0].sequence, use_case, group, said)
    return wanted[0]


def current_state(published: Published, use_case: str, group: str) -> tuple[DesiredState, tuple[str, ...]]:
    """The desired state of a group, and the paths at which the next one is written.

    Raises:
        ReleaseError: the group has none.
    """
    path, former_path = desired_path(use_case, group), former_desired_path(group)
    former = _state(published.read(former_path))
    if former is not None and former.use_case != use_case:
        former = None  # another product had the group's former name first
    current = _state(published.read(path)) or former
    if current is None:
        raise ReleaseError(
            f"nothing was deployed to the group {group} of {use_case}, so there is nothing to compare with; "
            "deploy a release first"
        )
    return current, (path,) if former is None else (path, former_path)


def with_shadow(current: DesiredState, order: ShadowOrder | None) -> DesiredState:
    """The next desired state, with another order for a candidate. What devices should run stays as it was ordered."""
    return replace(current, sequence=current.sequence + 1, again=current.asked_since, shadow=order)


def _state(data: bytes | None) -> DesiredState | None:
    return DesiredState.from_json(data) if data is not None else None
