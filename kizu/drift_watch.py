"""Reads what lines show and what their releases learned from, and has both compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from components.stores.fleet.lines import UnreadLine
    from inspection.documents import Release
    from inspection.drift import DriftReference, LineWindows
    from inspection.drifting import DriftingLine
    from reconciler.drift import Comparison
    from reconciler.view import Notice

_EVERY_S: Final = 600.0
"""Devices close no window earlier, so that a pass in between would read the same."""


class Lines(Protocol):
    """Reads what devices tell of their lines."""

    def reading(self) -> tuple[tuple[LineWindows, ...], tuple[UnreadLine, ...]]:
        """Return what each device tells, and which documents could not be read."""


class Releases(Protocol):
    """Reads published releases."""

    def release(self, digest: str) -> Release | None:
        """Return the release with this digest; None if it was not published."""


class Noted(Protocol):
    """Keeps which lines of a product drift."""

    def note(self, use_case: str, lines: Sequence[DriftingLine], at: datetime) -> bool:
        """Note it; return whether others did before. Raises ObjectStoreError."""


class DriftWatch:
    """Compares lines with their releases. It remembers what a release learned from: a release never changes.

    Args:
        noted: takes which lines drift, for the labeling pipeline; None where nothing is noted.
        clock: seconds that only go up.
        still_acting: called before anything is noted; raises where another replica took over.
    """

    def __init__(
        self,
        lines: Lines,
        releases: Releases,
        noted: Noted | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        still_acting: Callable[[], None] = lambda: None,
    ) -> None:
        self._lines = lines
        self._releases = releases
        self._noted = noted
        self._clock = clock
        self._still_acting = still_acting
        self._known: dict[str, DriftReference | None] = {}
        self._due = clock()
        self._to_note: dict[str, tuple[DriftingLine, ...]] = {}

    def judged(self) -> tuple[tuple[Comparison, ...], tuple[UnreadLine, ...]]:
        """All comparisons of all devices, and the devices whose line cannot be read.

        Raises:
            ObjectStoreError, SignerError: a server did not answer.
        """
        lines, unread = self._lines.reading()
        if not lines:
            return (), unread
        from reconciler.drift import judge_drift  # scipy is large: who watches nothing does not load it

        wanted = {line.release_digest for line in lines}
        for digest in wanted - self._known.keys():
            release = self._releases.release(digest)
            self._known[digest] = release.drift if release is not None else None
        self._known = {digest: self._known[digest] for digest in wanted}
        return judge_drift(lines, self._known), unread

    def notices(self, languages: Mapping[str, str]) -> tuple[Notice, ...]:
        """The notices about products that are served; none where the last look is recent, or no product is served.

        languages: product -> language of its notices.
        """
        if not languages or self._clock() < self._due:
            return ()
        found, _ = self.judged()
        self._due = self._clock() + _EVERY_S
        if not found:
            self._to_note = dict.fromkeys(languages, ())
            return ()
        from reconciler.drift_notes import drift_notices, drifting_lines

        self._to_note = drifting_lines(found, languages)
        return drift_notices(found, languages)

    def note(self, at: datetime) -> list[str]:
        """Note which lines drift, as the latest look found. Returns what changed, in words.

        Raises:
            ObjectStoreError: the store did not answer; what is not noted yet is noted at the next call.
        """
        said: list[str] = []
        if self._noted is None:
            return said
        for use_case, lines in sorted(self._to_note.items()):
            self._still_acting()
            if self._noted.note(use_case, lines, at):
                devices = ", ".join(line.device for line in lines)
                said.append(
                    f"{use_case}: images of lines that drift are labelled earlier: {devices}"
                    if lines
                    else f"{use_case}: no line drifts any more"
                )
            del self._to_note[use_case]
        return said
