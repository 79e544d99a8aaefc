"""Identities in SeaweedFS, through the AWS IAM API that its S3 server offers at its own endpoint.

Identities take effect at once, without a restart, and are stored in the filer beside the data. The server has to be
started with `-s3.iam.readOnly=false`. The identities of its `-s3.config` file stay as they are; this module cannot
change them.

A device can make further keys for itself, as any user can on AWS. These keys have the rights of the device, and become
void when its user is deleted.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from components.enrolment.policy import policy_document, site_of
from components.enrolment.port import USER_PREFIX, AlreadyEnrolled, DeviceIdentity, Enrolled, EnrolmentError, Key
from components.settings import Settings
from inspection.paths import check_name

T = TypeVar("T")
POLICY: Final = "kizu-device"
# A change rewrites all identities. That takes about a second with a hundred devices, and grows with the square of their
# number.
_READ_TIMEOUT_S: Final = 120


class SeaweedFSIdentities:
    """The identity provider of a SeaweedFS server.

    access_key_id, secret_access_key: the administrator's key. ca_file: the certificates that the endpoint is checked
    with; None for the usual ones.
    """

    def __init__(
        self,
        endpoint: str | None,
        region: str,
        access_key_id: str,
        secret_access_key: str,
        *,
        ca_file: str | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._client: Any = boto3.client(
            "iam",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            verify=ca_file,
            # No call is retried: a key whose answer was lost would be valid, but nobody would hold it.
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=_READ_TIMEOUT_S),
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> SeaweedFSIdentities:
        """Make a provider that uses the identity of this process.

        Raises:
            SettingsError: a setting is missing.
        """
        return cls(
            settings.required("s3_endpoint"),
            settings.s3_region,
            settings.required("access_key_id"),
            settings.required("secret_access_key"),
            ca_file=settings.s3_ca_file,
        )

    def create(self, device: DeviceIdentity, *, replace: bool = False) -> Key:
        """Create an identity, as `IdentityProvider.create` describes.

        After a failure, it deletes what it created. A killed call can leave a user, but no key that anybody holds.
        """
        if replace:
            self.revoke(device.name)
        try:
            self._call("create_user", UserName=device.user)
        except _Exists as e:
            raise AlreadyEnrolled(
                f"{device.name} is enrolled already; --replace gives it a new key and shuts the old one out"
            ) from e
        try:
            document = json.dumps(policy_document(device))
            self._call("put_user_policy", UserName=device.user, PolicyName=POLICY, PolicyDocument=document)
            made = self._call("create_access_key", UserName=device.user)["AccessKey"]
        except BaseException as e:
            try:
                self.revoke(device.name)
            except EnrolmentError as left:
                e.add_note(f"{device.user} could not be taken back: {left}")
            raise
        return Key(made["AccessKeyId"], made["SecretAccessKey"])

    def revoke(self, name: str) -> bool:
        """Void every key of a device, as `IdentityProvider.revoke` describes.

        The call deletes the rights first, then the user with all keys. If it is killed between the two, the device has
        no rights left.
        """
        user = f"{USER_PREFIX}{check_name('device', name)}"
        if not self._has(user):
            return False
        with contextlib.suppress(_Missing):  # another call deleted it first
            self._call("delete_user_policy", UserName=user, PolicyName=POLICY)
            self._call("delete_user", UserName=user)
        if self._has(user):
            raise EnrolmentError(
                f"{user} is still there after it was deleted: it stands in the server's own -s3.config file; "
                "take it out there and restart the server"
            )
        return True

    def devices(self) -> tuple[Enrolled, ...]:
        """Return all devices with an identity, sorted by name."""
        return tuple(sorted(self._devices(), key=lambda device: device.name))

    def _devices(self) -> Iterator[Enrolled]:
        for user in self._pages("list_users", "Users"):
            if not user["UserName"].startswith(USER_PREFIX):
                continue
            name = user["UserName"].removeprefix(USER_PREFIX)
            try:
                keys = self._pages("list_access_keys", "AccessKeyMetadata", UserName=user["UserName"])
                ids = tuple(key["AccessKeyId"] for key in keys)
                answer = self._call("get_user_policy", UserName=user["UserName"], PolicyName=POLICY)
            except _Missing:
                answer = {}
            yield Enrolled(name, site_of(answer.get("PolicyDocument"), name), ids)

    def _has(self, user: str) -> bool:
        try:
            self._call("get_user", UserName=user)
        except _Missing:
            return False
        return True

    def _pages(self, act: str, field: str, **arguments: str) -> list[dict[str, Any]]:
        def read() -> list[dict[str, Any]]:
            pages = self._client.get_paginator(act).paginate(**arguments)
            return [item for page in pages for item in page.get(field, ())]

        return self._named(act, read)

    def _call(self, act: str, **arguments: str) -> dict[str, Any]:
        return self._named(act, lambda: getattr(self._client, act)(**arguments))

    def _named(self, act: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except ClientError as e:
            # SeaweedFS refuses in S3's form, in which an IAM client finds no error code.
            code = e.response.get("Error", {}).get("Code", "")
            status = e.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if code == "NoSuchEntity":
                raise _Missing(str(e)) from e
            if code == "EntityAlreadyExists":
                raise _Exists(str(e)) from e
            if "disabled on this server" in str(e):
                raise EnrolmentError(
                    f"the server at {self.endpoint} takes no identities; start it with -s3.iam.readOnly=false "
                    "(on one machine: kizu down, then kizu up)"
                ) from e
            if status == 403:
                raise EnrolmentError(
                    f"{act} at {self.endpoint} was refused for this identity; it takes the administrator's key"
                ) from e
            raise EnrolmentError(f"{act} at {self.endpoint} failed: {e}") from e
        except BotoCoreError as e:
            raise EnrolmentError(f"{act} at {self.endpoint} failed: {e}") from e


class _Missing(EnrolmentError):
    pass


class _Exists(EnrolmentError):
    pass
