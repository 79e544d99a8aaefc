"""The signer: the only process that holds the targets, snapshot and timestamp keys.

It receives requests over HTTP to publish a model version or a desired state. It reads MLflow itself, checks everything
again, and signs. A request names a version, never content, so a caller cannot make the signer sign bytes of its choice.
"""

from __future__ import annotations

import logging
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from components.deployment.agent_orders import (
    AgentRequest,
    agent_releases,
    missing_wheels,
    order_agent,
    publish_agent,
    published_agents,
    step_agent,
    upload_wheel,
)
from components.deployment.callers import Callers, CallersError
from components.deployment.keys import KeysError, load_chain
from components.deployment.pruning import Prunable, PrunableAgent, digests_of, prunable, prunable_agents
from components.deployment.release import (
    BuiltRelease,
    ReleaseError,
    build_candidate,
    build_release,
    require_comparison,
)
from components.deployment.rollout_steps import Asked, Order, begin, take, without_former
from components.deployment.shadow_orders import ShadowRequest, end_shadow, order_shadow
from components.deployment.signer_http import make_app
from components.deployment.upkeep import Upkeep
from components.deployment.waiting import when_there
from components.settings import Settings, SettingsError, settings
from components.stores.models.registry import ModelRegistry
from components.stores.objects.s3 import AccessDenied, ObjectStoreError, S3ObjectStore
from components.stores.releases.repository import Published, ReleaseRepository, RepositoryError
from inspection.agent_release import AgentRelease, WheelFile
from inspection.documents import Candidate, DesiredState, Release
from inspection.paths import desired_path, former_desired_path, parse_desired_path

_log = logging.getLogger(__name__)


