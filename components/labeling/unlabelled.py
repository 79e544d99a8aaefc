"""Find the images in the raw bucket that have no approved label, as a batch for the labeling job."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from components.labeling.candidates import Memories, find_candidates
from components.labeling.errors import BatchError
from components.labeling.image_facts import MAX_CAPTURES
from components.labeling.priority import LabelingCandidate, Placed, in_order, shortlist
from components.labeling.reopening import reopened, standings
from components.labeling.texts import TEXTS
from components.stores.labels.store import LabelStore
from components.stores.labels.views import COLUMNS, latest_approved
from components.stores.objects.read_ahead import read_ahead
from components.stores.objects.s3 import ObjectNotFound, ObjectStoreError, S3ObjectStore, parse_uri
from components.stores.raw_images.images import RawImage, RawImages
from components.stores.raw_images.renditions import NOT_SHOWN, rendition_key
from components.use_case import UseCase
from inspection.codec import Document, DocumentError, Part
from inspection.documents import Capture, Reason
from inspection.drifting import DriftingLine
from inspection.image import ImageError, decode_image, image_format, sha256_of

_log = logging.getLogger(__name__)

_THREADS: Final = 8
_AHEAD: Final = 32  # images under way, so that few are fetched beyond the limit
# How many images more than there are places have their Captures read: per place, and in all.
_MORE_A_PLACE: Final = 4
_MORE: Final = 2000


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
class UnusableImage(Part):
    """A raw object that cannot be labelled.

    reason: one of `ImageError`, `bytes-do-not-match`, or `not-shown`: no browser shows a TIFF, this one has no
    rendition, and what a person submits for a picture that is not there says nothing.
    """

    sha256: str
    uri: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Document):
    """Images for the next labeling job, in the order in which people should get them."""

    use_case: str
    images: tuple[BatchImage, ...]
    set_aside: tuple[UnusableImage, ...] = ()


def find_unlabelled(
    use_case: UseCase,
    raw: RawImages,
    labels: LabelStore,
    memory: Memories | None = None,
    thresholds: Mapping[str, float] | None = None,
    now: datetime | None = None,
    drifting: Sequence[DriftingLine] = (),
) -> Batch:
    """The images without an approved label, in the order of `priority`, at most `max_images_per_job`.

    Images whose boxes wait for the verifier come last, so that they do not displace images that nobody has seen.
    Objects that are damaged or are no image are set aside, counted and logged. They do not count towards the limit.

    Args:
        use_case: whose images.
        raw: the raw bucket.
        labels: the label store.
        memory: of the last scan; without one everything is read.
        thresholds: class -> the champion's threshold; see `priority.in_order`.
        now: the time of `reopened` events.
        drifting: the lines that drift; see `priority.in_order`.

    Raises:
        ObjectStoreError, LabelStoreError: a store could not be read.
    """
    candidates = find_candidates(use_case.name, raw, labels, memory, sources=use_case.sources)
    if reopen_objected(use_case, raw, labels, candidates.told, now or datetime.now(UTC)):
        candidates = find_candidates(use_case.name, raw, labels, memory, sources=use_case.sources)
    images: list[BatchImage] = []
    set_aside: list[UnusableImage] = []
    limit = use_case.labeling.max_images_per_job
    left = list(range(len(candidates)))
    of_drift = candidates.of_devices({line.device for line in drifting})
    while left and len(images) < limit:  # a second round only where damaged objects took places
        most = limit + min(_MORE_A_PLACE * limit, _MORE)
        sha256 = candidates.sha256(left)
        chosen = shortlist(sha256, candidates.waiting, candidates.several, use_case.name, most, of_drift)
        shortlisted = [candidates[left[place]] for place in chosen]
        placed = in_order(_candidates(use_case, raw, shortlisted, candidates.waiting), use_case, thresholds, drifting)
        for opened in _open_in_order(raw, placed, limit - len(images)):
            if isinstance(opened, UnusableImage):
                set_aside.append(opened)
            elif len(images) < limit:
                images.append(opened)
        seen = set(chosen)
        left = [index for place, index in enumerate(left) if place not in seen]
    if set_aside:
        _log.warning("%d raw objects are set aside: %s", len(set_aside), _by_reason(set_aside))
    _log.info("%d of %d images without an approved label are in this batch", len(images), len(candidates))
    return Batch(use_case=use_case.name, images=tuple(images), set_aside=tuple(set_aside))


def reopen_objected(
    use_case: UseCase, raw: RawImages, labels: LabelStore, images: Sequence[RawImage], now: datetime
) -> int:
    """Reopen approved images to which an operator objected since their approval. Returns how many were reopened.

    Each objection does this once, so that people's answer to it stands.

    Args:
        use_case: whose labels.
        raw: the raw bucket.
        labels: the label store.
        images: approved images with several Captures.
        now: the time of the events.
    """
    if not images:
        return 0
    rows = latest_approved(labels.columns(COLUMNS, use_case=use_case.name).rows)
    approved_at = dict(zip(rows["sha256"].to_pylist(), rows["at"].to_pylist(), strict=True))

    def look(image: RawImage) -> tuple[RawImage, Capture | None]:
        since = approved_at.get(image.sha256)
        if since is None:
            return image, None
        # The store's times may have whole seconds only.
        later = islice(raw.captures_since(image, since - timedelta(seconds=1)), MAX_CAPTURES)
        return image, next((capture for capture in later if capture.reason is Reason.OBJECTION), None)

    found = read_ahead(look, images, at_most=_AHEAD, threads=_THREADS)
    objected = {image.sha256: capture for image, capture in found if capture is not None}
    events = []
    for sha256, capture in objected.items():
        stands = standings(labels.events(use_case=use_case.name, sha256=sha256))[sha256]
        reason = TEXTS[use_case.labeling.language].objection
        events.append(reopened(stands, reason, now, source="objection", by=capture.capture_id))
    before = labels.version()
    if not events or labels.append(events) == before:
        return 0
    _log.info("%d approved images are reopened, because an operator objected", len(events))
    return len(events)


def save_batch(store: S3ObjectStore, bucket: str, batch: Batch) -> str:
    """Write a batch under its digest and return its URI. The same batch is the same object."""
    data = batch.to_json()
    key = f"batches/labeling/{batch.use_case}/{sha256_of(data)}.json"
    store.put(bucket, key, data, if_absent=True, content_type="application/json")
    return f"s3://{bucket}/{key}"


def load_batch(store: S3ObjectStore, uri: str) -> Batch:
    """Read a batch.

    Raises:
        BatchError: there is none, it is malformed, or its bytes do not match its digest.
    """
    try:
        bucket, key = parse_uri(uri)
        data = store.get(bucket, key)
        if sha256_of(data) != key.rsplit("/", 1)[-1].removesuffix(".json"):
            raise BatchError(f"the bytes of the batch {uri} do not match its digest; find the images again")
        return Batch.from_json(data)
    except (ObjectNotFound, DocumentError, ValueError) as e:
        raise BatchError(f"cannot read the batch {uri}: {e}; find the images again") from e


def _candidates(
    use_case: UseCase, raw: RawImages, images: Sequence[RawImage], waiting: frozenset[str]
) -> list[LabelingCandidate]:
    """The images with their Captures, which are small and read many at a time."""

    def read(image: RawImage) -> LabelingCandidate:
        few = islice(raw.captures(image), MAX_CAPTURES)
        stored = list(few)
        captures = sorted(stored, key=lambda capture: (capture.captured_at, capture.capture_id))
        parts = [capture.part_id for capture in stored if capture.part_id]
        # Whoever corrects the part of an image stores another Capture: the one that was stored last holds.
        group = parts[-1] if parts and use_case.grouping.rule == "part" else image.sha256
        return LabelingCandidate(image, tuple(captures), group, image.sha256 in waiting)

    return list(read_ahead(read, images, at_most=_AHEAD, threads=_THREADS))


def _open_in_order(raw: RawImages, placed: Sequence[Placed], limit: int) -> Iterator[BatchImage | UnusableImage]:
    """The images of the order, opened, until `limit` of them can be labelled."""
    usable = 0
    for opened in read_ahead(lambda item: open_placed(raw, item), placed, at_most=_AHEAD, threads=_THREADS):
        usable += isinstance(opened, BatchImage)
        yield opened
        if usable >= limit:
            return


def open_placed(raw: RawImages, placed: Placed) -> BatchImage | UnusableImage:
    """Read an image of the order. It is unusable if its bytes are no image, or if no browser shows it."""
    candidate = placed.candidate
    image = candidate.image
    try:
        data = raw.fetch(image.uri, image.sha256)
        pixels = decode_image(data)
    except ImageError as e:
        return _unusable(image, e.reason, e)
    except ObjectNotFound as e:
        return _unusable(image, "bytes-do-not-match", e)
    if image_format(data) in NOT_SHOWN and not raw.has(rendition_key(image.sha256)):
        _log.warning("%s is set aside (not-shown): no browser shows a TIFF; import it with kizu import", image.uri)
        return UnusableImage(sha256=image.sha256, uri=image.uri, reason="not-shown")
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


def _unusable(image: RawImage, reason: str, error: ImageError | ObjectStoreError) -> UnusableImage:
    _log.warning("%s is set aside (%s): %s", image.uri, reason, error)
    return UnusableImage(sha256=image.sha256, uri=image.uri, reason=reason)


def _by_reason(set_aside: Sequence[UnusableImage]) -> str:
    counts: dict[str, int] = {}
    for item in set_aside:
        counts[item.reason] = counts.get(item.reason, 0) + 1
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
