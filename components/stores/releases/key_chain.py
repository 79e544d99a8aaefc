"""The keys of a release repository: every root metadata from the first on, and the keys that the newest root lists.

A root that replaces a key in two steps (first both keys, then the new one alone) retires the old key. A root that
replaces it in one step revokes the old key: nothing that the old key signed counts any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError as TufError
from tuf.api.metadata import Metadata, Root

ROOT_LIFETIME: Final = timedelta(days=3650)
READ_RETIRED: Final = timedelta(days=30)
"""How long a signer may still read metadata of a retired key, to sign them again with the new one."""


class KeyChainError(ValueError):
    """Roots that do not follow each other, or a signing key that the newest root does not list."""


@dataclass(frozen=True, slots=True)
class KeyChain:
    """roots: in the order of their versions, each signed by the one before it. signers: by role, without the root.

    agent: the key of the role that signs the agent's software; no root lists it. None where there is none.
    """

    roots: tuple[Metadata[Root], ...]
    signers: Mapping[str, CryptoSigner]
    agent: CryptoSigner | None = None

    def __post_init__(self) -> None:
        if not self.roots:
            raise KeyChainError("expected at least one root metadata, but got none")
        for older, newer in pairwise(self.roots):
            if newer.signed.version != older.signed.version + 1:
                raise KeyChainError(
                    f"expected root {older.signed.version + 1} after root {older.signed.version}, "
                    f"but got root {newer.signed.version}"
                )
            if not _verifies(older.signed, Root.type, newer) or not _verifies(newer.signed, Root.type, newer):
                raise KeyChainError(
                    f"root {newer.signed.version} is not signed by root {older.signed.version} and by itself"
                )
        for role, signer in self.signers.items():
            if not lists(self.newest.signed, role, signer):
                raise KeyChainError(
                    f"the {role} key is not the one that root {self.newest.signed.version} lists; "
                    "use the folder that the keys were last rotated in"
                )

    @property
    def newest(self) -> Metadata[Root]:
        """The root that is in force."""
        return self.roots[-1]

    def readable(self, role: str, metadata: Metadata[Any], now: datetime) -> bool:
        """Whether metadata of a role may be read and signed on: the newest root, or a retired key not long ago."""
        roots = [self.newest.signed]
        for newer, older in pairwise(root.signed for root in reversed(self.roots)):
            kept, before = set(newer.roles[role].keyids), set(older.roles[role].keyids)
            retired_at = newer.expires - ROOT_LIFETIME
            if not kept & before or (before - kept and now - retired_at > READ_RETIRED):
                break
            roots.append(older)
        return any(_verifies(root, role, metadata) for root in roots)

    def known(self, role: str, metadata: Metadata[Any]) -> bool:
        """Whether any root, also one that is not in force, lists the key that signed the metadata."""
        return any(_verifies(root.signed, role, metadata) for root in self.roots)

    def fits(self, root: Metadata[Root], role: str, metadata: Metadata[Any]) -> bool:
        """Whether whoever trusts this root accepts the metadata of the role."""
        return _verifies(root.signed, role, metadata)

    def usable_under(self, root: Metadata[Root]) -> bool:
        """Whether this root lists all signing keys."""
        return all(lists(root.signed, role, signer) for role, signer in self.signers.items())


def lists(root: Root, role: str, signer: CryptoSigner) -> bool:
    """Whether a root lists a key for a role."""
    return signer.public_key.keyid in root.roles[role].keyids


def _verifies(root: Root, role: str, metadata: Metadata[Any]) -> bool:
    try:
        root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except TufError:
        return False
    return True
