"""The releases on this device's disk, and the state of the activation beside them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from edge_agent.damaged import FOLDER as DAMAGED_FOLDER
from edge_agent.damaged import DamagedFiles
from edge_agent.disk import TEMPORARY, Disk, RealDisk
from edge_agent.errors import DamagedState, StateError, UpdateError
from edge_agent.inference import RELEASE_FILE
from edge_agent.ota.activation import Phase, State
from edge_agent.ota.probation import Tally
from edge_agent.ota.refusal import Kind, Refusal, kind_of
from edge_agent.ota.release_client import METADATA_FOLDER, read_release, sha256_of_file
from inspection import Release
from inspection.codec import canonical_json
from inspection.documents import check_sha256

_log = logging.getLogger(__name__)

STATE_FILE: Final = "activation.json"
_KEPT_MARK: Final = "_kept"
"""A file in the folder of a release; no file of a release may have this name."""
_SCHEMA_VERSION: Final = 2
"""Version 2 has in addition what ends a refusal, orderly stops, and what a probation compares."""


class ReleaseStore:
    """`<state>/releases/<digest>/` and `<state>/activation.json`.

    Raises:
        StateError: the state folder cannot be written.
    """

    def __init__(self, state_folder: Path, *, disk: Disk | None = None) -> None:
        self._disk = disk or RealDisk()
        self._releases = state_folder / "releases"
        self._file = state_folder / STATE_FILE
        self._damaged = DamagedFiles(state_folder / DAMAGED_FOLDER, self._disk)
        try:
            self._disk.make_folder(self._releases)
        except OSError as e:
            raise StateError(f"cannot make {self._releases}: {e.strerror}") from e

    def folder(self, digest: str) -> Path:
        """The folder of the files of a release."""
        return self._releases / check_sha256(digest)

    def load_state(self) -> State:
        """Read the state that was written last; the empty state on a new device.

        Raises:
            DamagedState: the file is damaged.
            StateError: a newer agent wrote it, or it may not be read.
        """
        try:
            value = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return State()
        except PermissionError as e:
            raise StateError(f"cannot read {self._file}: {e}") from e
        except (OSError, ValueError) as e:
            empty = self._file.exists() and self._file.stat().st_size == 0
            raise DamagedState("empty" if empty else "unreadable", f"cannot read {self._file}: {e}") from e
        return _decode(value, self._file)

    def open_state(self) -> State:
        """Read the state; where the file is damaged or gone, set it aside and begin with the releases that are here.

        Then the newest intact release that this device had kept runs. What the file knew beside that is lost: a pin,
        and which releases were refused.

        Raises:
            StateError: a newer agent wrote the file, or the disk is full.
        """
        try:
            state = self.load_state()
            if self._file.exists():
                return state
            reason = "missing"
        except DamagedState as e:
            reason = e.reason
        found = self._intact(only_kept=reason == "missing")
        if not found and reason == "missing":
            return State()  # a new device
        try:
            if reason != "missing":
                self._damaged.keep_copy(_bytes_of(self._file), STATE_FILE, reason)
        except OSError as e:
            raise StateError(f"cannot set {self._file} aside: {e}") from e
        state = State(
            current=found[0] if found else None,
            previous=found[1] if len(found) > 1 else None,
            factory=found[-1] if found else None,
            note=f"state-{reason}: {STATE_FILE} was {reason}; the newest intact release here runs" if found else "",
        )
        self.save_state(state)
        _log.error("%s was %s; release %s runs", self._file, reason, state.current)
        return state

    def mark_kept(self, digests: Iterable[str | None]) -> None:
        """Note on the disk which releases this device has kept, for the case that the state file is damaged.

        Raises:
            StateError: the disk refuses a mark.
        """
        try:
            for digest in dict.fromkeys(item for item in digests if item):
                mark = self.folder(digest) / _KEPT_MARK
                if mark.parent.is_dir() and not mark.exists():
                    self._disk.write(mark, b"")
        except OSError as e:
            raise StateError(f"cannot mark a release as kept: {e}") from e

    def _intact(self, *, only_kept: bool) -> list[str]:
        """The releases whose files are whole, newest first. Where some were kept here before, only those."""
        try:
            folders = [path for path in self._releases.iterdir() if path.is_dir()]
        except OSError:
            return []
        marked = [path for path in folders if (path / _KEPT_MARK).exists()]
        found = []
        for folder in marked if marked or only_kept else folders:
            try:
                release = self.read(folder.name)
            except (UpdateError, ValueError) as e:
                _log.warning("%s is not used: %s", folder.name[:12], e)
                continue
            found.append((release.version, release.approval.at, folder.name))
        return [digest for *_, digest in sorted(found, reverse=True)]

    def save_state(self, state: State) -> None:
        """Write the state; it is durable when this returns.

        Raises:
            StateError: the disk is full or read-only.
        """
        try:
            self._disk.write(self._file, _encode(state))
        except OSError as e:
            raise StateError(f"cannot write {self._file}: {e}") from e

    def read(self, digest: str) -> Release:
        """Read a release that is on the disk, and check all its files against their digests.

        Raises:
            UpdateError: a file is missing or damaged.
        """
        folder = self.folder(digest)
        try:
            data = (folder / RELEASE_FILE).read_bytes()
            if hashlib.sha256(data).hexdigest() != digest:
                raise UpdateError("damaged", f"release.json of {digest[:12]} was changed on this disk")
            release = read_release(data)
            files = [(model.file, model.sha256) for model in release.models]
            files += [(sample.file, sample.sha256) for sample in release.golden]
            for name, sha256 in files:
                if sha256_of_file(folder / name) != sha256:
                    raise UpdateError("damaged", f"{name} of release {digest[:12]} was changed on this disk")
        except OSError as e:
            raise UpdateError("damaged", f"release {digest[:12]} is not complete on this disk: {e}") from e
        return release

    def clean(self, keep: Iterable[str]) -> None:
        """Remove the files of all other releases. A file that cannot be removed is tried again at the next call."""
        kept = set(keep)
        try:
            there = sorted(self._releases.iterdir())
        except OSError as e:
            _log.warning("cannot look for old releases: %s", e)
            return
        for path in there:
            if path.name in kept:
                continue
            try:
                if path.is_dir() and not path.is_symlink():
                    self._disk.remove_tree(path)
                else:
                    self._disk.remove(path)
            except OSError as e:
                _log.warning("cannot remove an old release: %s", e)

    def tidy(self) -> None:
        """Remove temporary files that a kill left, ours and those of python-tuf.

        Only the agent that holds the state folder may call this: another process may be using such a file.
        """
        left = [path for path in self._file.parent.glob(f".*{TEMPORARY}") if path.is_file()]
        left += [path for path in (self._file.parent / METADATA_FOLDER).glob("tmp*") if path.is_file()]
        try:
            for path in left:
                self._disk.remove(path)
        except OSError as e:
            _log.warning("cannot remove a temporary file of an earlier start: %s", e)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # a worn flash may refuse to read it


def _encode(state: State) -> bytes:
    return canonical_json(
        {
            "schema_version": _SCHEMA_VERSION,
            "current": state.current,
            "previous": state.previous,
            "factory": state.factory,
            "pending": state.pending,
            "phase": str(state.phase),
            "since": state.since.isoformat() if state.since else None,
            "sequence": state.sequence,
            "probation_s": state.probation_s,
            "attempts": state.attempts,
            "stops": state.stops,
            "pinned": state.pinned,
            "former": asdict(state.former) if state.former else None,
            "seen": asdict(state.seen),
            "waited_s": state.waited_s,
            "accepted": state.accepted,
            "note": state.note,
            "failed": {digest: _encode_refusal(refusal) for digest, refusal in state.failed.items()},
        }
    )


def _decode(value: Any, path: Path) -> State:
    try:
        if value["schema_version"] > _SCHEMA_VERSION:
            raise StateError(f"{path} was written by a newer agent; install that one again")
        for name in ("current", "previous", "factory", "pending"):
            if value[name] is not None:
                check_sha256(value[name])
        if value["phase"] != Phase.IDLE and value["pending"] is None:
            raise ValueError(f"a release is missing in phase {value['phase']}")
        return State(
            current=value["current"],
            previous=value["previous"],
            factory=value["factory"],
            pending=value["pending"],
            phase=Phase(value["phase"]),
            since=datetime.fromisoformat(value["since"]) if value["since"] else None,
            sequence=int(value["sequence"]),
            probation_s=float(value["probation_s"]),
            attempts=int(value["attempts"]),
            stops=int(value.get("stops", 0)),
            pinned=value.get("pinned"),
            former=_decode_tally(value["former"]) if value.get("former") else None,
            seen=_decode_tally(value.get("seen") or {}),
            waited_s=float(value.get("waited_s", 0.0)),
            accepted=value.get("accepted"),
            note=str(value.get("note", "")),
            failed={digest: _decode_refusal(item) for digest, item in value["failed"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise DamagedState("wrong-form", f"{path} has an unexpected form: {e!r}") from e


def _encode_refusal(refusal: Refusal) -> dict[str, Any]:
    return {
        "sequence": refusal.sequence,
        "reason": refusal.reason,
        "kind": str(refusal.kind),
        "attempts": refusal.attempts,
        "next_at": refusal.next_at.isoformat() if refusal.next_at else None,
        "agent_version": refusal.agent_version,
        "at": refusal.at.isoformat() if refusal.at else None,
    }


def _decode_refusal(value: Any) -> Refusal:
    reason, next_at, at = str(value["reason"]), value.get("next_at"), value.get("at")
    return Refusal(
        int(value["sequence"]),
        reason,
        Kind(value["kind"]) if "kind" in value else kind_of(reason),  # version 1 has no kind
        int(value.get("attempts", 1)),
        datetime.fromisoformat(next_at) if next_at else None,
        str(value.get("agent_version", "")),
        datetime.fromisoformat(at) if at else None,
    )


def _decode_tally(value: Any) -> Tally:
    p95_ms = value.get("p95_ms")
    return Tally(
        int(value.get("frames", 0)),
        int(value.get("fail", 0)),
        int(value.get("uncertain", 0)),
        None if p95_ms is None else float(p95_ms),
    )
