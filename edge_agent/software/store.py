"""The agent's software on this device's disk, below `<state>/agent/`.

    state.json                 the state, shared with the launcher
    wheels/<sha256>.whl        a wheel that is being fetched or unpacked
    wheels/<sha256>/           an unpacked wheel, complete where wheels/<sha256>.ok is there
    slots/<slot>/site/         all packages of one release, as hard links to the unpacked wheels
    slots/<slot>/agent.json    the signed document; written last, so that a slot with it is complete

A wheel that two releases share is fetched and unpacked once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from edge_agent.damaged import DamagedFiles
from edge_agent.disk import Disk
from edge_agent.errors import StateError, UpdateError
from edge_agent.software.state import SLOTS, SoftwareState
from edge_agent.software.wheels import unpack
from inspection.agent_release import AGENT_FILE, AgentBuild, AgentRelease
from inspection.paths import check_sha256

FOLDER: Final = "agent"
METADATA_FOLDER: Final = "agent-tuf"
"""TUF's metadata of the software's downloads, which go on beside those of releases."""
STATE_FILE: Final = "state.json"


class SoftwareStore:
    """The software of one device. damaged: where a damaged state file is set aside."""

    def __init__(self, state_folder: Path, disk: Disk, damaged: DamagedFiles) -> None:
        self.folder = state_folder / FOLDER
        self._file = self.folder / STATE_FILE
        self._wheels = self.folder / "wheels"
        self._metadata = state_folder / METADATA_FOLDER
        self._disk = disk
        self._damaged = damaged

    def load(self) -> SoftwareState:
        """What was written last; the state of a new device where there is none, or a damaged one."""
        return self._damaged.read(self._file, SoftwareState) or SoftwareState()

    def save(self, state: SoftwareState) -> None:
        """Write the state. Raises StateError."""
        try:
            self._disk.make_folder(self.folder)
            self._disk.write(self._file, state.to_json())
        except OSError as e:
            raise StateError(f"cannot write {self._file}: {e}") from e

    def site(self, slot: str) -> Path:
        """The packages of a slot."""
        return self.folder / "slots" / slot / "site"

    def release_in(self, slot: str, digest: str) -> AgentRelease | None:
        """The release in a slot, where it is this one and complete; else None."""
        try:
            data = (self.folder / "slots" / slot / AGENT_FILE).read_bytes()
        except OSError:
            return None
        return AgentRelease.from_json(data) if hashlib.sha256(data).hexdigest() == digest else None

    def has_wheel(self, sha256: str) -> bool:
        """Whether an unpacked wheel is complete."""
        return self._mark(sha256).is_file()

    def incoming(self, sha256: str) -> Path:
        """Where the bytes of a wheel are fetched to."""
        self._disk.make_folder(self._wheels)
        return self._wheels / f"{check_sha256(sha256)}.whl"

    def document(self) -> Path:
        """Where the document of the release that is ordered is fetched to."""
        self._disk.make_folder(self.folder)
        return self.folder / AGENT_FILE

    def unpack(self, sha256: str, min_free_bytes: int = 0) -> None:
        """Unpack a wheel that was fetched and verified. min_free_bytes: what must stay free on the disk.

        Raises:
            UpdateError: it is no wheel, or the disk has no room for it now.
            OSError: the disk cannot be written.
        """
        folder = self._wheels / check_sha256(sha256)
        self._disk.remove_tree(folder)
        self._disk.make_folder(folder)
        unpack(self.incoming(sha256), folder, self._disk, min_free_bytes)
        self._disk.write(self._mark(sha256), b"")
        self._disk.remove(self.incoming(sha256))

    def build(self, slot: str, release: AgentRelease, build: AgentBuild) -> None:
        """Make a slot from unpacked wheels. What it held before is gone as soon as this begins.

        Raises:
            UpdateError: two wheels hold the same file.
            OSError: the disk cannot be written.
        """
        folder = self.folder / "slots" / slot
        self._disk.remove(folder / AGENT_FILE)
        self._disk.remove_tree(folder)
        site = folder / "site"
        self._disk.make_folder(site)
        made = {site}
        for wheel in build.wheels:
            source = self._wheels / wheel.sha256
            for where, _, names in os.walk(source):
                place = site / Path(where).relative_to(source)
                if names and place not in made:
                    self._disk.make_folder(place)
                    made.add(place)
                for name in names:
                    try:
                        self._disk.link(Path(where, name), place / name)
                    except FileExistsError as e:
                        raise UpdateError("bad-wheel", f"{wheel.file} holds a file of another wheel: {name}") from e
        self._disk.sync_tree(folder)
        self._disk.write(folder / "python", build.python.encode())
        self._disk.write(folder / AGENT_FILE, release.to_json())

    def clean(self, state: SoftwareState) -> None:
        """Remove the wheels that no slot needs, and what a kill left of files that were being written.

        A slot that does not run stays, to go back to.
        """
        needed: set[str] = set()
        in_slots: Iterable[AgentRelease | None] = (
            self.release_in(slot, digest) for slot, digest in state.slots.items() if slot in SLOTS
        )
        for release in in_slots:
            if release is not None:
                needed.update(wheel.sha256 for build in release.builds for wheel in build.wheels)
        for path in sorted(self._metadata.glob("tmp*")):
            self._disk.remove(path)  # a kill left it of metadata that were being written
        for path in sorted(self._wheels.iterdir()) if self._wheels.is_dir() else ():
            if path.name.removesuffix(".ok").removesuffix(".whl") in needed and path.suffix != ".whl":
                continue
            # The mark goes first: a wheel without it is not complete.
            if path.is_dir():
                self._disk.remove(path.with_name(f"{path.name}.ok"))
                self._disk.remove_tree(path)
            else:
                self._disk.remove(path)

    def _mark(self, sha256: str) -> Path:
        return self._wheels / f"{check_sha256(sha256)}.ok"
