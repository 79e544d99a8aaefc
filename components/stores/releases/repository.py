"""The TUF repository in the releases bucket: a publication is visible as a whole, and signers lose nothing of another.

A publication uploads target files, then `N.targets.json`, then `M.snapshot.json`, and last `timestamp.json`: a device
sees the old state or the new one. The timestamp names the snapshot by hash and the snapshot the targets by hash. A
metadata file with a number is written once: what a killed publication left behind keeps its number, and the next one
takes the number after it. `timestamp.json` is replaced under a condition: a signer whose timestamp was replaced
meanwhile reads the repository again and repeats its change.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError as TufError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from components.stores.objects.fenced import FencedObject
from components.stores.objects.s3 import ObjectNotFound, S3ObjectStore
from components.stores.releases.agent_role import AGENT, METADATA_FILE, delegate, delegates_to, signs, verifies
from components.stores.releases.key_chain import KeyChain

_log = logging.getLogger(__name__)

LIFETIMES: Final[Mapping[str, timedelta]] = {
    "targets": timedelta(days=3650),
    AGENT: timedelta(days=3650),
    "snapshot": timedelta(days=30),
    "timestamp": timedelta(days=7),
}
RENEW_BEFORE: Final = 0.5  # of a lifetime left
_TIMESTAMP: Final = "metadata/timestamp.json"
_ATTEMPTS: Final = 20
_NUMBERED: Final = re.compile(r"metadata/(\d{1,15})\.(targets|snapshot|agent)\.json")

Role = TypeVar("Role", Targets, Snapshot, Timestamp)


class RepositoryError(RuntimeError):
    """The repository in the bucket is not what its own signatures say."""


class _NotOfTheseKeys(RepositoryError):
    """Metadata that the keys in force did not sign."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Published:
    """What is published at one moment, by the roles `targets` and `agent` together.

    read: a target's bytes, checked; None where it is not published.
    """

    targets: Mapping[str, TargetFile]
    read: Callable[[str], bytes | None]


@dataclass(slots=True)
class _Metadata:
    """The roles as they are in the bucket, or about to be. etag: of the timestamp; None where there is none.

    agent: None where no software of the agent was published.
    """

    targets: Targets = field(default_factory=Targets)
    agent: Targets | None = None
    snapshot: Snapshot = field(default_factory=Snapshot)
    timestamp: Timestamp = field(default_factory=Timestamp)
    etag: str | None = None

    def all_targets(self) -> Mapping[str, TargetFile]:
        """What both roles sign."""
        agents = self.agent.targets if self.agent is not None else {}
        return {**self.targets.targets, **agents}


