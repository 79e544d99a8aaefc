"""What enrolment asks of whoever keeps identities, and what passes between them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final, Protocol

from inspection.paths import check_name

IMPORT_PREFIX: Final = "import-"
USER_PREFIX: Final = "device-"


class EnrolmentError(RuntimeError):
    """A device that could not be enrolled or revoked.

    EnrolmentError
    ├── AlreadyEnrolled: it has an identity; a second one is made only on purpose
    ├── KeyNeeded: a person has to make the identity first
    └── ByHand: a person has to remove the identity
    """


class AlreadyEnrolled(EnrolmentError):
    """The device has an identity."""


class KeyNeeded(EnrolmentError):
    """The store's administrator makes the identity; its key is not here yet."""


class ByHand(EnrolmentError):
    """The store's administrator removes the identity; it is valid until then."""


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """Which device, and which buckets: `<bucket_prefix>raw` and so on. A device's name is its own on all sites."""

    name: str
    site: str
    bucket_prefix: str = "kizu-"

    def __post_init__(self) -> None:
        check_name("device", self.name)
        check_name("site", self.site)
        if self.name.startswith(IMPORT_PREFIX):
            raise ValueError(
                f"expected a device that is not named {IMPORT_PREFIX}…, but got {self.name!r}: imports are"
            )

    @property
    def user(self) -> str:
        """Its name in the store's list of identities."""
        return f"{USER_PREFIX}{self.name}"


@dataclass(frozen=True, slots=True)
class Key:
    """An S3 key pair; `repr` hides the secret."""

    access_key: str
    secret_key: str = field(repr=False)

    def to_json(self) -> bytes:
        """As the device's own file holds it."""
        return json.dumps({"access_key": self.access_key, "secret_key": self.secret_key}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Key:
        """Read that file, or what `aws iam create-access-key` prints.

        Raises:
            ValueError: another form. The message does not show it: it may be secret.
        """
        try:
            value = json.loads(data)
            if "AccessKey" in value:
                value = value["AccessKey"]
                access, secret = value["AccessKeyId"], value["SecretAccessKey"]
            else:
                access, secret = value["access_key"], value["secret_key"]
        except (ValueError, KeyError, TypeError):
            access = secret = None
        if not (isinstance(access, str) and isinstance(secret, str) and access and secret):
            raise ValueError('expected {"access_key": …, "secret_key": …}, but got another form')
        return cls(access, secret)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A device with an identity. site: None where its rights do not say. access_keys: the public halves."""

    name: str
    site: str | None
    access_keys: tuple[str, ...]


class IdentityProvider(Protocol):
    """Who keeps the identities of a store."""

    def create(self, device: DeviceIdentity, *, replace: bool = False) -> Key:
        """Make an identity that may do this device's part and nothing else. replace: whatever it had before is void.

        Raises:
            AlreadyEnrolled: it has one, and `replace` is not asked for.
            EnrolmentError: it could not be made.
        """

    def revoke(self, name: str) -> bool:
        """Make every key of a device void. False: it had none.

        Raises:
            EnrolmentError: it may still be valid.
        """

    def devices(self) -> tuple[Enrolled, ...]:
        """All devices with an identity, by name."""
