"""The three steps of the pipeline `labeling`, wired to the servers that the settings name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from components.labeling import labeling_job, unlabelled, verification_job
from components.labeling.candidates import memories
from components.labeling.image_facts import RawFacts
from components.labeling.label_studio import LabelStudioServer
from components.labeling.prelabels import ChampionPrelabels, champion_thresholds, load_champion
from components.labeling.refusals import Refusals
from components.labeling.waiting import Waiting
from components.settings import Settings
from components.stores.fleet.noted_drift import NotedDrift
from components.stores.labels.store import LabelStore
from components.stores.objects.leases import Lease, LeaseRules, hold
from components.stores.objects.s3 import ObjectStoreError, S3ObjectStore
from components.stores.raw_images.images import RawImages
from components.use_case import UseCase
from components.webhooks.receiver import sleeper
from inspection.drifting import DriftingLine

_RULES = LeaseRules()
_log = logging.getLogger(__name__)


class FoundBatch(NamedTuple):
    """batch_uri: the batch in the state bucket; count: images in it."""

    batch_uri: str
    count: int  # type: ignore[assignment] # the name of the component's output; nobody counts in this tuple


class Labelled(NamedTuple):
    """labelled: images newly labelled; open_tasks: labeling tasks that people have not finished."""

    labelled: int
    open_tasks: int


class Verified(NamedTuple):
    """labelled, approved, rejected: images of this run; open_labeling: labeling tasks that people have not finished.

    open_tasks: verifications that people have not finished; label_version: of the label store.
    """

    labelled: int
    open_labeling: int
    approved: int
    rejected: int
    open_tasks: int
    label_version: int


def find_unlabelled(settings: Settings, use_case: UseCase) -> FoundBatch:
    """Find the images without an approved label and save them as a batch in the state bucket."""
    store = S3ObjectStore.from_settings(settings)
    memory = memories(store, settings.bucket("state"), use_case.name)
    raw, labels = RawImages(store, settings.bucket("raw")), LabelStore.open(settings)
    thresholds = champion_thresholds(settings, use_case.name)
    drifting = _drifting(NotedDrift(store, settings.bucket("state")), use_case.name)
    batch = unlabelled.find_unlabelled(use_case, raw, labels, memory, thresholds, drifting=drifting)
    return FoundBatch(unlabelled.save_batch(store, settings.bucket("state"), batch), len(batch.images))


def label(settings: Settings, use_case: UseCase, batch_uri: str, *, rules: LeaseRules = _RULES) -> Labelled:
    """Make the tasks of a batch and collect the drawings that are finished. Does not wait for people."""
    store = S3ObjectStore.from_settings(settings)
    batch = unlabelled.load_batch(store, batch_uri)
    raw = RawImages(store, settings.bucket("raw"))
    prelabel = ChampionPrelabels(use_case, lambda: load_champion(settings, use_case.name), raw.fetch)
    with LabelStudioServer.from_settings(settings) as server:
        hold_lease = _hold(store, settings, use_case, rules)
        result = labeling_job.label(use_case, batch, server, LabelStore.open(settings), hold_lease, prelabel)
    return Labelled(result.labelled, result.open_tasks)


def verify(settings: Settings, use_case: UseCase, wait_s: float, *, rules: LeaseRules = _RULES) -> Verified:
    """Collect drawings and decisions and make verification tasks; wait for people for at most `wait_s` seconds."""
    store = S3ObjectStore.from_settings(settings)
    with LabelStudioServer.from_settings(settings) as server, sleeper(settings, wait_s) as sleep:
        result = verification_job.verify(
            use_case,
            server,
            LabelStore.open(settings),
            RawFacts(RawImages(store, settings.bucket("raw"))),
            Refusals(store, settings.bucket("state")),
            _hold(store, settings, use_case, rules),
            Waiting(wait_s, sleep=sleep),
        )
    return Verified(
        result.labelled,
        result.open_labeling,
        result.approved,
        result.rejected,
        result.open_tasks,
        result.label_version,
    )


def _drifting(noted: NotedDrift, use_case: str) -> tuple[DriftingLine, ...]:
    """The lines that drift. Without them images are ordered as if none did: labeling never waits for that."""
    try:
        return noted.lines(use_case)
    except ObjectStoreError as e:
        _log.warning("images are ordered as if no line drifted: %s", e)
        return ()


def _hold(
    store: S3ObjectStore, settings: Settings, use_case: UseCase, rules: LeaseRules
) -> Callable[[], AbstractContextManager[Lease]]:
    return lambda: hold(store, settings.bucket("state"), "labeling", use_case.name, rules)
