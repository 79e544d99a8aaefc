"""The interface between enrolment and the provider that keeps identities, and the values that pass through it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final, Protocol

from inspection.paths import check_name

IMPORT_PREFIX: Final = "import-"
USER_PREFIX: Final = "device-"


class EnrolmentError(RuntimeError):
    """A device could not be enrolled or revoked.

    EnrolmentError
    ├── AlreadyEnrolled: the device has an identity; it is replaced only on request
    ├── KeyNeeded: a person has to make the identity first
    └── ByHand: a person has to remove the identity
    """


class AlreadyEnrolled(EnrolmentError):
    """The device has an identity already."""


class KeyNeeded(EnrolmentError):
    """The store's administrator has to make the identity; its key is not here yet."""


class ByHand(EnrolmentError):
    """The store's administrator has to remove the identity; it is valid until then."""


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """A device and its buckets (`<bucket_prefix>raw` and so on). The name of a device is unique across all sites."""

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
        """The name of the device in the store's list of identities."""
        return f"{USER_PREFIX}{self.name}"


@dataclass(frozen=True, slots=True)
class Key:
    """An S3 key pair. Its `repr` hides the secret."""

    access_key: str
    secret_key: str = field(repr=False)

    def to_json(self) -> bytes:
        """Return the key as JSON, in the form of the device's credentials file."""
        return json.dumps({"access_key": self.access_key, "secret_key": self.secret_key}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Key:
        """Read a key from the form of `to_json`, or from the form that `aws iam create-access-key` prints.

        Raises:
            ValueError: the data have another form. The message does not show them, because they may be secret.
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
    """A device with an identity. site: None where its rights name none. access_keys: the public halves of its keys."""

    name: str
    site: str | None
    access_keys: tuple[str, ...]


class IdentityProvider(Protocol):
    """Keeps the identities of a store."""

    def create(self, device: DeviceIdentity, *, replace: bool = False) -> Key:
        """Create an identity with the rights of this device and no others, and return its key.

        replace: every key that the device had before becomes void.

        Raises:
            AlreadyEnrolled: the device has an identity, and `replace` is False.
            EnrolmentError: the identity could not be created.
        """

    def revoke(self, name: str) -> bool:
        """Void every key of a device. Return False where the device had no identity, else True.

        Raises:
            EnrolmentError: the identity may still be valid.
        """

    def devices(self) -> tuple[Enrolled, ...]:
        """Return all devices with an identity, sorted by name."""
