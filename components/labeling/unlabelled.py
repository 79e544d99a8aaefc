"""Which images still need a person: those in raw without an approved label, as a batch for the labeling job."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Final

from components.labeling.candidates import Memories, find_candidates
from components.labeling.errors import BatchError
from components.labeling.priority import Candidate, Placed, in_order, shortlist
from components.stores.labels.store import LabelStore
from components.stores.objects.s3 import ObjectNotFound, ObjectStoreError, S3ObjectStore, parse_uri
from components.stores.raw_images.images import RawImage, RawImages
from components.use_case import UseCase
from inspection.codec import Document, DocumentError, Part
from inspection.image import ImageError, decode_image, sha256_of

_log = logging.getLogger(__name__)

_THREADS: Final = 8
_CHUNK: Final = 32  # no image is fetched much beyond the limit
# Images whose Captures are read besides those that there are places for: so many a place, and at most so many.
_MORE_A_PLACE: Final = 4
_MORE: Final = 2000
_MAX_CAPTURES: Final = 16  # of one image: a device that was stolen may send any number


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchImage(Part):
    """An image to label. width, height: pixels after EXIF orientation; group: photographs of one part share it.

    why: for people, why it has its place in the batch.
    """

    sha256: str
    uri: str
    width: int
    height: int
    group: str
    reason: str
    device: str
    day: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside(Part):
    """A raw object that nobody can label, and why: a reason of `ImageError`, or `bytes-do-not-match`."""

    sha256: str
    uri: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Document):
    """Images for the next labeling job, in the order in which people should get them."""

    use_case: str
    images: tuple[BatchImage, ...]
    set_aside: tuple[SetAside, ...] = ()


def find_unlabelled(
    use_case: UseCase,
    raw: RawImages,
    labels: LabelStore,
    memory: Memories | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> Batch:
    """Images without an approved label, in the order of `priority`, at most `max_images_per_job`.

    Images whose boxes wait for the verifier come last, so that they do not take the place of those nobody has seen.
    Objects that are damaged or no image are set aside, counted and logged, and do not count towards the limit.

    Args:
        use_case: whose images.
        raw: where the images are.
        labels: what is known of them.
        memory: of the last look; without one everything is read.
        thresholds: class -> the champion's threshold; see `priority.in_order`.

    Raises:
        ObjectStoreError, LabelStoreError: a store could not be read.
    """
    candidates = find_candidates(use_case.name, raw, labels, memory)
    images: list[BatchImage] = []
    set_aside: list[SetAside] = []
    limit = use_case.labeling.max_images_per_job
    left = list(range(len(candidates)))
    while left and len(images) < limit:  # again only where damaged objects took up the places
        most = limit + min(_MORE_A_PLACE * limit, _MORE)
        chosen = shortlist(candidates.sha256(left), candidates.waiting, candidates.several, use_case.name, most)
        looked_up = [candidates[left[place]] for place in chosen]
        placed = in_order(_candidates(use_case, raw, looked_up, candidates.waiting), use_case, thresholds)
        for looked_at in _look(raw, placed, limit - len(images)):
            if isinstance(looked_at, SetAside):
                set_aside.append(looked_at)
            elif len(images) < limit:
                images.append(looked_at)
        seen = set(chosen)
        left = [index for place, index in enumerate(left) if place not in seen]
    if set_aside:
        _log.warning("%d raw objects are set aside: %s", len(set_aside), _by_reason(set_aside))
    _log.info("%d of %d images without an approved label are in this batch", len(images), len(candidates))
    return Batch(use_case=use_case.name, images=tuple(images), set_aside=tuple(set_aside))


def save_batch(store: S3ObjectStore, bucket: str, batch: Batch) -> str:
    """Write a batch under its digest; its URI. The same batch is the same object."""
    data = batch.to_json()
    key = f"batches/labeling/{batch.use_case}/{sha256_of(data)}.json"
    store.put(bucket, key, data, if_absent=True, content_type="application/json")
    return f"s3://{bucket}/{key}"


def load_batch(store: S3ObjectStore, uri: str) -> Batch:
    """Read a batch.

    Raises:
        BatchError: there is none, it is malformed, or its bytes are not those of its digest.
    """
    try:
        bucket, key = parse_uri(uri)
        data = store.get(bucket, key)
        if sha256_of(data) != key.rsplit("/", 1)[-1].removesuffix(".json"):
            raise BatchError(f"the bytes of the batch {uri} are not those of its digest; find the images again")
        return Batch.from_json(data)
    except (ObjectNotFound, DocumentError, ValueError) as e:
        raise BatchError(f"cannot read the batch {uri}: {e}; find the images again") from e


def _candidates(
    use_case: UseCase, raw: RawImages, images: Sequence[RawImage], waiting: frozenset[str]
) -> list[Candidate]:
    """The images with their Captures, which are small and read many at a time."""

    def read(image: RawImage) -> Candidate:
        few = islice(raw.captures(image), _MAX_CAPTURES)
        captures = sorted(few, key=lambda capture: (capture.captured_at, capture.capture_id))
        parts = [capture.part_id for capture in captures if capture.part_id]
        group = parts[0] if parts and use_case.grouping.rule == "part" else image.sha256
        return Candidate(image, tuple(captures), group, image.sha256 in waiting)

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(read, images))


def _look(raw: RawImages, placed: Sequence[Placed], limit: int) -> Iterator[BatchImage | SetAside]:
    usable = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(placed), _CHUNK):
            if usable >= limit:
                return
            for found in pool.map(lambda item: _look_at(raw, item), placed[start : start + _CHUNK]):
                usable += isinstance(found, BatchImage)
                yield found


def _look_at(raw: RawImages, placed: Placed) -> BatchImage | SetAside:
    candidate = placed.candidate
    image = candidate.image
    try:
        pixels = decode_image(raw.fetch(image.uri, image.sha256))
    except ImageError as e:
        return _set_aside(image, e.reason, e)
    except ObjectNotFound as e:
        return _set_aside(image, "bytes-do-not-match", e)
    return BatchImage(
        sha256=image.sha256,
        uri=image.uri,
        width=int(pixels.shape[1]),
        height=int(pixels.shape[0]),
        group=candidate.group,
        reason=str(candidate.captures[-1].reason) if candidate.captures else "",
        device=image.device,
        day=image.day.isoformat(),
        why=placed.why,
    )


def _set_aside(image: RawImage, reason: str, error: ImageError | ObjectStoreError) -> SetAside:
    _log.warning("%s is set aside (%s): %s", image.uri, reason, error)
    return SetAside(sha256=image.sha256, uri=image.uri, reason=reason)


def _by_reason(set_aside: Sequence[SetAside]) -> str:
    counts: dict[str, int] = {}
    for item in set_aside:
        counts[item.reason] = counts.get(item.reason, 0) + 1
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
