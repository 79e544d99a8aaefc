"""Replace keys: the roots that say so, signed by the root key, and the new keys in place of the old ones.

A rotation takes two roots: the first lists the old key and the new one, the second the new one alone. The signer signs
everything again between publishing the two, so that no device ever meets metadata that its root does not accept. A
revocation takes one root: what the old key signed counts no more from then on.

The order of the writes survives a kill at any moment. New keys wait as `<role>.next.pem`; the roots are written; then
`root.json` names the newest one, and from then on the waiting keys are those in force; last they take the place of the
old ones. Running the same command again completes what was interrupted.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from components.deployment.keys import (
    ONLINE_ROLES,
    ROOT_FILE,
    KeysError,
    load_former,
    load_key,
    load_root,
    locked,
    next_file,
    read_key,
    read_root,
    version_file,
    write_public,
)
from components.stores.objects.whole_file import PRIVATE, sync_folder, write_whole
from components.stores.releases.key_chain import ROOT_LIFETIME, KeyChain, KeyChainError, lists

ROLES: Final = (*ONLINE_ROLES, Root.type)


@dataclass(frozen=True, slots=True)
class Replaced:
    """The root in force after keys were replaced. resumed: an interrupted replacement was completed, none was begun."""

    version: int
    expires: datetime
    resumed: bool


def replace_keys(
    roles: Iterable[str], root_folder: Path, signer_folder: Path, *, revoke: bool, now: datetime
) -> Replaced:
    """Replace the keys of some roles by new ones. Each new root is valid for ten years.

    Args:
        roles: of `ROLES`.
        root_folder: holds the root key.
        signer_folder: holds the signer's keys. With `revoke` it may be empty, as after a loss, if all of the signer's
            roles are named: the root's folder knows the roots.
        revoke: the old keys count no more, at once; else they are retired in two steps.

    Raises:
        KeysError: the keys are missing or damaged, or the two folders do not belong together.
    """
    wanted = tuple(role for role in ROLES if role in set(roles))
    unknown = sorted(set(roles) - set(ROLES))
    if unknown or not wanted:
        raise KeysError(f"expected roles among {', '.join(ROLES)}, but got {', '.join(unknown) or 'none'}")
    with locked(root_folder, signer_folder):
        chain = _chain(root_folder, signer_folder, lost=revoke and set(ONLINE_ROLES) <= set(wanted))
        paths = {role: (root_folder if role == Root.type else signer_folder) / f"{role}.pem" for role in ROLES}
        newest = chain[-1]
        if set(_put_in_place(paths, newest.signed)) & set(wanted):
            _copy(chain, root_folder, signer_folder)
            return Replaced(newest.signed.version, newest.signed.expires, resumed=True)
        old_root_key = load_key(paths[Root.type], Root.type, lambda: newest.signed)
        if not lists(newest.signed, Root.type, old_root_key):
            raise KeysError(
                f"{paths[Root.type]} is not the key that root {newest.signed.version} lists; use the folder that the "
                "root key was last rotated in"
            )
        new = {role: _waiting_key(paths[role]) for role in wanted}
        root_keys = [old_root_key, *([new[Root.type]] if Root.type in new else [])]
        roots = _next_roots(newest.signed, new, root_keys, revoke=revoke, now=now)
        _check((*chain, *roots))
        for root in roots:
            write_public(signer_folder / version_file(root.signed.version), root.to_bytes())
        # From here on the new keys are in force.
        write_public(signer_folder / ROOT_FILE, roots[-1].to_bytes())
        _copy((*chain, *roots), root_folder, signer_folder)
        _put_in_place(paths, roots[-1].signed)
        return Replaced(roots[-1].signed.version, roots[-1].signed.expires, resumed=False)


def _next_roots(
    newest: Root, new: Mapping[str, CryptoSigner], root_keys: Sequence[CryptoSigner], *, revoke: bool, now: datetime
) -> tuple[Metadata[Root], ...]:
    first = _successor(newest, now)
    online = [role for role in new if role != Root.type]
    if Root.type in new:
        _list_only(first, Root.type, new[Root.type])
    for role in online:
        if revoke:
            _list_only(first, role, new[role])
        else:
            first.add_key(new[role].public_key, role)
    roots = [first]
    if online and not revoke:
        second = _successor(first, now)
        for role in online:
            _list_only(second, role, new[role])
        roots.append(second)
    signed = []
    for root in roots:
        metadata = Metadata(root)
        for key in root_keys:
            metadata.sign(key, append=True)
        signed.append(metadata)
    return tuple(signed)


def _successor(root: Root, now: datetime) -> Root:
    following = copy.deepcopy(root)
    following.version += 1
    following.expires = now.replace(microsecond=0) + ROOT_LIFETIME
    return following


def _list_only(root: Root, role: str, key: CryptoSigner) -> None:
    for keyid in list(root.roles[role].keyids):
        if keyid != key.public_key.keyid:
            root.revoke_key(keyid, role)
    root.add_key(key.public_key, role)


def _waiting_key(path: Path) -> CryptoSigner:
    """The key that waits, made where there is none: an interrupted call left it, and no root lists it yet."""
    waiting = next_file(path)
    if waiting.exists():
        return read_key(waiting)
    key = CryptoSigner.generate_ed25519()
    write_whole(waiting, key.private_bytes, PRIVATE)
    sync_folder(path.parent)
    return key


def _put_in_place(paths: Mapping[str, Path], root: Root) -> list[str]:
    """Move the waiting keys that the root lists in the place of the old ones; returns their roles."""
    moved = []
    for role, path in paths.items():
        waiting = next_file(path)
        if waiting.exists() and lists(root, role, read_key(waiting)):
            waiting.replace(path)
            sync_folder(path.parent)
            moved.append(role)
    return moved


def _chain(root_folder: Path, signer_folder: Path, *, lost: bool) -> tuple[Metadata[Root], ...]:
    """The roots in force, from both folders."""
    copies = _copies(root_folder)
    if not (signer_folder / ROOT_FILE).exists() and lost:
        if not copies:
            raise KeysError(f"neither {signer_folder} nor {root_folder} holds a root; make keys with: kizu keys init")
        return _check(copies)
    chain = (*load_former(signer_folder), load_root(signer_folder))
    if missing := [root for root in copies if root.signed.version < chain[0].signed.version]:
        chain = (*missing, *chain)
    version = chain[-1].signed.version
    if copies and copies[-1].signed.version > version:
        raise KeysError(
            f"{root_folder} knows root {copies[-1].signed.version}, but {signer_folder} holds root {version}: it is an "
            "older copy. Use the folder of the last rotation; if it is lost, move this one away and run: kizu keys "
            f"revoke {' '.join(ONLINE_ROLES)}"
        )
    for root in copies:
        if not any(other.to_bytes() == root.to_bytes() for other in chain):
            raise KeysError(f"{root_folder} and {signer_folder} hold different roots {root.signed.version}: "
                            "they do not belong together")  # fmt: skip
    return _check(chain)


def _check(roots: tuple[Metadata[Root], ...]) -> tuple[Metadata[Root], ...]:
    try:
        KeyChain(roots, {})
    except KeyChainError as e:
        raise KeysError(str(e)) from e
    return roots


def _copies(root_folder: Path) -> tuple[Metadata[Root], ...]:
    found = [read_root(path) for path in root_folder.glob("*.root.json")]
    return tuple(sorted(found, key=lambda root: root.signed.version))


def _copy(chain: Sequence[Metadata[Root]], *folders: Path) -> None:
    """Have every root in both folders: devices that pinned an early one need all that follow."""
    for folder in folders:
        for root in chain:
            path = folder / version_file(root.signed.version)
            if not path.exists() or path.read_bytes() != root.to_bytes():
                write_public(path, root.to_bytes())
