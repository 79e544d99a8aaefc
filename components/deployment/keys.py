"""TUF keys: a root key that the operator keeps, and three keys that the signer holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from components.stores.objects.whole_file import PRIVATE, write_whole

ONLINE_ROLES: Final = ("targets", "snapshot", "timestamp")
ROOT_FILE: Final = "root.json"
UNFINISHED: Final = "unfinished"
ROOT_LIFETIME: Final = timedelta(days=3650)


class KeysError(RuntimeError):
    """Keys that are missing, unreadable, or already there."""


def init(root_folder: Path, signer_folder: Path, *, now: datetime | None = None) -> Path:
    """Make all keys: the root key in one folder, the signer's three keys and the signed root metadata in another.

    Returns:
        The path of `root.json`, which devices pin at enrolment. It is written last. If it exists, all keys exist.

    Raises:
        KeysError: a folder holds keys already; they are never overwritten.
    """
    # If an earlier call was killed, its mark is still there. Nobody trusts its keys yet, so they are made again.
    mark = root_folder / UNFINISHED
    resumed = mark.exists() and mark.read_text(encoding="utf-8") == str(signer_folder.resolve())
    key_files = (root_folder / "root.pem", *(signer_folder / f"{role}.pem" for role in ONLINE_ROLES))
    for path in (signer_folder / ROOT_FILE, *key_files):
        if path.exists() and not (resumed and path.name != ROOT_FILE):
            raise KeysError(f"{path} is there already; keys are never overwritten. Choose another folder")
    root_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    signer_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(mark, str(signer_folder.resolve()).encode(), PRIVATE)
    root_key = CryptoSigner.generate_ed25519()
    root = Root(expires=(now or datetime.now(UTC)).replace(microsecond=0) + ROOT_LIFETIME, consistent_snapshot=True)
    root.add_key(root_key.public_key, Root.type)
    write_whole(root_folder / "root.pem", root_key.private_bytes, PRIVATE)
    for role in ONLINE_ROLES:
        key = CryptoSigner.generate_ed25519()
        root.add_key(key.public_key, role)
        write_whole(signer_folder / f"{role}.pem", key.private_bytes, PRIVATE)
    metadata = Metadata(root)
    metadata.sign(root_key)
    path = signer_folder / ROOT_FILE
    write_whole(path, metadata.to_bytes(), PRIVATE)
    path.chmod(0o644)
    mark.unlink()
    return path


def load_signers(folder: Path) -> dict[str, CryptoSigner]:
    """Read the signer's keys. Returns role -> key.

    Raises:
        KeysError: a key is missing or readable by others.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    signers: dict[str, CryptoSigner] = {}
    for role in ONLINE_ROLES:
        path = folder / f"{role}.pem"
        try:
            data = path.read_bytes()
            mode = path.stat().st_mode & 0o007
        except OSError as e:
            raise KeysError(f"cannot read the signer's key {path}: {e.strerror}; make keys with: kizu keys init") from e
        if mode:
            raise KeysError(f"the signer's key {path} is open to everybody; run: chmod o-rwx {path}")
        try:
            signers[role] = CryptoSigner(load_pem_private_key(data, password=None))
        except (ValueError, TypeError) as e:  # TypeError: the key is protected by a password
            raise KeysError(f"the signer's key {path} is damaged or not an unencrypted PEM: {e}") from e
    return signers


def load_root(folder: Path) -> Metadata[Root]:
    """Return the signed root metadata from the folder of the signer's keys."""
    path = folder / ROOT_FILE
    try:
        return Metadata[Root].from_file(str(path))
    except Exception as e:  # tuf wraps a missing and a damaged file in errors of several libraries
        raise KeysError(f"cannot read {path}: {e}; make keys with: kizu keys init") from e