class Signer:
    """The operations of the signer, without HTTP."""

    def __init__(
        self,
        repository: ReleaseRepository,
        registry: ModelRegistry,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._repository = repository
        self._registry = registry
        self._now = now
        self._lock = threading.Lock()

    def publish_release(self, model: str, version: int) -> str:
        """Sign and publish the release of an approved version, and return its digest.

        A second call for the same version gives the same release. Before the first, the version's evaluation has to
        compare with the champion of now. A release that was signed already may come back at any time: a group goes back
        to a former version in this way.
        """
        with self._lock:
            built = build_release(self._registry, model, version)
            if f"releases/{built.release.digest}/release.json" not in self._repository.targets():
                require_comparison(self._registry, built)
            self._repository.publish(built.targets())
            _log.info("release %s is %s version %d", built.release.digest, model, version)
            return built.release.digest

    def publish_desired(
        self,
        model: str,
        version: int,
        *,
        again: bool = False,
        downgrade: bool = False,
        pin: bool = False,
        by: str = "",
        reason: str = "",
    ) -> DesiredState:
        """Begin the rollout of a release to its group, by the rollout policy that was approved with the version.

        If the release is ordered already, nothing changes. Otherwise the desired state gets the next sequence number,
        and the first stage of the rollout is open.

        Args:
            again: order the release anew, so that devices that refused it try it once more.
            downgrade: the version may be older than the one that is desired now. An older one goes to all devices at
                once.
            pin: order it to all devices at once, and let no other release follow until `Step.RESUME`.
            by, reason: who pins, and why.

        Raises:
            ReleaseError: the release is not published, or it is older than the desired one without `downgrade`.
            StepRefused: its rollout was stopped before, or another version is pinned.
        """
        with self._lock:
            built = build_release(self._registry, model, version)
            return self._desire(built, Order(again=again, pin=pin, by=by, reason=reason), downgrade=downgrade)

    def step(self, use_case: str, group: str, asked: Asked) -> DesiredState:
        """Take a group's rollout one step on, and return its desired state.

        Raises:
            ReleaseError: nothing is desired of this group.
            StepRefused: the step does not fit, or the desired state has changed since the caller looked.
        """
        wanted: list[DesiredState] = []

        def files(published: Published) -> Iterator[tuple[str, bytes]]:
            current, paths = _current(published, use_case, group)
            if current is None:
                raise ReleaseError(f"nothing was released for {use_case} in group {group} yet")
            wanted[:] = [take(current, asked, self._now())]
            for path in paths:
                yield path, wanted[0].to_json()

        with self._lock:
            self._repository.change(files)
            _log.info("%s of %s in group %s by %s: %s", asked.step, use_case, group, asked.by, asked.reason)
            return wanted[0]

    def recover(self, model: str, version: int, *, sequence_above: int = 0, metadata_above: int = 0) -> DesiredState:
        """Publish release and desired state in a repository that was lost or restored, so that devices take them.

        Devices refuse numbers below those that they have seen. The sequence goes on above `sequence_above`. Metadata
        go on above `metadata_above`, and above the seconds since 1970: no repository counts that fast.
        """
        with self._lock:
            built = build_release(self._registry, model, version)
            self._repository.initialise()
            if f"releases/{built.release.digest}/release.json" not in self._repository.targets():
                require_comparison(self._registry, built)
            above = max(metadata_above, int(self._now().timestamp()))
            order = Order(again=True, at_once=True, whatever_is_pinned=True, sequence_above=sequence_above)
            return self._desire(built, order, downgrade=True, metadata_above=above, publish=True)

    def _desire(
        self, built: BuiltRelease, order: Order, *, downgrade: bool, metadata_above: int = 0, publish: bool = False
    ) -> DesiredState:
        release, rollout = built.release, built.use_case.rollout
        wanted: list[DesiredState] = []

        def files(published: Published) -> Iterator[tuple[str, bytes]]:
            if publish:
                yield from built.targets()
            elif any(path not in published.targets for path, _ in built.targets()):
                raise ReleaseError(
                    f"release {release.digest} of {release.use_case} version {release.version} is not published yet"
                )
            current, paths = _current(published, release.use_case, rollout.group)
            back = current is not None and _goes_back(release, current, published, downgrade=downgrade)
            at_once = order.at_once or back
            state = begin(release, rollout, current, replace(order, at_once=at_once), self._now())
            former = state.rollout.former_digest if state.rollout is not None else None
            if former is not None and f"releases/{former}/release.json" not in published.targets:
                state = without_former(state)
            wanted[:] = [state]
            for path in paths:
                yield path, wanted[0].to_json()

        if self._repository.change(files, above=metadata_above):
            _log.info(
                "desired state %d of %s in group %s: release %s",
                wanted[0].sequence, release.use_case, rollout.group, release.digest,
            )  # fmt: skip
        return wanted[0]

    def shadow(self, model: str, version: int, order: ShadowRequest) -> DesiredState:
        """Publish a version that passed its gate as a candidate, and order it to judge on some devices.

        It need not be approved, and no device can run it: see `components/deployment/shadow_orders.py`.

        Raises:
            ReleaseError: the version may not judge, or its group has no desired state.
        """
        with self._lock:
            return order_shadow(self._repository, build_candidate(self._registry, model, version), order)

    def end_shadow(self, use_case: str, group: str) -> DesiredState:
        """Publish the desired state of a group without a candidate.

        Raises:
            ReleaseError: the group has no desired state.
        """
        with self._lock:
            return end_shadow(self._repository, use_case, group)

    def missing_wheels(self, release: AgentRelease) -> tuple[WheelFile, ...]:
        """The wheels of a release of the agent whose bytes are not here yet."""
        return missing_wheels(self._repository, release)

    def upload_wheel(self, wheel: WheelFile, data: bytes) -> None:
        """Put the bytes of a wheel, which count for nothing before a release of the agent names them."""
        upload_wheel(self._repository, wheel, data)

    def publish_agent(self, release: AgentRelease) -> str:
        """Sign a release of the agent with the key of its role, and return its digest.

        Raises:
            ReleaseError: the bytes of a wheel are not here.
        """
        with self._lock:
            publish_agent(self._repository, release)
            return release.digest

    def order_agent(self, request: AgentRequest) -> DesiredState:
        """Publish the desired state of a group with an order for the agent's software.

        Raises:
            ReleaseError: see `agent_orders.order_agent`.
        """
        with self._lock:
            return order_agent(self._repository, request, self._now)

    def step_agent(self, use_case: str, group: str, asked: Asked) -> DesiredState:
        """Take the rollout of a group's software one step on, and return its desired state.

        Raises:
            ReleaseError, StepRefused: see `agent_orders.step_agent`.
        """
        with self._lock:
            return step_agent(self._repository, use_case, group, asked, self._now())

    def agent_releases(self) -> list[AgentRelease]:
        """All published releases of the agent, the newest version last."""
        return agent_releases(self._repository)

    def candidate(self, digest: str) -> Candidate | None:
        """Return the candidate with this digest; None if it was not published."""
        data = self._repository.read_target(f"shadow/{digest}/candidate.json")
        return Candidate.from_json(data) if data is not None else None

    def prune(self, used: Iterable[str], newest: int, *, act: bool) -> list[Prunable]:
        """Delete the files of releases that nobody needs; `release.json` of each stays. Returns what went, or would.

        Args:
            used: digests that devices run, are about to run, or were pinned to.
            newest: of each product so many of the newest versions stay.
            act: without it nothing is deleted.
        """
        kept = tuple(used)

        def choose(published: Published) -> list[Prunable]:
            releases = [
                Release.from_json(data)
                for digest in digests_of(published.targets)
                if (data := published.read(f"releases/{digest}/release.json")) is not None
            ]
            return prunable(_sizes(published), releases, _desired_states(published), kept, newest)

        found: list[Prunable] = []

        def paths(published: Published) -> list[str]:
            found[:] = choose(published)
            return [path for item in found for path in item.paths] if act else []

        with self._lock:
            self._repository.withdraw(paths)
        if act and found:
            _log.info("deleted the files of %d releases", len(found))
        return found

    def prune_agents(self, used: Iterable[str], newest: int, *, act: bool) -> list[PrunableAgent]:
        """Delete the wheels of the agent's software that nobody needs; each `agent.json` stays. Returns what went, or
        would.

        Args:
            used: digests that devices run, hold in a slot, or were asked for.
            newest: so many of the newest versions stay.
            act: without it nothing is deleted.
        """
        kept = tuple(used)
        found: list[PrunableAgent] = []

        def paths(published: Published) -> list[str]:
            releases = published_agents(published)
            found[:] = prunable_agents(_sizes(published), releases, _desired_states(published), kept, newest)
            return [path for item in found for path in item.paths] if act else []

        with self._lock:
            self._repository.withdraw(paths)
        if act and found:
            _log.info("deleted the wheels of %d releases of the agent", len(found))
        return found

    def desired(self, use_case: str, group: str) -> DesiredState | None:
        """Return the desired state of a product in a group; None if none was published."""
        found = self._read_desired(desired_path(use_case, group))
        if found is None:
            found = self._read_desired(former_desired_path(group))
        return found if found is not None and found.use_case == use_case else None

    def desired_names(self) -> list[tuple[str, str]]:
        """Return (use case, group) of every published desired state, sorted."""
        names: set[tuple[str, str]] = set()
        for path in self._repository.targets():
            parsed = parse_desired_path(path)
            if parsed is None:
                continue
            group, use_case = parsed
            if use_case is None:
                former = self._read_desired(path)
                use_case = former.use_case if former is not None else ""
            names.add((use_case, group))
        return sorted(names)

    def release(self, digest: str) -> Release | None:
        """Return the release with this digest; None if it was not published."""
        data = self._repository.read_target(f"releases/{digest}/release.json")
        return Release.from_json(data) if data is not None else None

    def _read_desired(self, path: str) -> DesiredState | None:
        return _parsed(self._repository.read_target(path))


def _parsed(data: bytes | None) -> DesiredState | None:
    return DesiredState.from_json(data) if data is not None else None


def _desired_states(published: Published) -> list[DesiredState]:
    return [
        state
        for path in published.targets
        if parse_desired_path(path) is not None and (state := _parsed(published.read(path))) is not None
    ]


def _sizes(published: Published) -> dict[str, int]:
    return {path: target.length for path, target in published.targets.items()}


def _current(published: Published, use_case: str, group: str) -> tuple[DesiredState | None, tuple[str, ...]]:
    """A group's desired state, and the paths at which the next one is written."""
    path, former_path = desired_path(use_case, group), former_desired_path(group)
    former = _parsed(published.read(former_path))
    if former is not None and former.use_case != use_case:
        former = None  # another product had the group's former name first
    # Agents of version 0.1 know the former name only; where it is this product's, both names say the same.
    return _parsed(published.read(path)) or former, (path,) if former is None else (path, former_path)


def _goes_back(release: Release, current: DesiredState, published: Published, *, downgrade: bool) -> bool:
    """Whether the release is older than one that is desired now.

    Raises:
        ReleaseError: it is older, or nobody can tell, and the order does not say `downgrade`.
    """
    for digest in {wave.release_digest for wave in current.waves} - {release.digest}:
        data = published.read(f"releases/{digest}/release.json")
        if data is None:
            if downgrade:
                return True
            raise ReleaseError(
                f"release {digest[:12]}, which is desired now, is not published, so that nobody can tell whether "
                f"version {release.version} is older; if it is what you want, order it with --downgrade"
            )
        desired = Release.from_json(data).version
        if release.version < desired:
            if downgrade:
                return True
            raise ReleaseError(
                f"version {release.version} of {release.use_case} is older than version {desired}, which is desired "
                "now; if you want to go back, order it with --downgrade"
            )
    return False


def compose(config: Settings) -> Starlette:
    """Open the repository and the registry that the settings name, and return the HTTP application.

    An empty bucket becomes an empty repository. Metadata that expires soon is signed again.

    Raises:
        SettingsError, KeysError, CallersError, ObjectStoreError, RepositoryError: the signer cannot work with these
            settings.
    """
    callers = Callers.from_file(Path(config.required("signer_callers")))
    folder = Path(config.required("signer_keys"))
    keys = load_chain(folder)
    repository = ReleaseRepository(
        S3ObjectStore.from_settings(config),
        config.bucket("releases"),
        keys.newest,
        keys.signers,
        former=keys.roots[:-1],
        agent=keys.agent,
    )
    repository.initialise()
    repository.renew()
    return make_app(Signer(repository, ModelRegistry.from_settings(config)), callers, Upkeep(repository, folder))


def composed_when_there(
    config: Settings,
    *,
    compose: Callable[[Settings], Starlette] = compose,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> Starlette:
    """Return what `compose` returns, as soon as the store answers and has the bucket of releases.

    Raises:
        AccessDenied, SettingsError, KeysError, CallersError, RepositoryError: waiting would not help.
    """

    def is_away(error: Exception) -> bool:
        return isinstance(error, ObjectStoreError) and not isinstance(error, AccessDenied)

    return when_there(lambda: compose(config), is_away, "the signer", sleep=sleep, now=now)


def tls_options(config: Settings) -> dict[str, Any]:
    """What uvicorn needs for TLS: nothing without a certificate; with callers' authorities, callers need one too.

    Raises:
        SettingsError: there is an authority of callers, but no certificate and key of the signer.
    """
    if not config.signer_cert_file:
        if config.signer_client_ca_file:
            raise SettingsError(
                "expected KIZU_SIGNER_CERT_FILE and KIZU_SIGNER_KEY_FILE with KIZU_SIGNER_CLIENT_CA_FILE, but they "
                "are empty"
            )
        return {}
    options: dict[str, Any] = {
        "ssl_certfile": config.signer_cert_file,
        "ssl_keyfile": config.required("signer_key_file"),
    }
    if config.signer_client_ca_file:
        options |= {"ssl_ca_certs": config.signer_client_ca_file, "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return options


def main() -> int:
    """Run the signer on KIZU_SIGNER_HOST:KIZU_PORT_SIGNER with the keys in KIZU_SIGNER_KEYS."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        config = settings()
        options = tls_options(config)
        app = composed_when_there(config)
    except (SettingsError, KeysError, CallersError, ObjectStoreError, RepositoryError) as e:
        _log.error("the signer cannot start: %s", e)
        return 1
    uvicorn.run(
        app, host=config.signer_host, port=config.signer_port, log_level="warning", server_header=False, **options
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
