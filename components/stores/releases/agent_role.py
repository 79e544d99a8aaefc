"""The role `agent`: the targets role delegates `agent/<sha256>/<name>` to a key of its own, and to nobody else.

The delegation stands in the targets metadata. So the agent's key is replaced without the root key, and whoever holds
the targets key could replace it too.
"""

from __future__ import annotations

from typing import Final

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Key, Metadata, Targets

from inspection.agent_release import FOLDER

AGENT: Final = "agent"
METADATA_FILE: Final = f"{AGENT}.json"
PATHS: Final = (f"{FOLDER}/*/*",)


def signs(path: str) -> bool:
    """Whether the role signs this target, and the targets role does not."""
    return path.startswith(f"{FOLDER}/")


def delegates_to(targets: Targets) -> Key | None:
    """The key that the targets metadata name for the role; None where they name none."""
    delegations = targets.delegations
    role = (delegations.roles or {}).get(AGENT) if delegations is not None else None
    if delegations is None or role is None:
        return None
    return next((delegations.keys[keyid] for keyid in role.keyids if keyid in delegations.keys), None)


def delegate(targets: Targets, signer: CryptoSigner) -> bool:
    """Have the targets metadata name this key alone; False where they do."""
    if delegates_to(targets) == signer.public_key:
        return False
    role = DelegatedRole(AGENT, [signer.public_key.keyid], threshold=1, terminating=True, paths=list(PATHS))
    targets.delegations = Delegations({signer.public_key.keyid: signer.public_key}, {AGENT: role})
    return True


def verifies(targets: Targets, metadata: Metadata[Targets]) -> bool:
    """Whether the key that the targets metadata name signed the metadata of the role."""
    key = delegates_to(targets)
    if key is None:
        return False
    from tuf.api.exceptions import RepositoryError

    try:
        targets.verify_delegate(AGENT, metadata.signed_bytes, metadata.signatures)
    except RepositoryError:
        return False
    return True
