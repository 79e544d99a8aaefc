"""Loads the releases that inspect here, and the one they are compared with, from verified files on the disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from edge_agent.errors import InferenceError, UpdateError
from edge_agent.inference import LoadedRelease, RuntimeChoice, load_release
from edge_agent.ota.active import Active
from edge_agent.ota.store import ReleaseStore

_log = logging.getLogger(__name__)


class Loader:
    """Loads releases into `active`. For the one thread that owns the transitions."""

    def __init__(self, store: ReleaseStore, choice: RuntimeChoice, active: Active) -> None:
        self._store = store
        self._choice = choice
        self._active = active

    def load(self, digest: str) -> LoadedRelease:
        """Load one release.

        Raises:
            UpdateError: a file is missing or damaged.
            InferenceError: the model cannot be loaded.
        """
        release = self._store.read(digest)
        return load_release(self._store.folder(digest), digest, release, self._choice)

    def run_first(self, digests: Iterable[str | None], damaged: Callable[[str], None]) -> None:
        """Have the first of these releases inspect that can be loaded; none where all are damaged.

        Args:
            damaged: told why a release before it cannot run.
        """
        for digest in dict.fromkeys(digests):
            if digest is None:
                continue
            try:
                loaded = self.load(digest)
            except (UpdateError, InferenceError) as e:
                _log.error("release %s cannot run: %s", digest[:12], e)
                damaged(str(e))
                continue
            self._active.set(loaded)
            return
        self._active.set(None)

    def compare_with(self, before: str | None, at_hand: LoadedRelease | None = None) -> None:
        """Load the release that the running one is compared with, where its sampling policy asks for that.

        Only there, since it takes memory. Where it cannot be loaded, the comparison waits and the inspection does not.

        Args:
            before: the release that ran before; None for none.
            at_hand: a release that is loaded already.
        """
        running = self._active.get()
        if running is None or before is None or running.release.sampling.disagreement_rate <= 0:
            self._active.previous = None
            return
        for known in (self._active.previous, at_hand):
            if known is not None and known.digest == before:
                self._active.previous = known
                return
        try:
            self._active.previous = self.load(before)
        except (UpdateError, InferenceError) as e:
            _log.warning("release %s cannot be loaded for comparison: %s", before[:12], e)
            self._active.previous = None
