"""Find what a question names, and trace it: a device, a release, a model version, a run, a dataset or an image."""

from __future__ import annotations

import re
from typing import Final

from components.lineage.chain import Chain
from components.lineage.graph import Kind, Lineage
from components.lineage.sources import LinkMissing, Sources
from components.stores.objects.s3 import parse_uri
from inspection.paths import parse_raw_key

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_RUN: Final = re.compile(r"[0-9a-f]{32}")
_BEGINNING: Final = re.compile(r"[0-9a-f]{8,63}")
_VERSION: Final = re.compile(r"(?P<model>[a-z0-9][a-z0-9-]{0,62})/(?P<number>[1-9][0-9]{0,8})")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
EXPECTED: Final = (
    "a device, the sha256 or s3:// address of an image, a release, a dataset (digests may be cut to 8 digits or more), "
    "a model version as MODEL/VERSION, or a run of MLflow"
)


class NothingKnown(LookupError):
    """Nothing has the name that was asked for, or several things have it."""


def trace(sources: Sources, asked: str, *, list_labels: bool = False) -> Lineage:
    """Return the lineage of what was asked for.

    Where MLflow cannot be read, the lineage says so and holds what the other sources know.

    Args:
        sources: where the lineage is read from.
        asked: as `EXPECTED` describes it.
        list_labels: list each label of a dataset, and not only the counts.

    Raises:
        NothingKnown: no source knows it, or a cut digest fits several things. The message says where the function
            looked, or what fits.
        ObjectStoreError, LabelStoreError: S3 cannot be read at all.
    """
    chain = Chain(sources, list_labels=list_labels)
    unread = ""
    if asked.startswith("s3://"):
        return _image(chain, asked)
    if version := _VERSION.fullmatch(asked):
        return chain.of_version(version["model"], int(version["number"]))
    if _NAME.fullmatch(asked) and (report := sources.fleet.report(asked)) is not None:
        return chain.of_device(report)
    if _DIGEST.fullmatch(asked) or _BEGINNING.fullmatch(asked):
        found = [(Kind.DATASET, digest) for digest in sources.datasets_starting_with(asked)]
        try:
            found += [(Kind.RELEASE, digest) for digest in sources.releases_starting_with(asked)]
        except LinkMissing as e:
            unread = f"; the releases could not be read: {e}"
        if len(found) > 1:
            known = ", ".join(f"{kind} {digest}" for kind, digest in found[:5])
            raise NothingKnown(f"{asked} may be {len(found)} things: {known}; give more digits")
        if found:
            return _of(chain, sources, *found[0])
    if _DIGEST.fullmatch(asked) and (frame := chain.of_frame(asked)) is not None:
        return frame
    if _RUN.fullmatch(asked):
        return _run(chain, sources, asked)
    looked = "no device reports under this name, and no release, dataset or image has this digest"
    raise NothingKnown(f"nothing is known of {asked[:80]!r}: {looked}{unread}. Expected {EXPECTED}")


def _image(chain: Chain, uri: str) -> Lineage:
    try:
        parsed = parse_raw_key(parse_uri(uri)[1])
    except ValueError:
        parsed = None
    if parsed is None or parsed.capture_id is not None:
        raise NothingKnown(
            f"expected the address of an image, s3://…/<site>/<device>/<date>/<sha256>.<ext>, got {uri!r}"
        )
    found = chain.of_frame(parsed.sha256, uri)
    if found is None:
        raise NothingKnown(f"there is no image at {uri}, and no label or dataset of it")
    return found


def _of(chain: Chain, sources: Sources, kind: Kind, digest: str) -> Lineage:
    if kind is Kind.RELEASE:
        return chain.of_release(digest)
    try:
        return chain.of_dataset(digest, sources.manifest(digest))
    except LinkMissing as e:
        raise NothingKnown(f"dataset {digest}: {e}") from e


def _run(chain: Chain, sources: Sources, run_id: str) -> Lineage:
    try:
        return chain.of_run(run_id, sources.registry.run(run_id).tags.get("use_case", ""))
    except LinkMissing as e:
        raise NothingKnown(f"nothing is known of {run_id}: {e}. Expected {EXPECTED}") from e
