"""Reads the signed TUF repository in S3, with the device's own identity. All that this module returns is verified."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import Metadata, Targets
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from edge_agent import __version__
from edge_agent.config import Config
from edge_agent.disk import Disk, RealDisk
from edge_agent.errors import AccessDenied, EdgeError, Interrupted, ObjectNotFound, UpdateError
from edge_agent.inference import CANDIDATE_FILE, RELEASE_FILE
from edge_agent.object_store import ObjectStore
from edge_agent.ota.download import PIECE_BYTES, Download
from inspection import Candidate, DesiredState, DocumentError, Release
from inspection.agent_release import AGENT_FILE, AgentRelease, WheelFile, agent_path, version_numbers
from inspection.paths import desired_path, former_desired_path

_log = logging.getLogger(__name__)

Content = TypeVar("Content", bound=Candidate)

METADATA_FOLDER: Final = "tuf"
"""The folder of TUF's metadata inside the state folder."""
WAITS_FOR_AGENT: Final = "waits-for-agent"
"""Why a release is not taken that a newer agent can take."""
MAX_TARGETS_METADATA_BYTES: Final = 5_000_000


class S3Fetcher(FetcherInterface):
    """The transport of python-tuf over an object store; its addresses are `s3://<bucket>/<key>`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def _fetch(self, url: str) -> Iterator[bytes]:
        parts = urlsplit(url)
        try:
            return self._store.stream(parts.netloc, parts.path.lstrip("/"))
        except ObjectNotFound as e:
            raise tuf_errors.DownloadHTTPError(str(e), 404) from e
        except AccessDenied as e:
            raise tuf_errors.DownloadHTTPError(str(e), 403) from e


class ReleaseClient:
    """Reads the repository for one poll. Make a new client for each: python-tuf reads clock and metadata once.

    Args:
        root: bytes of the root metadata pinned at enrolment; a newer root is followed only where this one signed it.
        metadata_folder: kept between polls, so that older metadata is recognised as old. python-tuf writes it itself,
            by rename and without fsync: what a power cut damages there does not verify and is fetched again.
        min_free_bytes: what a download leaves free on the disk.
        interrupted: whether a download should end for now.
        agent_version: of this agent; a release for a newer one waits.
    """

    def __init__(
        self,
        store: ObjectStore,
        bucket: str,
        root: bytes,
        metadata_folder: Path,
        *,
        disk: Disk | None = None,
        min_free_bytes: int = 0,
        piece_bytes: int = PIECE_BYTES,
        interrupted: Callable[[], bool] = lambda: False,
        agent_version: str = __version__,
    ) -> None:
        self._agent_version = agent_version
        self._disk = disk or RealDisk()
        self._metadata_folder = metadata_folder
        self._download = Download(
            store, bucket, self._disk, min_free_bytes=min_free_bytes, piece_bytes=piece_bytes, interrupted=interrupted
        )
        with _Named("the pinned root metadata"):
            self._disk.make_folder(metadata_folder)
            self._updater = Updater(
                metadata_dir=str(metadata_folder),
                metadata_base_url=f"s3://{bucket}/metadata/",
                fetcher=S3Fetcher(store),
                config=UpdaterConfig(targets_max_length=MAX_TARGETS_METADATA_BYTES),
                bootstrap=root,
            )

    @classmethod
    def from_config(
        cls,
        config: Config,
        store: ObjectStore,
        disk: Disk | None = None,
        interrupted: Callable[[], bool] = lambda: False,
        metadata_folder: str = METADATA_FOLDER,
    ) -> Self:
        """A client for the repository that the device's configuration names.

        metadata_folder: inside the state folder; two clients at the same time need one each.

        Raises:
            UpdateError: the pinned root metadata is missing or unusable.
        """
        try:
            root = config.root_metadata.read_bytes()
        except OSError as e:
            message = f"cannot read the pinned root metadata {config.root_metadata}: {e.strerror}"
            raise UpdateError("no-root", f"{message}; enrol the device again", transient=True) from e
        return cls(
            store,
            config.buckets.releases,
            root,
            config.state_folder / metadata_folder,
            disk=disk,
            min_free_bytes=config.outbox.min_free_bytes,
            interrupted=interrupted,
        )

    def refresh(self) -> None:
        """Fetch and verify root, timestamp, snapshot and targets.

        Raises:
            UpdateError: the metadata is refused or cannot be reached; what was trusted before stays trusted.
        """
        with _Named("the repository's metadata"):
            self._updater.refresh()

    def desired_state(self, use_case: str, group: str) -> DesiredState | None:
        """What the devices of the group that inspect this product should run; None where nothing was published.

        A repository of Kizu 0.1 has one state for each group, which counts if it is of this product.

        Raises:
            UpdateError: the document cannot be fetched, or this agent does not understand it.
        """
        found = self._desired_at(desired_path(use_case, group))
        if found is not None:
            return found
        former = self._desired_at(former_desired_path(group))
        return former if former is not None and former.use_case == use_case else None

    def _desired_at(self, path: str) -> DesiredState | None:
        with _Named(path):
            info = self._updater.get_targetinfo(path)
            if info is None:
                return None
            local = self._metadata_folder / "desired.json"
            self._download.bring(info, local)
            data = local.read_bytes()
        try:
            return DesiredState.from_json(data)
        except DocumentError as e:
            raise UpdateError("unreadable-desired-state", f"{path} is signed but not understood: {e}") from e

    def fetch_release(self, digest: str, folder: Path) -> Release:
        """Bring all files of a release into `folder`, verified and durable; files that are there already are kept.

        Raises:
            UpdateError: wrong bytes, an unknown file, or not reachable. `folder` may then hold some of the files, each
                of them complete.
            Interrupted: the download should end for now.
        """

        def check(release: Release) -> None:
            wait_for_agent(release, self._agent_version)

        return self._fetch("releases", digest, RELEASE_FILE, folder, read_release, check)

    def fetch_candidate(self, digest: str, folder: Path) -> Candidate:
        """Bring all files of a candidate into `folder`, as `fetch_release` does for a release.

        Raises:
            UpdateError, Interrupted: see `fetch_release`.
        """
        return self._fetch("shadow", digest, CANDIDATE_FILE, folder, read_candidate)

    def fetch_agent(self, digest: str, target: Path) -> AgentRelease:
        """Bring the document of a release of the agent's software to `target`, signed by that role.

        Raises:
            UpdateError, Interrupted: see `fetch_release`.
        """
        self._fetch_of_agent(agent_path(digest, AGENT_FILE), target)
        data = target.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise UpdateError("wrong-hash", f"the agent's software {digest[:12]} has another digest than its name says")
        try:
            return AgentRelease.from_json(data)
        except DocumentError as e:
            raise UpdateError("unreadable-release", f"{AGENT_FILE} is signed but not understood: {e}") from e

    def fetch_wheel(self, wheel: WheelFile, target: Path) -> None:
        """Bring one wheel of the agent's software to `target`, signed by that role.

        Raises:
            UpdateError, Interrupted: see `fetch_release`.
        """
        self._fetch_of_agent(agent_path(wheel.sha256, wheel.file), target)
        if target.stat().st_size != wheel.bytes or sha256_of_file(target) != wheel.sha256:
            raise UpdateError("wrong-hash", f"{wheel.file} is not the file that the release names")

    def _fetch_of_agent(self, path: str, target: Path) -> None:
        with _Named(path):
            # TUF asks the targets role first. What that role signs is no software of the agent.
            if path in Metadata[Targets].from_file(str(self._metadata_folder / "targets.json")).signed.targets:
                raise UpdateError("wrong-role", f"{path} is signed by the targets role, and not by the agent's own")
            info = self._updater.get_targetinfo(path)
            if info is None:
                raise UpdateError("not-published", f"{path} is not among the signed files", transient=True)
            self._download.bring(info, target)

    def _fetch(
        self,
        place: str,
        digest: str,
        name: str,
        folder: Path,
        read: Callable[[bytes], Content],
        check: Callable[[Content], None] = lambda _: None,
    ) -> Content:
        with _Named(str(folder)):
            self._disk.make_folder(folder)
        data = self._fetch_file(f"{place}/{digest}", name, folder).read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise UpdateError("wrong-hash", f"{name} of {digest[:12]} has another digest than its name says")
        release = read(data)
        check(release)
        files = {model.file: model.sha256 for model in release.models}
        files |= {sample.file: sample.sha256 for sample in release.golden}
        for name, sha256 in files.items():
            if sha256_of_file(self._fetch_file(f"{place}/{digest}", name, folder)) != sha256:
                raise UpdateError("wrong-hash", f"{name} is not the file that release {digest[:12]} names")
        for model in release.models:
            size = (folder / model.file).stat().st_size
            if size != model.bytes:
                raise UpdateError("wrong-length", f"{model.file}: expected {model.bytes} bytes, but got {size}")
        return release

    def _fetch_file(self, place: str, name: str, folder: Path) -> Path:
        path = f"{place}/{name}"
        target = folder / name
        with _Named(path):
            info = self._updater.get_targetinfo(path)
            if info is None:
                raise UpdateError("not-published", f"{path} is not among the signed files", transient=True)
            self._download.bring(info, target)
        return target


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. Reads the file in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wait_for_agent(release: Candidate, agent_version: str = __version__) -> None:
    """Refuse, for now, a release for newer agents: nothing more of it is fetched before the agent is new enough.

    Raises:
        UpdateError: `waits-for-agent`, transient, or `unreadable-release`.
    """
    try:
        too_old = version_numbers(agent_version) < version_numbers(release.min_agent_version)
    except ValueError as e:
        raise UpdateError("unreadable-release", f"its min_agent_version: {e}") from e
    if too_old:
        message = f"it needs agent {release.min_agent_version} or newer, this is {agent_version}"
        raise UpdateError(WAITS_FOR_AGENT, message, transient=True)


def read_candidate(data: bytes) -> Candidate:
    """Parse the bytes of `candidate.json`.

    Raises:
        UpdateError: this agent does not understand it.
    """
    try:
        return Candidate.from_json(data)
    except DocumentError as e:
        raise UpdateError("unreadable-release", f"candidate.json is signed but not understood: {e}") from e


def read_release(data: bytes) -> Release:
    """Parse the bytes of `release.json`.

    Raises:
        UpdateError: this agent does not understand it.
    """
    try:
        return Release.from_json(data)
    except DocumentError as e:
        raise UpdateError("unreadable-release", f"release.json is signed but not understood: {e}") from e


class _Named:
    """A context that turns errors of python-tuf, the store and the disk into `UpdateError`, each with a fixed word."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, UpdateError | Interrupted):
            return
        if isinstance(error, EdgeError):
            kinds: dict[type[EdgeError], str] = {ObjectNotFound: "not-published", AccessDenied: "access-denied"}
            reason = kinds.get(type(error), "unreachable")
            raise UpdateError(reason, f"{self._what}: {error}", transient=True) from error
        if isinstance(error, tuf_errors.RepositoryError | tuf_errors.DownloadError):
            reason = _reason(error)
            raise UpdateError(reason, f"{self._what}: {_message(error)}", transient=True) from error
        if isinstance(error, OSError):
            raise UpdateError("disk", f"{self._what}: {error}", transient=True) from error


def _reason(error: Exception) -> str:
    if isinstance(error, tuf_errors.DownloadHTTPError):
        return {403: "access-denied", 404: "not-published"}.get(error.status_code, "unreachable")
    causes: tuple[tuple[type[Exception], str], ...] = (
        (tuf_errors.ExpiredMetadataError, "expired-metadata"),
        (tuf_errors.LengthOrHashMismatchError, "wrong-hash"),
        (tuf_errors.DownloadLengthMismatchError, "wrong-length"),
        (tuf_errors.UnsignedMetadataError, "wrong-signature"),
        (tuf_errors.BadVersionNumberError, "rolled-back"),
        (tuf_errors.RepositoryError, "invalid-metadata"),
    )
    return next((reason for kind, reason in causes if isinstance(error, kind)), "unreachable")


def _message(error: Exception) -> str:
    cause = error.__cause__
    return f"{error} ({cause})" if isinstance(cause, EdgeError) and str(cause) != str(error) else str(error)
