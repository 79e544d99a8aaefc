"""Builds the label report: counts, people, agreement with models, suspected label errors, and coverage.

It reads the label store, the raw bucket and the registry, and changes nothing. `components.reporting.page` renders it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from components.reporting.agreement import Agreement, Matched, agreement, match
from components.reporting.counts import LabelCounts, count_labels, read_acts
from components.reporting.coverage import Coverage, measure_coverage
from components.reporting.model import Absent, ReportModel, ask_champion, ask_version
from components.reporting.pictures import Thumbnail, make_thumbnail
from components.reporting.suspects import Doubt, Shot, Suspect, Suspects, doubts, duplicates_doubt
from components.settings import Settings
from components.stores.labels.store import LabelEvent, LabelStore
from components.stores.objects.read_ahead import read_ahead
from components.stores.objects.s3 import ObjectNotFound, S3ObjectStore
from components.stores.raw_images.comparisons import comparisons
from components.stores.raw_images.images import RawImages
from components.stores.raw_images.near_duplicates import Fingerprint, find_near_duplicates, fingerprint, thumbnail
from components.stores.raw_images.sources import claims
from components.use_case import UseCase
from inspection.image import ImageError, decode_image

_log = logging.getLogger(__name__)

_THREADS: Final = 8
_AHEAD: Final = 32
_MAX_EARLIER_MODELS: Final = 4

Fetch = Callable[[str, str], bytes]


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """The limits of a report.

    images: approved images that are examined, the latest first. suspects: suspicions that are shown; all are counted.
    captures: Captures that are read for the names of cameras, the newest first. pairs: pairs of possible
    near-duplicates that are compared, the most similar first.
    """

    images: int = 500
    suspects: int = 40
    captures: int = 2000
    pairs: int = 5000

    def __post_init__(self) -> None:
        for name in ("images", "suspects", "captures", "pairs"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is not negative, but got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class ShownSuspect:
    """A suspicion with its pictures, one for each shot."""

    suspect: Suspect
    pictures: tuple[Thumbnail, ...]


@dataclass(frozen=True, slots=True)
class Looks:
    """The results of examining images. looked_at: the number of approved images that were examined, of `approved`.

    unreadable: images that are missing or cannot be decoded. champion: name and version, empty if there is none;
    absent: why there is none. counts: all suspicions by kind; shown: some of them.
    """

    looked_at: int
    approved: int
    unreadable: int
    champion: str
    absent: str | None
    agreements: tuple[Agreement, ...]
    near_duplicates: int
    counts: Mapping[Doubt, int]
    shown: tuple[ShownSuspect, ...]

    @property
    def suspected(self) -> int:
        """The number of suspicions of all kinds."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class LabelReport:
    """Everything that the page shows. label_version: the version of the label store; made_at: UTC."""

    use_case: str
    made_at: datetime
    label_version: int
    counts: LabelCounts
    looks: Looks
    coverage: Coverage


def build_report(
    use_case: UseCase, config: Settings, options: ReportOptions, now: datetime, *, label_version: int = -1
) -> LabelReport:
    """Make the report. label_version: the version of the label store; a negative number means the latest.

    Without a champion, or without MLflow, the report is made without a model's boxes.

    Raises:
        LabelStoreError, ObjectStoreError: a store could not be read.
    """
    labels = LabelStore.open(config)
    version = labels.version() if label_version < 0 else label_version
    approved = labels.latest_approved(use_case.name, version=version)
    counts = count_labels(read_acts(labels, use_case.name, version), approved, use_case.classes)
    raw = RawImages(S3ObjectStore.from_settings(config), config.bucket("raw"))
    return LabelReport(
        use_case=use_case.name,
        made_at=now,
        label_version=version,
        counts=counts,
        looks=_look(use_case.name, config, counts.approved, raw.fetch, options),
        coverage=measure_coverage(
            raw,
            counts.approved.keys(),
            max_captures=options.captures,
            owns=partial(claims, use_case.name, use_case.sources),
        ),
    )


