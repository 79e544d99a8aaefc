"""The rights of one device, as an IAM policy: it may put its images and its report, and get releases; nothing else."""

from __future__ import annotations

from typing import Any, Final

from components.enrolment.port import DeviceIdentity

VERSION: Final = "2012-10-17"


def policy_document(device: DeviceIdentity) -> dict[str, Any]:
    """Return the AWS IAM policy document of a device.

    The device may not list, may not delete, and may not read what it sent.

    Each prefix has a slash before its wildcard, so that `dev1/*` does not match `dev10/`. Names contain no wildcards.
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
    """Return the site that a device's policy names, or None where the policy is not one of ours."""
    if not isinstance(document, dict):
        return None
    for statement in document.get("Statement", ()):
        resources = statement.get("Resource", ())
        for resource in [resources] if isinstance(resources, str) else resources:
            parts = resource.split("/")
            if len(parts) == 4 and parts[0].endswith("raw") and parts[2:] == [name, "*"]:
                return str(parts[1])
    return None
