"""The sources that a lineage is read from, and the facts that it gives of each thing.

Each source is asked for the same thing once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol, TypeVar

from components.lineage.published_releases import PublishedReleases, PublishedReleasesError
from components.stores.datasets.manifest import (
    Manifest,
    ManifestCounts,
    ManifestError,
    ManifestImage,
    find_in_manifest,
    load_manifest,
    manifest_digests,
    manifest_key,
)
from components.stores.labels.store import LabelStore
from components.stores.labels.versions import versions_of_datasets
from components.stores.models.registry import ModelRegistry, ModelRegistryError, ModelVersion, NoSuchModel, RunInfo
from components.stores.objects.read_ahead import read_ahead
from components.stores.objects.s3 import ObjectNotFound, S3ObjectStore
from components.stores.raw_images.images import RawImages
from inspection.codec import DocumentError
from inspection.documents import Release, Reported

_log = logging.getLogger(__name__)
_MANIFESTS_AT_ONCE: Final = 4

T = TypeVar("T")
Facts = Mapping[str, object]


class LinkMissing(LookupError):
    """Something is missing or cannot be read. The message says which of the two, worded as the end of a sentence."""


class DeviceReports(Protocol):
    """Gives the reports that devices send."""

    def reports(self) -> Iterable[Reported]:
        """Return the latest report of each device."""

    def report(self, device: str) -> Reported | None:
        """Return the latest report of one device, or None where there is none."""


@dataclass(frozen=True, slots=True)
class HeldImage:
    """An image that a dataset holds. dataset: the dataset's digest; facts: the facts of the dataset."""

    dataset: str
    use_case: str
    image: ManifestImage
    facts: Facts


class Registry:
    """Reads MLflow for an audit.

    Every method raises `LinkMissing` where MLflow lacks the thing or cannot be read. After one failure to read MLflow,
    the methods do not ask it again.
    """

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._away = ""

    def version(self, model: str, number: int) -> ModelVersion:
        """Return one version, with its aliases."""
        return self._ask(lambda: self._registry.version(model, number), "MLflow has no such version")

    def versions_of_run(self, model: str, run_id: str) -> list[ModelVersion]:
        """Return the versions that were registered from a run: none or one."""
        found = self._ask(lambda: self._registry.versions(model), "MLflow has no such model")
        return [self.version(known.name, known.version) for known in found if known.run_id == run_id]

    def run(self, run_id: str) -> RunInfo:
        """Return one training run."""
        return self._ask(lambda: self._registry.run(run_id), "MLflow has no such run")

    def runs_on(self, dataset: str, use_case: str) -> list[RunInfo]:
        """Return the training runs on a dataset, newest first, including failed runs."""
        wanted = {"dataset_digest": dataset}
        return self._ask(
            lambda: self._registry.find_runs(use_case, wanted, finished=False), "MLflow has no such experiment"
        )

    def _ask(self, call: Callable[[], T], absent: str) -> T:
        if self._away:
            raise LinkMissing(self._away)
        try:
            return call()
        except NoSuchModel as e:
            raise LinkMissing(absent) from e
        except ModelRegistryError as e:
            self._away = f"MLflow does not say: {e}"
            raise LinkMissing(self._away) from e


