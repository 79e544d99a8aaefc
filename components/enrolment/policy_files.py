"""Enrolment for stores that Kizu cannot manage.

The administrator makes the identity from a policy file, and passes its key back in a private file.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Final

from components.enrolment.policy import policy_document, site_of
from components.enrolment.port import (
    USER_PREFIX,
    ByHand,
    DeviceIdentity,
    Enrolled,
    EnrolmentError,
    Key,
    KeyNeeded,
)
from inspection.paths import check_name

SUFFIX: Final = ".policy.json"


class PolicyFiles:
    """An identity provider that writes policy files.

    folder: holds one policy per device; a policy is not secret. key: the device's key; None until the administrator
    made it.
    """

    def __init__(self, folder: Path, key: Key | None = None) -> None:
        self._folder = folder
        self._key = key

    def create(self, device: DeviceIdentity, *, replace: bool = False) -> Key:
        """Write the policy, and return the key that the administrator made from it.

        Only the store knows of earlier keys, so this method never raises AlreadyEnrolled.

        Raises:
            KeyNeeded: the key is not made yet. The message says what to do.
        """
        file = self._file(device.name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(policy_document(device), indent=2) + "\n", encoding="utf-8")
        if self._key is None:
            old = " and remove its old key" if replace else ""
            raise KeyNeeded(
                f"the rights of {device.name} are in {file}: make the identity {device.user} from it in your store"
                f"{old}, save its key to a private file, and run this again with --key-file"
            )
        return self._key

    def revoke(self, name: str) -> bool:
        """Return False where the device has no policy file. Otherwise ask the administrator to remove the identity.

        This provider cannot reach the store, so it never reports that it revoked a device.

        Raises:
            ByHand: the device has a policy file, and the administrator has to remove its identity.
        """
        file = self._file(name)
        if not file.exists():
            return False
        raise ByHand(
            f"{name} is not out yet: remove the identity {USER_PREFIX}{name} and its keys in your store, "
            f"then delete {file} and run this again"
        )

    def devices(self) -> tuple[Enrolled, ...]:
        """Return the devices that a policy was written for, by name, without their keys."""
        found = []
        for file in sorted(self._folder.glob(f"{USER_PREFIX}*{SUFFIX}")):
            name = file.name.removeprefix(USER_PREFIX).removesuffix(SUFFIX)
            found.append(Enrolled(name, site_of(json.loads(file.read_bytes()), name), ()))
        return tuple(found)

    def _file(self, name: str) -> Path:
        return self._folder / f"{USER_PREFIX}{check_name('device', name)}{SUFFIX}"


def read_key_file(path: Path) -> Key:
    """Read a key that the administrator made, in our form or in the form that `aws iam create-access-key` prints.

    Raises:
        EnrolmentError: the file is missing or cannot be read, other accounts may access it, or it has another form.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise EnrolmentError(f"expected {path} to have mode 0600, but got {mode:04o}; run: chmod 600 {path}")
        return Key.from_json(path.read_bytes())
    except OSError as e:
        raise EnrolmentError(f"cannot read the key in {path}: {e.strerror}") from e
    except ValueError as e:
        raise EnrolmentError(f"{path}: {e}") from None  # the cause would show the text of the file
