"""Software bills of materials in CycloneDX's JSON, one for each lock file: what an image or a device installs.

They name the Python packages. What the base image of a container brings is not in them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from tools.licences import UNKNOWN, Licence
from tools.site_bundle.wheel_choice import Locked

_NAMESPACE: Final = uuid.UUID("3f0b5f7e-6c0b-5c52-8a67-0d4f1f7a9b11")


def bill(
    name: str,
    version: str,
    packages: Iterable[Locked],
    licences: Mapping[tuple[str, str], Licence],
    made_at: datetime,
    image_digest: str = "",
) -> str:
    """The bill of one program as JSON. The same inputs give the same bytes.

    name: such as `kizu/data`. image_digest: of the container image that it is of; '' for none.
    """
    factory = LicenseFactory()
    root = Component(name=name, version=version, type=ComponentType.APPLICATION, bom_ref=f"{name}@{version}")
    if image_digest:
        root.properties.add(Property(name="kizu:image-digest", value=image_digest))
    bom = Bom(serial_number=None)
    bom.metadata.component = root
    bom.metadata.timestamp = made_at.astimezone(UTC)
    listed = []
    for package in sorted(packages, key=lambda each: each.name):
        url = PackageURL("pypi", name=package.name, version=package.version)
        licence = licences.get((package.name, package.version))
        component = Component(
            name=package.name, version=package.version, purl=url, bom_ref=str(url), type=ComponentType.LIBRARY,
            licenses=[factory.make_from_string(licence.text)] if licence and licence.text != UNKNOWN else (),
            # One file is carried or installed: its digest is the component's. Of several, none is.
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in package.hashes]
            if len(package.hashes) == 1 else (),
        )  # fmt: skip
        listed.append(component)
        bom.components.add(component)
    bom.register_dependency(root, listed)
    key = "\n".join([name, version, image_digest, *(f"{each.name}=={each.version}" for each in listed)])
    bom.serial_number = uuid.uuid5(_NAMESPACE, key)
    return str(JsonV1Dot6(bom).output_as_string(indent=1)) + "\n"