@dataclass(slots=True)
class _Seen:
    """What one pass over the images keeps. It holds no image, so memory stays small."""

    shots: dict[str, Shot] = field(default_factory=dict)
    prints: dict[str, Fingerprint] = field(default_factory=dict)
    now: list[Matched] = field(default_factory=list)
    then: dict[str, list[Matched]] = field(default_factory=dict)
    unreadable: int = 0


def _look(
    name: str, config: Settings, approved: Mapping[str, LabelEvent], fetch: Fetch, options: ReportOptions
) -> Looks:
    events = sorted(approved.values(), key=lambda event: (-event.at.timestamp(), event.sha256))[: options.images]
    champion = ask_champion(config, name)
    model = champion if isinstance(champion, ReportModel) else None
    models = _models_of(config, name, events, model)
    suspects = Suspects(options.suspects)
    seen = _Seen()
    for event, image in _images(events, fetch):
        if image is None:
            seen.unreadable += 1
            continue
        detections = model.detect(image) if model else ()
        seen.shots[event.sha256] = Shot(event, model.shown(detections) if model else ())
        seen.prints[event.sha256] = fingerprint(thumbnail(image))
        if model:
            suspects.add(doubts(event, detections, model.thresholds))
        then = models.get(event.prelabel_model or "")
        if then is not None:
            said = detections if then is model else then.detect(image)
            seen.then.setdefault(then.title, []).append(match(event.boxes, then.shown(said)))
        elif model:
            seen.now.append(match(event.boxes, model.shown(detections)))
    duplicates = 0
    by_sha = {event.sha256: event for event in events}
    pairs = find_near_duplicates(
        seen.prints,
        lambda sha256: _decoded(fetch, by_sha[sha256]),
        max_pairs=options.pairs,
        known=comparisons(config),
    )
    for pair in pairs:
        duplicates += 1
        doubt = duplicates_doubt(seen.shots[pair.a], seen.shots[pair.b], pair.transform, pair.similarity)
        suspects.add([doubt] if doubt else [])
    rows = [agreement(title, found, prelabelled=True) for title, found in sorted(seen.then.items())]
    rows.append(agreement(model.title, seen.now, prelabelled=False) if model else None)
    return Looks(
        looked_at=len(seen.shots),
        approved=len(approved),
        unreadable=seen.unreadable,
        champion=model.title if model else "",
        absent=champion.reason if isinstance(champion, Absent) else None,
        agreements=tuple(row for row in rows if row is not None),
        near_duplicates=duplicates,
        counts=dict(suspects.counts),
        shown=tuple(_shown(suspect, fetch) for suspect in suspects.chosen()),
    )


def _models_of(
    config: Settings, name: str, events: Sequence[LabelEvent], champion: ReportModel | None
) -> dict[str, ReportModel]:
    """Return title -> model, for the champion and the latest models whose boxes people began from."""
    models = {champion.title: champion} if champion else {}
    latest_first = dict.fromkeys(event.prelabel_model for event in events if event.prelabel_model)
    earlier = [title for title in latest_first if title not in models]
    for title in earlier[:_MAX_EARLIER_MODELS]:
        model, _, version = title.rpartition("/")
        found = ask_version(config, name, int(version)) if model == name and version.isdecimal() else None
        if found is not None:
            models[title] = found
    return models


def _images(events: Sequence[LabelEvent], fetch: Fetch) -> Iterator[tuple[LabelEvent, NDArray[np.uint8] | None]]:
    """Yield each event with its image, or with None if it cannot be read. At most `_AHEAD` images are fetched ahead."""
    images = read_ahead(lambda event: _decoded(fetch, event), events, at_most=_AHEAD, threads=_THREADS)
    yield from zip(events, images, strict=True)


def _decoded(fetch: Fetch, event: LabelEvent) -> NDArray[np.uint8] | None:
    try:
        return decode_image(fetch(event.image_uri, event.sha256))
    except (ObjectNotFound, ImageError) as e:
        _log.warning("%s cannot be looked at: %s", event.image_uri, e)
        return None


def _shown(suspect: Suspect, fetch: Fetch) -> ShownSuspect:
    pictures = []
    for shot in suspect.shots:
        image = _decoded(fetch, shot.event)
        if image is not None:
            pictures.append(make_thumbnail(shot.event, image, shot.detections))
    return ShownSuspect(suspect, tuple(pictures))
