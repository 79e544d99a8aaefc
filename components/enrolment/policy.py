"""The rights of one device, as an IAM policy: put its images and its report, get releases, and nothing else."""

from __future__ import annotations

from typing import Any, Final

from components.enrolment.port import DeviceIdentity

VERSION: Final = "2012-10-17"


def policy_document(device: DeviceIdentity) -> dict[str, Any]:
    """An AWS IAM policy document. No list, no delete, no read of what it sent.

    A prefix ends with a slash before its wildcard: `dev1/*` does not reach `dev10/`. Names hold no wildcard themselves.
    """
    prefix = device.bucket_prefix
    return {
        "Version": VERSION,
        "Statement": [
            {
                "Sid": "PutOwnImagesAndReport",
                "Effect": "Allow",
                "Action": "s3:PutObject",
                "Resource": [
                    f"arn:aws:s3:::{prefix}raw/{device.site}/{device.name}/*",
                    f"arn:aws:s3:::{prefix}fleet/{device.name}/*",
                ],
            },
            {
                "Sid": "GetReleases",
                "Effect": "Allow",
                "Action": "s3:GetObject",
                "Resource": f"arn:aws:s3:::{prefix}releases/*",
            },
        ],
    }


def site_of(document: object, name: str) -> str | None:
    """The site that a device's policy names; None where it is not one of ours."""
    if not isinstance(document, dict):
        return None
    for statement in document.get("Statement", ()):
        resources = statement.get("Resource", ())
        for resource in [resources] if isinstance(resources, str) else resources:
            parts = resource.split("/")
            if len(parts) == 4 and parts[0].endswith("raw") and parts[2:] == [name, "*"]:
                return str(parts[1])
    return None