class ReleaseRepository:
    """The publisher. Safe to share between threads; other processes may publish to the same bucket.

    Args:
        root: the newest root metadata.
        signers: the keys of the roles targets, snapshot and timestamp.
        agent: the key of the role agent; None where this publisher publishes no software of the agent.
        former: the root metadata before the newest one, in their order.
    """

    def __init__(
        self,
        store: S3ObjectStore,
        bucket: str,
        root: Metadata[Root],
        signers: Mapping[str, CryptoSigner],
        *,
        former: Sequence[Metadata[Root]] = (),
        agent: CryptoSigner | None = None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._store = store
        self._bucket = bucket
        self._keys = KeyChain((*former, root), signers, agent)
        self._now = now
        self._lock = threading.RLock()

    def use_keys(self, keys: KeyChain) -> None:
        """Take other keys over, as after a rotation, and sign what the newest root would not accept again.

        Raises:
            RepositoryError, ObjectStoreError: the bucket could not be brought to them; calling this again goes on.
        """
        with self._lock:
            self._keys = keys
            self.initialise()

    def initialise(self) -> None:
        """Put every root and, where there are none yet, empty roles. Sign again what the newest root does not accept.

        Raises:
            RepositoryError: the bucket holds the repository of other keys.
        """
        with self._lock:
            if self._store.exists(self._bucket, _TIMESTAMP):
                self._adopt()
                return
            for root in self._keys.roots:
                self._put_root(root)
            empty = _Metadata()
            for signed in (empty.targets, empty.snapshot, empty.timestamp):
                signed.version = 0
            self._commit(empty)
            _log.info("made an empty release repository in %s", self._bucket)

    def targets(self) -> Mapping[str, TargetFile]:
        """All published targets: path -> length and hashes."""
        with self._lock:
            return self._open().all_targets()

    def read_target(self, path: str) -> bytes | None:
        """A published target's bytes, checked; None where it is not published."""
        with self._lock:
            return self._published(self._open()).read(path)

    def expiries(self) -> Mapping[str, datetime]:
        """When the root and each role expire."""
        with self._lock:
            found = self._open()
            return {
                "root": self._keys.newest.signed.expires,
                "targets": found.targets.expires,
                **({AGENT: found.agent.expires} if found.agent is not None else {}),
                "snapshot": found.snapshot.expires,
                "timestamp": found.timestamp.expires,
            }

    def upload(self, target: TargetFile, data: bytes) -> None:
        """Put the bytes of a target that a later `change` names; nobody trusts them before.

        Raises:
            RepositoryError: they are other bytes than the target says.
        """
        try:
            target.verify_length_and_hashes(data)
        except TufError as e:
            raise RepositoryError(f"expected the bytes of {target.path}, but got others: {e}") from e
        self._store.put(self._bucket, _target_key(target.path, target.hashes["sha256"]), data)

    def holds(self, target: TargetFile) -> bool:
        """Whether the bytes of a target are in the bucket, by name and size."""
        try:
            found = self._store.head(self._bucket, _target_key(target.path, target.hashes["sha256"]))
        except ObjectNotFound:
            return False
        return found.size == target.length

    def publish(self, files: Iterable[tuple[str, bytes]]) -> bool:
        """Add or replace targets, all at once; False where they were all there already."""
        given = list(files)
        return self.change(lambda _: given)

    def change(self, make: Callable[[Published], Iterable[tuple[str, bytes | TargetFile]]], *, above: int = 0) -> bool:
        """Add or replace the targets that `make` returns for what is published; False where they were all there.

        Where another signer publishes at the same moment, `make` is asked again for what is published then. A target
        below `agent/` is signed by that role. A `TargetFile` in place of bytes names what was uploaded before.

        Args:
            above: every metadata file gets a higher version than this, even if no target changes.

        Raises:
            RepositoryError: the repository is damaged, or other signers were quicker every time.
        """
        with self._lock:
            uploaded: set[str] = set()
            for _ in range(_ATTEMPTS):
                found = self._open()
                changed, agents_changed = above > 0, False
                for path, data in make(self._published(found)):
                    target = data if isinstance(data, TargetFile) else TargetFile.from_data(path, data, ["sha256"])
                    if found.all_targets().get(path) == target:
                        continue
                    key = _target_key(path, target.hashes["sha256"])
                    if key not in uploaded and isinstance(data, bytes):
                        self._store.put(self._bucket, key, data)
                        uploaded.add(key)
                    self._role_of(path, found).targets[path] = target
                    changed, agents_changed = True, agents_changed or signs(path)
                if not changed:
                    return False
                for signed in (found.targets, found.snapshot, found.timestamp):
                    signed.version = max(signed.version, above)
                if found.agent is not None and above > 0:
                    found.agent.version, agents_changed = max(found.agent.version, above), True
                if self._commit(found, agent_too=agents_changed):
                    return True
                _log.info("another signer published to %s meanwhile; reading it again", self._bucket)
            raise RepositoryError(f"other signers changed {self._bucket} {_ATTEMPTS} times in a row; try again")

    def withdraw(self, choose: Callable[[Published], Iterable[str]]) -> tuple[str, ...]:
        """Take targets out of the metadata, and delete their bytes afterwards. Returns their paths.

        A process that was killed in between leaves bytes that nothing names; `choose` may name such a path again, and
        they are deleted then.

        Args:
            choose: returns the paths for what is published; it is asked again where another signer was quicker.

        Raises:
            RepositoryError: the repository is damaged, or other signers were quicker every time.
        """
        with self._lock:
            for _ in range(_ATTEMPTS):
                found = self._open()
                paths = tuple(choose(self._published(found)))
                named = [path for path in paths if self._withdrawn(path, found)]
                if not named or self._commit(found, agent_too=any(signs(path) for path in named)):
                    break
                _log.info("another signer published to %s meanwhile; reading it again", self._bucket)
            else:
                raise RepositoryError(f"other signers changed {self._bucket} {_ATTEMPTS} times in a row; try again")
            for path in paths:
                folder, _, name = path.rpartition("/")
                for info in list(self._store.list(self._bucket, f"targets/{folder}/")):
                    if info.key.rpartition("/")[2].partition(".")[2] == name:
                        self._store.delete(self._bucket, info.key)
            return paths

    def renew(self) -> bool:
        """Sign again the roles of which less than half of a lifetime is left."""
        with self._lock:
            found = self._open()
            now = self._now()
            roles = [("targets", found.targets), ("snapshot", found.snapshot), ("timestamp", found.timestamp)]
            if found.agent is not None and self._keys.agent is not None:
                roles.append((AGENT, found.agent))
            due = [role for role, signed in roles if signed.expires - now < LIFETIMES[role] * RENEW_BEFORE]
            if not due:
                return False
            renewed = self._commit(
                found,
                targets_too="targets" in due,
                snapshot_too=bool({"snapshot", "targets", AGENT} & set(due)),
                agent_too=AGENT in due,
            )
            if renewed:
                _log.info("renewed %s", " and ".join(due))
            return renewed

    def _adopt(self) -> None:
        """Put the roots that the bucket lacks. A device never meets a root that does not accept the metadata beside it,
        unless a key was revoked.
        """
        former: Metadata[Root] | None = None
        for root in self._keys.roots:
            if not self._has_root(root):
                if former is not None and self._keys.usable_under(former) and not self._fits(root):
                    self._sign_again()
                self._put_root(root)
                _log.info("published root %d to %s", root.signed.version, self._bucket)
            former = root
        if not self._fits(self._keys.newest) or self._agent_key_is_another():
            self._sign_again()

    def _agent_key_is_another(self) -> bool:
        """Whether the agent's key was replaced since the delegation was written."""
        named = delegates_to(self._open().targets)
        return named is not None and self._keys.agent is not None and named != self._keys.agent.public_key

    def _role_of(self, path: str, found: _Metadata) -> Targets:
        """The metadata that sign this path."""
        if not signs(path):
            return found.targets
        if self._keys.agent is None:
            raise RepositoryError("this signer has no key for the agent's software; run: kizu keys agent")
        if found.agent is None:
            found.agent = Targets()
            found.agent.version = 0
        return found.agent

    def _withdrawn(self, path: str, found: _Metadata) -> bool:
        role = found.agent if signs(path) else found.targets
        return role is not None and role.targets.pop(path, None) is not None

    def _fits(self, root: Metadata[Root]) -> bool:
        """Whether whoever trusts this root accepts what is in the bucket. Metadata of unknown keys are an error."""
        fits = True

        def read(role: str, metadata: Metadata[Any]) -> bool:
            nonlocal fits
            fits = fits and self._keys.fits(root, role, metadata)
            return self._keys.known(role, metadata)

        self._open(read)
        return fits

    def _sign_again(self) -> None:
        """Sign all roles with the keys in force.

        What a revoked key signed is not taken over: the newest snapshot or targets of a key in force take its place,
        and if there are none, no target stays published.
        """
        for _ in range(_ATTEMPTS):
            try:
                found = self._open()
            except _NotOfTheseKeys as e:
                _log.warning("%s; going on from what keys in force signed", e)
                found = self._salvaged()
            if self._commit(found, agent_too=found.agent is not None and self._keys.agent is not None):
                _log.info("signed all metadata in %s again, with the keys of root %d", self._bucket, self._version)
                return
        raise RepositoryError(f"other signers changed {self._bucket} {_ATTEMPTS} times in a row; try again")

    def _salvaged(self) -> _Metadata:
        data, etag = self._store.get_with_etag(self._bucket, _TIMESTAMP)
        found = _Metadata(timestamp=_parsed(data, Timestamp), etag=etag)
        numbers: dict[str, list[int]] = {"targets": [0], "snapshot": [0], AGENT: [0]}
        for info in self._store.list(self._bucket, "metadata/"):
            if match := _NUMBERED.fullmatch(info.key):
                numbers[match[2]].append(int(match[1]))
        found.targets = self._highest("targets", Targets, numbers["targets"]) or found.targets
        if newest := self._highest("snapshot", Snapshot, numbers["snapshot"]):
            version = newest.meta["targets.json"].version
            found.targets = self._highest("targets", Targets, [version]) or found.targets
        found.agent = self._highest_agent(found.targets, numbers[AGENT])
        # No number that a device may have seen comes again.
        found.targets.version, found.snapshot.version = max(numbers["targets"]), max(numbers["snapshot"])
        return found

    def _highest(self, role: str, kind: type[Role], numbers: Iterable[int]) -> Role | None:
        for number in sorted(set(numbers) - {0}, reverse=True):
            try:
                return self._read(f"metadata/{number}.{role}.json", role, kind, self._readable)
            except RepositoryError:
                continue
        return None

    def _highest_agent(self, targets: Targets, numbers: Iterable[int]) -> Targets | None:
        """The newest metadata of the agent's role that the delegation accepts, with a number that is free."""
        if (highest := max(numbers)) == 0:
            return None
        for number in sorted(set(numbers) - {0}, reverse=True):
            try:
                found = self._read_agent(number, targets)
            except RepositoryError:
                continue
            found.version = highest
            return found
        return Targets(version=highest)

    def _read_agent(self, number: int, targets: Targets) -> Targets:
        key = f"metadata/{number}.{METADATA_FILE}"
        return self._checked(self._get(key)[0], key, AGENT, Targets, lambda _, metadata: verifies(targets, metadata))

    def _readable(self, role: str, metadata: Metadata[Any]) -> bool:
        return self._keys.readable(role, metadata, self._now())

    @property
    def _version(self) -> int:
        return self._keys.newest.signed.version

    def _has_root(self, root: Metadata[Root]) -> bool:
        key = f"metadata/{root.signed.version}.root.json"
        try:
            found = self._store.get(self._bucket, key)
        except ObjectNotFound:
            return False
        if found != root.to_bytes():
            raise RepositoryError(
                f"{self._bucket}/{key} is not the root of these keys: the bucket holds the repository of other keys; "
                "use their folder, or an empty bucket"
            )
        return True

    def _put_root(self, root: Metadata[Root]) -> None:
        self._put(f"metadata/{root.signed.version}.root.json", root.to_bytes())

    def _published(self, found: _Metadata) -> Published:
        def read(path: str) -> bytes | None:
            target = found.all_targets().get(path)
            if target is None:
                return None
            data = self._store.get(self._bucket, _target_key(path, target.hashes["sha256"]))
            try:
                target.verify_length_and_hashes(data)
            except TufError as e:
                raise RepositoryError(f"the published {path} has other bytes than were signed: {e}") from e
            return data

        return Published(found.all_targets(), read)

    def _open(self, accept: Callable[[str, Metadata[Any]], bool] | None = None) -> _Metadata:
        accept = accept or self._readable
        data, etag = self._get(_TIMESTAMP)
        timestamp = self._checked(data, _TIMESTAMP, "timestamp", Timestamp, accept)
        key = f"metadata/{timestamp.snapshot_meta.version}.snapshot.json"
        snapshot = self._read(key, "snapshot", Snapshot, accept)
        key = f"metadata/{snapshot.meta['targets.json'].version}.targets.json"
        targets = self._read(key, "targets", Targets, accept)
        meta = snapshot.meta.get(METADATA_FILE)
        agent = self._read_agent(meta.version, targets) if meta is not None else None
        return _Metadata(targets, agent, snapshot, timestamp, etag)

    def _get(self, key: str) -> tuple[bytes, str]:
        try:
            return self._store.get_with_etag(self._bucket, key)
        except ObjectNotFound as e:
            raise RepositoryError(f"{self._bucket}/{key} is missing; the release repository is damaged") from e

    def _read(self, key: str, role: str, kind: type[Role], accept: Callable[[str, Metadata[Any]], bool]) -> Role:
        return self._checked(self._get(key)[0], key, role, kind, accept)

    def _checked(
        self, data: bytes, key: str, role: str, kind: type[Role], accept: Callable[[str, Metadata[Any]], bool]
    ) -> Role:
        try:
            metadata: Metadata[Any] = Metadata.from_bytes(data)
        except TufError as e:
            raise RepositoryError(f"{self._bucket}/{key} is not signed {role} metadata of these keys: {e}") from e
        if not accept(role, metadata):
            raise _NotOfTheseKeys(
                f"{self._bucket}/{key} is not signed {role} metadata of these keys: root {self._version} does not "
                "list the key"
            )
        if not isinstance(metadata.signed, kind):
            raise RepositoryError(f"{self._bucket}/{key} is {metadata.signed.type} metadata, expected {role}")
        return metadata.signed

    def _commit(
        self, found: _Metadata, *, targets_too: bool = True, snapshot_too: bool = True, agent_too: bool = False
    ) -> bool:
        """Sign and write; False where another signer replaced the timestamp meanwhile, so that nothing is visible."""
        if agent_too and found.agent is not None and self._keys.agent is not None:
            targets_too = delegate(found.targets, self._keys.agent) or targets_too
            found.snapshot.meta[METADATA_FILE] = self._put_next(AGENT, found.agent)
        if targets_too:
            found.snapshot.meta["targets.json"] = self._put_next("targets", found.targets)
        if snapshot_too:
            found.timestamp.snapshot_meta = self._put_next("snapshot", found.snapshot)
        found.timestamp.version += 1
        data = self._sign("timestamp", found.timestamp)
        place = FencedObject(self._store, self._bucket, _TIMESTAMP)
        if found.etag is None:
            return place.make(data)[0] == data
        return place.replace(data, found.etag) is not None

    def _put_next(self, role: str, signed: Targets | Snapshot) -> MetaFile:
        """Write under the next number that is free: a published number never gets other bytes."""
        while True:
            signed.version += 1
            data = self._sign(role, signed)
            key = f"metadata/{signed.version}.{role}.json"
            if self._put(key, data, if_absent=True) or self._store.get(self._bucket, key) == data:
                return MetaFile(signed.version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})

    def _sign(self, role: str, signed: Targets | Snapshot | Timestamp) -> bytes:
        signed.expires = self._now().replace(microsecond=0) + LIFETIMES[role]
        metadata: Metadata[Any] = Metadata(signed)
        key = self._keys.agent if role == AGENT else self._keys.signers[role]
        assert key is not None
        metadata.sign(key)
        return metadata.to_bytes()

    def _put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        return self._store.put(self._bucket, key, data, if_absent=if_absent, content_type="application/json")


def _parsed(data: bytes, kind: type[Role]) -> Role:
    """Metadata whose signature counts no more, for its version alone."""
    signed = Metadata[Any].from_bytes(data).signed
    assert isinstance(signed, kind)
    return signed


def _target_key(path: str, sha256: str) -> str:
    # Consistent snapshots (TUF specification, section 6.2): the file name carries the hash.
    folder, _, name = path.rpartition("/")
    return f"targets/{folder}/{sha256}.{name}" if folder else f"targets/{sha256}.{name}"
