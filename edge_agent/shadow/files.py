"""The candidate on this device's disk: `<state>/shadow/<digest>/`, and `<state>/shadow/shadow.json` beside it.

Nothing that runs releases reads this folder. The state is on the disk before what it announces: an order before its
files, and the end of an order before its files are removed. So a kill at any moment leaves files that the next start
completes or removes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.damaged import DamagedFiles
from edge_agent.disk import Disk
from edge_agent.errors import StateError
from edge_agent.shadow.tally import KeptShadow
from inspection import ShadowOrder
from inspection.codec import Document
from inspection.paths import check_sha256

_log = logging.getLogger(__name__)

FOLDER: Final = "shadow"
METADATA_FOLDER: Final = "shadow-tuf"
"""TUF's metadata of the candidate's downloads, which go on beside those of releases."""
STATE_FILE: Final = "shadow.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowState(Document):
    """What is known of the candidate. refused: why it may not judge here; empty where it may."""

    order: ShadowOrder
    refused: str = ""
    counts: KeptShadow | None = None


class ShadowFiles:
    """The folder of one device's candidate.

    Args:
        damaged: where a damaged state file is set aside.
    """

    def __init__(self, state_folder: Path, disk: Disk, damaged: DamagedFiles) -> None:
        self._folder = state_folder / FOLDER
        self._file = self._folder / STATE_FILE
        self._metadata = state_folder / METADATA_FOLDER
        self._disk = disk
        self._damaged = damaged

    def folder(self, digest: str) -> Path:
        """The folder of a candidate's files."""
        return self._folder / check_sha256(digest)

    def load(self) -> ShadowState | None:
        """What was written last; None without an order. A damaged file is set aside, and the next poll orders again."""
        return self._damaged.read(self._file, ShadowState)

    def save(self, state: ShadowState) -> None:
        """Write the state; it is durable when this returns.

        Raises:
            StateError: the disk is full or read-only.
        """
        try:
            self._disk.make_folder(self._folder)
            self._disk.write(self._file, state.to_json())
        except OSError as e:
            raise StateError(f"cannot write {self._file}: {e}") from e

    def end(self) -> None:
        """Note that there is no order any more; then the files may go.

        Raises:
            StateError: the disk is read-only.
        """
        try:
            if self._file.exists():
                self._disk.remove(self._file)
        except OSError as e:
            raise StateError(f"cannot remove {self._file}: {e}") from e

    def clean(self, keep: str | None) -> None:
        """Remove the files of all other candidates, and what a kill left of files that were being written.

        What cannot be removed is tried again at the next call.
        """
        kept = (keep, STATE_FILE) if keep is not None else ()
        try:
            there = sorted(self._folder.iterdir()) if self._folder.exists() else []
            there += sorted(self._metadata.glob("tmp*"))
            for path in there:
                if path.name in kept:
                    continue
                if path.is_dir() and not path.is_symlink():
                    self._disk.remove_tree(path)
                else:
                    self._disk.remove(path)
        except OSError as e:
            _log.warning("cannot remove an old candidate: %s", e)
