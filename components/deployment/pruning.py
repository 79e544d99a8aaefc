"""Which published releases lose their files: rules over what is published, desired and run. The signer acts.

`release.json` of every release stays for good: a trace of an image needs it. Models and golden samples, which are
large, go where no device is asked to run the release and none runs it. A pruned release that is ordered again is
published again, with the same digest, from the registry.

Releases of the agent's software lose their wheels in the same way, and their `agent.json` stays.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from inspection.agent_release import AgentRelease, agent_path, version_numbers
from inspection.documents import DesiredState, Release

_FILE: Final = re.compile(r"releases/(?P<digest>[0-9a-f]{64})/(?P<name>[^/]+)")
RELEASE_FILE: Final = "release.json"


@dataclass(frozen=True, slots=True)
class Prunable:
    """A release that nobody needs any more. paths: its targets but release.json; bytes: their size together."""

    digest: str
    use_case: str
    version: int
    paths: tuple[str, ...]
    bytes: int


def prunable(
    targets: Mapping[str, int],
    releases: Iterable[Release],
    desired: Iterable[DesiredState],
    used: Iterable[str],
    newest: int,
) -> list[Prunable]:
    """The releases whose files may go, oldest first.

    Args:
        targets: path -> size of what is published.
        releases: all published ones.
        desired: all desired states. What they order, rolled out before, or shadow, stays.
        used: digests that devices run, are about to run, or were pinned to.
        newest: of each product so many of the newest versions stay in any case.
    """
    kept = set(used)
    for state in desired:
        kept.update(wave.release_digest for wave in state.waves)
        if state.rollout is not None:
            kept.update(digest for digest in (state.rollout.release_digest, state.rollout.former_digest) if digest)
        if state.shadow is not None:
            kept.add(state.shadow.release_digest)
    by_product: dict[str, list[Release]] = defaultdict(list)
    for release in releases:
        by_product[release.use_case].append(release)
    found = []
    for product in by_product.values():
        product.sort(key=lambda release: release.version)
        for release in product[: max(0, len(product) - newest)]:
            if release.digest in kept:
                continue
            paths = tuple(sorted(path for path in targets if _is_file_of(path, release.digest)))
            if paths:
                size = sum(targets[path] for path in paths)
                found.append(Prunable(release.digest, release.use_case, release.version, paths, size))
    return found


@dataclass(frozen=True, slots=True)
class PrunableAgent:
    """Software that nobody needs any more. paths: its wheels that no other one needs; bytes: their size together."""

    digest: str
    version: str
    paths: tuple[str, ...]
    bytes: int


def prunable_agents(
    targets: Mapping[str, int],
    releases: Iterable[AgentRelease],
    desired: Iterable[DesiredState],
    used: Iterable[str],
    newest: int,
) -> list[PrunableAgent]:
    """The releases of the agent whose wheels may go, oldest first. A wheel that a kept release needs stays.

    Args:
        targets: path -> size of what is published.
        releases: all published ones of the agent.
        desired: all desired states. What they order, roll out, or would go back to, stays.
        used: digests that devices run, hold in a slot, or were asked for.
        newest: so many of the newest versions stay in any case.
    """
    kept = set(used)
    for state in desired:
        if state.agent is None:
            continue
        kept.update(wave.release_digest for wave in state.agent.waves)
        if (plan := state.agent.rollout) is not None:
            kept.update(digest for digest in (plan.release_digest, plan.former_digest) if digest)
    by_age = sorted(releases, key=lambda release: (version_numbers(release.version), release.digest))
    kept.update(release.digest for release in by_age[max(0, len(by_age) - newest) :])
    needed = {path for release in by_age if release.digest in kept for path in _wheel_paths(release)}
    found = []
    for release in by_age:
        paths = tuple(sorted(path for path in _wheel_paths(release) if path in targets and path not in needed))
        if release.digest in kept or not paths:
            continue
        needed.update(paths)  # an older release that shares a wheel names it already
        found.append(PrunableAgent(release.digest, release.version, paths, sum(targets[path] for path in paths)))
    return found


def _wheel_paths(release: AgentRelease) -> set[str]:
    return {agent_path(wheel.sha256, wheel.file) for build in release.builds for wheel in build.wheels}


def _is_file_of(path: str, digest: str) -> bool:
    match = _FILE.fullmatch(path)
    return match is not None and match["digest"] == digest and match["name"] != RELEASE_FILE


def digests_of(targets: Iterable[str]) -> list[str]:
    """The releases that are published, by digest."""
    found = (_FILE.fullmatch(path) for path in targets)
    return sorted(match["digest"] for match in found if match and match["name"] == RELEASE_FILE)
