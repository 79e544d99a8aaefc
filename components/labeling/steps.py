"""The three steps of the pipeline `labeling`, wired to the servers that the settings name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from components.labeling import labeling_job, unlabelled, verification_job
from components.labeling.candidates import memories
from components.labeling.label_studio import LabelStudioServer
from components.labeling.labeling_job import Waiting
from components.labeling.lease import Lease, LeaseRules, hold
from components.labeling.prelabels import ChampionPrelabels, champion_thresholds, load_champion
from components.labeling.refusals import Refusals
from components.settings import Settings, settings
from components.stores.labels.store import LabelStore
from components.stores.objects.s3 import S3ObjectStore
from components.stores.raw_images.images import RawImages
from components.use_case import UseCase, parse_use_case
from components.webhooks.receiver import sleeper

_RULES = LeaseRules()


class Found(NamedTuple):
    """batch_uri: the batch in the state bucket; count: images in it."""

    batch_uri: str
    count: int  # type: ignore[assignment] # the contract's name; nobody counts in this tuple


class Labelled(NamedTuple):
    """labelled: images newly labelled; open_tasks: labeling tasks that people have not finished."""

    labelled: int
    open_tasks: int


class Verified(NamedTuple):
    """approved, rejected: of this run; open_tasks: still with people; label_version: of the label store."""

    approved: int
    rejected: int
    open_tasks: int
    label_version: int


def find_unlabelled(use_case: str) -> Found:
    """Find the images without an approved label and write them down as a batch. use_case: its JSON or YAML text."""
    chosen, now = parse_use_case(use_case), settings()
    store = S3ObjectStore.from_settings(now)
    memory = memories(store, now.bucket("state"), chosen.name)
    raw, labels = RawImages(store, now.bucket("raw")), LabelStore.open(now)
    batch = unlabelled.find_unlabelled(chosen, raw, labels, memory, champion_thresholds(now, chosen.name))
    return Found(unlabelled.save_batch(store, now.bucket("state"), batch), len(batch.images))


def label(use_case: str, batch_uri: str, wait_s: float, *, rules: LeaseRules = _RULES) -> Labelled:
    """Make tasks for a batch and collect what people have finished, waiting for at most `wait_s` seconds."""
    chosen, now = parse_use_case(use_case), settings()
    store = S3ObjectStore.from_settings(now)
    batch = unlabelled.load_batch(store, batch_uri)
    prelabel = ChampionPrelabels(
        chosen, lambda: load_champion(now, chosen.name), RawImages(store, now.bucket("raw")).fetch
    )
    with LabelStudioServer.from_settings(now) as server, sleeper(now, wait_s) as sleep:
        waiting = Waiting(wait_s, sleep=sleep)
        result = labeling_job.label(
            chosen, batch, server, LabelStore.open(now), _hold(store, now, chosen, rules), waiting, prelabel
        )
    return Labelled(result.labelled, result.open_tasks)


def verify(use_case: str, wait_s: float, *, rules: LeaseRules = _RULES) -> Verified:
    """Have labels verified and collect the decisions, waiting for at most `wait_s` seconds."""
    chosen, now = parse_use_case(use_case), settings()
    store = S3ObjectStore.from_settings(now)
    with LabelStudioServer.from_settings(now) as server, sleeper(now, wait_s) as sleep:
        result = verification_job.verify(
            chosen,
            server,
            LabelStore.open(now),
            Refusals(store, now.bucket("state")),
            _hold(store, now, chosen, rules),
            Waiting(wait_s, sleep=sleep),
        )
    return Verified(result.approved, result.rejected, result.open_tasks, result.label_version)


def _hold(
    store: S3ObjectStore, now: Settings, use_case: UseCase, rules: LeaseRules
) -> Callable[[], AbstractContextManager[Lease]]:
    return lambda: hold(store, now.bucket("state"), use_case.name, rules)
