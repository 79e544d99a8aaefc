"""What the signer published, asked once in each pass. A release never changes, so it is asked for once only."""

from __future__ import annotations

from inspection.codec import DocumentError
from inspection.documents import DesiredState, Release
from reconciler.rules import DeviceReports, Publisher, Reading
from reconciler.seeing import CannotSee
from reconciler.software import software_goes_first
from reconciler.view import SeenDesired


class PublishedInAPass:
    """A `Publisher` that remembers. Call `new_pass` before each pass."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._names: tuple[tuple[str, str], ...] | None = None
        self._desired: dict[tuple[str, str], DesiredState | None] = {}
        self._releases: dict[str, Release] = {}

    def new_pass(self) -> None:
        """Forget what may have changed."""
        self._names = None
        self._desired.clear()

    def desired_names(self) -> tuple[tuple[str, str], ...]:
        """(use case, group) of every published desired state."""
        if self._names is None:
            self._names = tuple(self._publisher.desired_names())
        return self._names

    def desired(self, use_case: str, group: str) -> DesiredState | None:
        """The desired state of a product in a group; None if none was published."""
        if (use_case, group) not in self._desired:
            self._desired[use_case, group] = self._publisher.desired(use_case, group)
        return self._desired[use_case, group]

    def release(self, digest: str) -> Release | None:
        """A release; one that is not published yet is asked for again."""
        if digest not in self._releases:
            found = self._publisher.release(digest)
            if found is None:
                return None
            self._releases[digest] = found
        return self._releases[digest]


class ReadingOfAPass:
    """The devices' reports, read once in each pass. Call `new_pass` before each pass."""

    def __init__(self, fleet: DeviceReports) -> None:
        self._fleet = fleet
        self._reading: Reading | None = None

    def new_pass(self) -> None:
        """Read the reports again at the next question."""
        self._reading = None

    def reading(self) -> Reading:
        """The latest report of each device, and which of them could not be read."""
        if self._reading is None:
            self._reading = self._fleet.reading()
        return self._reading


class SeenDesiredStates:
    """The port `reconciler.seeing.DesiredStates`. errors: what the publisher raises where it does not answer."""

    def __init__(self, published: PublishedInAPass, errors: tuple[type[Exception], ...]) -> None:
        self._published = published
        self._errors: tuple[type[Exception], ...] = (*errors, DocumentError)

    def desired(self, use_case: str, group: str) -> SeenDesired | None:
        """What the group should run; the version is that of the newest release that a wave names.

        Raises:
            CannotSee: the signer did not answer, or a release that is desired cannot be read.
        """
        try:
            state = self._published.desired(use_case, group)
            if state is None:
                return None
            versions = []
            for digest in {wave.release_digest for wave in state.waves}:
                release = self._published.release(digest)
                if release is None:
                    raise CannotSee(f"release {digest[:12]}, which is desired in the group {group}, is not published")
                versions.append(release.version)
        except self._errors as e:
            raise CannotSee(str(e)) from e
        plan, software = state.rollout, software_goes_first(state)
        return SeenDesired(
            sequence=state.sequence,
            version=max(versions, default=0),
            plan=str(plan.state) if plan is not None else "",
            plan_reason=plan.reason if plan is not None else "",
            plan_version=plan.version if plan is not None else 0,
            software=software.version if software is not None else "",
        )
