"""Names of container images: what they are made of, and what they are called in a registry of the site's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

OURS: Final = "kizu/"
_REFERENCE: Final = re.compile(
    r"(?P<name>[a-z0-9]+(?:[.-][a-z0-9]+)*(?::\d+)?(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def split(reference: str) -> tuple[str, str, str]:
    """The name, the tag and the digest of a reference; '' for what it has not.

    Raises:
        ValueError: this names no image.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ValueError(f"expected an image such as kizu/data:0.1.0, but got {reference!r}")
    return match["name"], match["tag"] or "", match["digest"] or ""


def place_of(name: str) -> str:
    """Where an image goes below a site's own registry and folder: without its registry, and ours without `kizu/`.

    `kizu cluster install --registry` and `kizu submit --registry` expect ours there.
    """
    first, _, rest = name.partition("/")
    if rest and ("." in first or ":" in first or first == "localhost"):
        return rest
    return name.removeprefix(OURS)


def rewritten(text: str, new: Mapping[str, str]) -> str:
    """A document with images by their new references. new: reference, as the document has it -> the new one."""
    if not new:
        return text
    names = "|".join(re.escape(name) for name in sorted(new, key=len, reverse=True))
    return re.sub(rf"(?<![\w./:-])(?:{names})(?![\w./:@-])", lambda match: new[match[0]], text)


def kustomization(resource: str, new: Mapping[str, str]) -> str:
    """A kustomization that takes images from the site's registry, each by its digest.

    resource: the folder that it is on top of. new: reference -> `<registry>/<place>@<digest>`. One name with several
    tags has one entry: kustomize tells images apart by their names, so all tags of it become the last one.
    """
    entries = {}
    for reference, target in sorted(new.items()):
        place, _, digest = target.partition("@")
        entries[split(reference)[0]] = f"  - {{name: {split(reference)[0]}, newName: {place}, digest: {digest}}}\n"
    images = "images:\n" + "".join(entries.values()) if entries else ""
    return (
        "# Written by unbundle: the images of this site's registry, by digest.\n"
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        f"resources:\n  - {resource}\n{images}"
    )