class Sources:
    """All sources, for one question. datasets: the bucket in `store` that holds the dataset manifests."""

    def __init__(
        self,
        store: S3ObjectStore,
        datasets: str,
        raw: RawImages,
        labels: LabelStore,
        releases: PublishedReleases,
        registry: ModelRegistry,
        fleet: DeviceReports,
    ) -> None:
        self._store = store
        self._datasets = datasets
        self._releases = releases
        self.raw = raw
        self.labels = labels
        self.registry = Registry(registry)
        self.fleet = fleet

    def release(self, digest: str) -> Release:
        """Return a published release.

        Raises:
            LinkMissing: no such release is published, or it cannot be read.
        """
        try:
            found = self._releases.release(digest)
        except PublishedReleasesError as e:
            raise LinkMissing(str(e)) from e
        if found is None:
            raise LinkMissing("no such release is published")
        return found

    @property
    def signatures(self) -> str:
        """Whether the signatures of the releases were checked, in words.

        Raises:
            LinkMissing: the release repository is damaged or does not verify.
        """
        try:
            return self._releases.signatures
        except PublishedReleasesError as e:
            raise LinkMissing(str(e)) from e

    def releases_of(self, model: str, number: int) -> list[str]:
        """Return the digests of the releases of a model version.

        Raises:
            LinkMissing: the release repository or a release is damaged, or the repository does not verify.
        """
        try:
            return [digest for digest, of in self._released if of == (model, number)]
        except PublishedReleasesError as e:
            raise LinkMissing(str(e)) from e

    def manifest(self, digest: str) -> Manifest:
        """Return the manifest of a dataset.

        Raises:
            LinkMissing: there is no such dataset, or its manifest cannot be read.
        """
        try:
            return load_manifest(self._store, self._datasets, digest)
        except ObjectNotFound as e:
            raise LinkMissing("there is no such dataset") from e
        except (ManifestError, DocumentError, ValueError) as e:
            raise LinkMissing(str(e)) from e

    def datasets_starting_with(self, prefix: str) -> list[str]:
        """Return the digests of the datasets that start with a prefix."""
        return list(manifest_digests(self._store, self._datasets, prefix))

    def releases_starting_with(self, prefix: str) -> list[str]:
        """Return the digests of the published releases that start with a prefix.

        Raises:
            LinkMissing: the release repository is damaged or does not verify.
        """
        try:
            return [digest for digest in self._releases.digests if digest.startswith(prefix)]
        except PublishedReleasesError as e:
            raise LinkMissing(str(e)) from e

    def datasets_with(self, sha256: str) -> Iterator[HeldImage]:
        """Yield each dataset that holds an image. All manifests are fetched; a damaged one is logged and skipped."""

        def fetch(digest: str) -> tuple[str, tuple[Manifest, ManifestCounts] | None]:
            try:
                return digest, find_in_manifest(self._store.get(self._datasets, manifest_key(digest)), digest, sha256)
            except ManifestError as e:
                _log.warning("dataset %s is passed over: %s", digest, e)
                return digest, None

        digests = manifest_digests(self._store, self._datasets)
        for digest, found in read_ahead(fetch, digests, at_most=_MANIFESTS_AT_ONCE, threads=_MANIFESTS_AT_ONCE):
            if found is not None:
                manifest, counts = found
                facts = dataset_facts(manifest, counts, self.label_version(digest))
                yield HeldImage(digest, manifest.use_case, manifest.images[0], facts)

    def label_version(self, dataset: str) -> int | None:
        """Return the label store's version that a dataset was made from, or None where this store does not know it."""
        return self._made_from.get(dataset)

    def devices_with(self, release: str) -> Iterator[tuple[Reported, bool]]:
        """Yield the devices that report a release, with True where a device runs it and False where it is pending."""
        for report in self._reports:
            if report.running_release == release:
                yield report, True
            elif report.pending_release == release:
                yield report, False

    @cached_property
    def _released(self) -> list[tuple[str, tuple[str, int]]]:
        found = ((digest, self._releases.release(digest)) for digest in self._releases.digests)
        return [(digest, (release.use_case, release.version)) for digest, release in found if release]

    @cached_property
    def _made_from(self) -> dict[str, int]:
        mark = self.labels.mark()
        return versions_of_datasets(self._store, self._datasets, mark.table_id) if mark.table_id else {}

    @cached_property
    def _reports(self) -> list[Reported]:
        return sorted(self.fleet.reports(), key=lambda report: report.device)


def device_facts(report: Reported) -> Facts:
    """Return what a device reports of itself."""
    return {
        "group": report.group,
        "state": report.state,
        "reason": report.reason,
        "reported": f"{report.reported_at:%Y-%m-%d %H:%M:%S} UTC",
    }


def release_facts(release: Release, signatures: str) -> Facts:
    """Return what a release says, and whether its signatures were checked."""
    return {
        "signatures": signatures,
        "models": ", ".join(f"{model.precision} {model.sha256}" for model in release.models),
        "approved by": release.approval.by,
        "approved at": f"{release.approval.at:%Y-%m-%d %H:%M:%S} UTC",
        "evaluation": release.evaluation_digest,
    }


def version_facts(version: ModelVersion) -> Facts:
    """Return what the registry says of a version. The registry's server stamps who approved it."""
    tags = version.tags
    return {
        "approval": version.approval or "none",
        "approved by": tags.get("approval_by"),
        "approved at": tags.get("approval_at"),
        "reason": tags.get("approval_reason"),
        "registered by": tags.get("registered_by"),
        "aliases": ", ".join(sorted(version.aliases)),
        "model": tags.get("model_sha256"),
        "evaluation": tags.get("evaluation_digest"),
        "pipeline run": tags.get("pipeline_run"),
    }


def run_facts(run: RunInfo) -> Facts:
    """Return what went into a training run, and what the gate said."""
    return {
        "status": run.status.lower(),
        "ended": f"{run.ended_at:%Y-%m-%d %H:%M:%S} UTC" if run.ended_at else None,
        "gate": run.tags.get("gate", "not judged"),
        "failed checks": run.tags.get("gate_failures"),
        "code digest": run.tags.get("code_digest"),
        "code revision": run.tags.get("code_revision"),
    }


def dataset_facts(manifest: Manifest, counts: ManifestCounts, label_version: int | None) -> Facts:
    """Return the counts of a dataset, and what it was made from."""
    splits = ", ".join(f"{split} {count}" for split, count in counts.images.items())
    return {
        "use case": manifest.use_case,
        "images": f"{sum(counts.images.values())} ({splits})",
        "parts": counts.parts,
        "boxes": counts.boxes,
        "classes": ", ".join(manifest.classes),
        "split seed": manifest.split_seed,
        "label version": label_version,
    }
