"""TUF keys: a root key that stays with the operator, and four that the signer holds.

The signer's folder holds `targets.pem`, `snapshot.pem`, `timestamp.pem`, every root metadata as `<version>.root.json`,
and the one in force as `root.json`. `agent.pem` signs the agent's software; no root lists it, the targets metadata do.
The root's folder holds `root.pem` and copies of the root metadata. A key that `rotation.py` has made but not yet put in
place is called `<role>.next.pem`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from components.stores.objects.whole_file import PRIVATE, sync_folder, write_whole
from components.stores.releases.key_chain import ROOT_LIFETIME, KeyChain, KeyChainError, lists

ONLINE_ROLES: Final = ("targets", "snapshot", "timestamp")
ROOT_FILE: Final = "root.json"
UNFINISHED: Final = "unfinished"
AGENT_KEY_FILE: Final = "agent.pem"


class KeysError(RuntimeError):
    """Keys that are missing, unreadable, or already there."""


def init(root_folder: Path, signer_folder: Path, *, now: datetime | None = None) -> Path:
    """Make all keys: the root key in one folder, the signer's four keys and the signed root metadata in another.

    Of two calls at once the second waits for the first.

    Returns:
        The path of `root.json`, which devices pin at enrolment. It is written last. If it exists, all keys exist.

    Raises:
        KeysError: a folder holds keys already; they are never overwritten.
    """
    with locked(root_folder, signer_folder):
        return _init(root_folder, signer_folder, now or datetime.now(UTC))


def init_once(root_folder: Path, signer_folder: Path) -> Path:
    """As `init`, where the signer has no keys yet; else the path of the `root.json` that is there.

    Raises:
        KeysError: a folder holds keys, but no `root.json` belongs to them.
    """
    with locked(root_folder, signer_folder):
        path = signer_folder / ROOT_FILE
        if not path.exists():
            return _init(root_folder, signer_folder, datetime.now(UTC))
        if not (signer_folder / AGENT_KEY_FILE).exists():
            _write_agent_key(signer_folder)  # the folder is of before there was one
        return path


def _init(root_folder: Path, signer_folder: Path, now: datetime) -> Path:
    # A call that was killed halfway left its mark, and keys that nobody trusts yet: only those are made anew.
    mark = root_folder / UNFINISHED
    resumed = mark.exists() and mark.read_text(encoding="utf-8") == str(signer_folder.resolve())
    key_files = (root_folder / "root.pem", *(signer_folder / f"{role}.pem" for role in ONLINE_ROLES))
    for path in (signer_folder / ROOT_FILE, *key_files):
        if path.exists() and not (resumed and path.name != ROOT_FILE):
            raise KeysError(f"{path} is there already; keys are never overwritten. Choose another folder")
    write_whole(mark, str(signer_folder.resolve()).encode(), PRIVATE)
    root_key = CryptoSigner.generate_ed25519()
    root = Root(expires=now.replace(microsecond=0) + ROOT_LIFETIME, consistent_snapshot=True)
    root.add_key(root_key.public_key, Root.type)
    write_whole(root_folder / "root.pem", root_key.private_bytes, PRIVATE)
    for role in ONLINE_ROLES:
        key = CryptoSigner.generate_ed25519()
        root.add_key(key.public_key, role)
        write_whole(signer_folder / f"{role}.pem", key.private_bytes, PRIVATE)
    _write_agent_key(signer_folder)
    metadata = Metadata(root)
    metadata.sign(root_key)
    for path in (root_folder / version_file(1), signer_folder / version_file(1), signer_folder / ROOT_FILE):
        write_public(path, metadata.to_bytes())
    mark.unlink()
    return path


@contextmanager
def locked(*folders: Path) -> Iterator[None]:
    """Hold folders of keys alone, between processes and threads; they are made, mode 0700, where they are missing."""
    with ExitStack() as stack:
        for folder in sorted({folder.resolve() for folder in folders}):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def version_file(version: int) -> str:
    """The name of a root metadata file, in a folder of keys and in the repository."""
    return f"{version}.root.json"


def write_public(path: Path, data: bytes) -> None:
    """Write a root metadata file, which everybody may read."""
    write_whole(path, data, PRIVATE)
    path.chmod(0o644)
    sync_folder(path.parent)


def next_file(path: Path) -> Path:
    """Where a key waits to replace the one at `path`."""
    return path.with_name(f"{path.stem}.next{path.suffix}")


def load_chain(folder: Path) -> KeyChain:
    """All root metadata of the signer's folder and the signer's keys.

    Raises:
        KeysError: something is missing, damaged, readable by others, or does not belong together.
    """
    root, signers = load_root(folder), load_signers(folder)
    try:
        return KeyChain((*load_former(folder), root), signers, load_agent_key(folder))
    except KeyChainError as e:
        raise KeysError(f"{folder}: {e}") from e


def load_signers(folder: Path) -> dict[str, CryptoSigner]:
    """The signer's keys by role. Where a rotation was interrupted, the one of two that root.json lists.

    Raises:
        KeysError: a key is missing or readable by others.
    """
    return {role: load_key(folder / f"{role}.pem", role, lambda: load_root(folder).signed) for role in ONLINE_ROLES}


def load_agent_key(folder: Path) -> CryptoSigner | None:
    """The key of the agent's software; None in a folder of before there was one.

    Raises:
        KeysError: it is damaged or readable by others.
    """
    path = folder / AGENT_KEY_FILE
    return read_key(path) if path.exists() else None


def make_agent_key(folder: Path, *, replace: bool = False) -> bool:
    """Make the key of the agent's software beside the signer's other keys; False where there is one and it stays.

    The signer then names the new key in the targets metadata, and signs again what the former key signed.

    Raises:
        KeysError: the folder holds no keys of a signer.
    """
    with locked(folder):
        load_root(folder)
        if (folder / AGENT_KEY_FILE).exists() and not replace:
            return False
        _write_agent_key(folder)
        return True


def _write_agent_key(folder: Path) -> None:
    write_whole(folder / AGENT_KEY_FILE, CryptoSigner.generate_ed25519().private_bytes, PRIVATE)
    sync_folder(folder)


def load_key(path: Path, role: str, root: Callable[[], Root]) -> CryptoSigner:
    """The key of a role in force: the one at `path`, or the one that waits beside it where the root lists that.

    root: the root in force; asked only where a key waits.

    Raises:
        KeysError: a key is missing, damaged or readable by others.
    """
    waiting = next_file(path)
    if waiting.exists():
        key = read_key(waiting)
        if lists(root(), role, key):
            return key
    return read_key(path)


def read_key(path: Path) -> CryptoSigner:
    """One private key.

    Raises:
        KeysError: it is missing, damaged or readable by others.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    who = f"the {'root' if path.stem.startswith('root') else 'signer'}'s key {path}"
    try:
        data = path.read_bytes()
        mode = path.stat().st_mode & 0o007
    except OSError as e:
        raise KeysError(f"cannot read {who}: {e.strerror}; make keys with: kizu keys init") from e
    if mode:
        raise KeysError(f"{who} is open to everybody; run: chmod o-rwx {path}")
    try:
        return CryptoSigner(load_pem_private_key(data, password=None))
    except (ValueError, TypeError) as e:  # TypeError: a password protects it
        raise KeysError(f"{who} is damaged or not an unencrypted PEM: {e}") from e


def load_root(folder: Path) -> Metadata[Root]:
    """The root metadata in force, beside the signer's keys."""
    return read_root(folder / ROOT_FILE)


def load_former(folder: Path) -> tuple[Metadata[Root], ...]:
    """The root metadata before the one in force, in their order, as far back as the folder has them."""
    found: list[Metadata[Root]] = []
    version = load_root(folder).signed.version - 1
    while (path := folder / version_file(version)).exists():
        found.insert(0, read_root(path))
        version -= 1
    return tuple(found)


def read_root(path: Path) -> Metadata[Root]:
    """One root metadata file.

    Raises:
        KeysError: it is missing or damaged.
    """
    try:
        return Metadata[Root].from_file(str(path))
    except Exception as e:  # tuf wraps a missing and a damaged file in errors of several libraries
        raise KeysError(f"cannot read {path}: {e}; make keys with: kizu keys init") from e
