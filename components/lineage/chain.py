"""Walk a lineage down from a device to the people who drew a label, and up again. The walk only reads.

Something that should exist but does not becomes a node that says so, because an audit looks for chains with a missing
link.
"""

from __future__ import annotations

from components.lineage.frame import find_image, look
from components.lineage.graph import Kind, Lineage, LineageBuilder, Relation
from components.lineage.labels import add_each, add_held, add_label, add_summary, label_of
from components.lineage.sources import (
    HeldImage,
    LinkMissing,
    Sources,
    dataset_facts,
    device_facts,
    release_facts,
    run_facts,
    version_facts,
)
from components.stores.datasets.manifest import Manifest, count_manifest
from components.stores.labels.store import LabelEvent
from inspection.documents import Reported


class Chain:
    """Builds the lineage of one question. list_labels: list each label of a dataset, and not only the counts."""

    def __init__(self, sources: Sources, *, list_labels: bool = False) -> None:
        self._from = sources
        self._list_labels = list_labels
        self._out = LineageBuilder()

    def of_device(self, report: Reported) -> Lineage:
        """Return the releases that a device reports as running and as pending, and where they come from."""
        device = self._device(report)
        for digest, relation in (
            (report.running_release, Relation.RUNS),
            (report.pending_release, Relation.WILL_RUN),
        ):
            if digest:
                self._out.link(device, relation, self._release(digest, f"reported by the device {report.device}"))
        return self._out.build(device)

    def of_release(self, digest: str) -> Lineage:
        """Return where a release comes from, and which devices run it or will run it."""
        release = self._release(digest, "it was asked for")
        self._up_from_release(release, digest)
        return self._out.build(release)

    def of_version(self, model: str, number: int) -> Lineage:
        """Return where a model version comes from, and the releases and devices that it went to."""
        version = self._version(model, number, "it was asked for")
        self._up_from_version(version, model, number)
        return self._out.build(version)

    def of_run(self, run_id: str, use_case: str) -> Lineage:
        """Return the dataset and labels that a training run learned from, and what came from the run."""
        run = self._run(run_id, "it was asked for")
        self._up_from_run(run, run_id, use_case)
        return self._out.build(run)

    def of_dataset(self, digest: str, manifest: Manifest) -> Lineage:
        """Return the labels that a dataset holds, and what was trained on it."""
        dataset = self._dataset(digest, manifest)
        self._up_from_dataset(dataset, digest, manifest.use_case)
        return self._out.build(dataset)

    def of_frame(self, sha256: str, uri: str = "") -> Lineage | None:
        """Return which releases judged an image, who labelled it, and what learned from it.

        Args:
            sha256: of the image's bytes.
            uri: where the image is, if that is known. Where no label and no dataset names the place either, the whole
                raw bucket is listed.

        Returns:
            The lineage; None where no source knows the image.
        """
        events = self._from.labels.events(sha256=sha256)
        held = list(self._from.datasets_with(sha256))
        said = [uri, *(event.image_uri for event in events), *(found.image.uri for found in held)]
        places = list(dict.fromkeys(filter(None, said))) or find_image(self._from.raw, sha256)
        seen = look(self._from.raw, sha256, places)
        if not seen.uri and not events and not held:
            return None
        frame = self._out.add(
            Kind.FRAME,
            sha256,
            seen.facts(places),
            missing="" if seen.uri else "the image itself is not in the raw bucket",
        )
        for digest in seen.releases:
            self._out.link(frame, Relation.JUDGED_BY, self._release(digest, "named by a Capture of the image"))
        for event in events:
            self._out.link(add_label(self._out, event), Relation.LABELS, frame)
        for found in held:
            dataset = self._out.add(Kind.DATASET, found.dataset, found.facts)
            self._out.link(self._held(dataset, found, events), Relation.LABELS, frame)
            self._up_from_dataset(dataset, found.dataset, found.use_case)
        return self._out.build(frame)

    # From a thing to what it came from.

    def _device(self, report: Reported) -> str:
        return self._out.add(Kind.DEVICE, report.device, device_facts(report))

    def _release(self, digest: str, by: str) -> str:
        try:
            release = self._from.release(digest)
        except LinkMissing as e:
            return self._out.add(Kind.RELEASE, digest, missing=f"{by}, but {e}")
        node = self._out.add(Kind.RELEASE, digest, release_facts(release, self._from.signatures))
        said = f"named by release {digest[:12]}"
        version = self._version(release.use_case, release.version, said, run_id=release.training_run)
        self._out.link(node, Relation.RELEASE_OF, version)
        return node

    def _version(self, model: str, number: int, by: str, *, run_id: str = "") -> str:
        """Add a version. run_id: the run that a release names; it is followed where the registry lacks the version."""
        name = f"{model}/{number}"
        try:
            found = self._from.registry.version(model, number)
        except LinkMissing as e:
            node = self._out.add(Kind.VERSION, name, missing=f"{by}, but {e}")
        else:
            node, run_id = self._out.add(Kind.VERSION, name, version_facts(found)), found.run_id
        if run_id:
            self._out.link(node, Relation.REGISTERED_FROM, self._run(run_id, f"named by {name}"))
        return node

    def _run(self, run_id: str, by: str) -> str:
        try:
            found = self._from.registry.run(run_id)
        except LinkMissing as e:
            return self._out.add(Kind.RUN, run_id, missing=f"{by}, but {e}")
        node = self._out.add(Kind.RUN, run_id, run_facts(found))
        digest = found.tags.get("dataset_digest", "")
        try:
            dataset = self._dataset(digest, self._from.manifest(digest))
        except LinkMissing as e:
            dataset = self._out.add(
                Kind.DATASET, digest or f"of run {run_id}", missing=f"named by run {run_id}, but {e}"
            )
        self._out.link(node, Relation.TRAINED_ON, dataset)
        return node

    def _dataset(self, digest: str, manifest: Manifest) -> str:
        """Add a dataset with the labels that it holds, and return the id of its node."""
        version = self._from.label_version(digest)
        counts = count_manifest((image.split, image.group, len(image.boxes)) for image in manifest.images)
        node = self._out.add(Kind.DATASET, digest, dataset_facts(manifest, counts, version))
        if not self._out.has_edges_from(node):
            if version is None:
                said = "it is not recorded which version of this label store the dataset was made from"
                self._out.link(node, Relation.HOLDS, self._out.add(Kind.LABELS, digest, missing=said))
            else:
                add = add_each if self._list_labels else add_summary
                add(self._out, node, digest, manifest, self._from.labels, version)
        return node

    def _held(self, dataset: str, found: HeldImage, events: list[LabelEvent]) -> str:
        """Add the label that a dataset holds of the image, and return the id of its node."""
        own = [event for event in events if event.use_case == found.use_case]
        version = self._from.label_version(found.dataset)
        label = label_of(
            found.image,
            own,
            lambda: own if version is None else self._from.labels.events(sha256=found.image.sha256, version=version),
        )
        return add_held(self._out, dataset, found.dataset, found.image, label, version)

    # From a thing to what came from it.

    def _up_from_dataset(self, dataset: str, digest: str, use_case: str) -> None:
        try:
            runs = self._from.registry.runs_on(digest, use_case)
        except LinkMissing as e:
            unknown = self._out.add(Kind.RUN, f"on {digest[:12]}", missing=f"whether anything was trained on it: {e}")
            self._out.link(unknown, Relation.TRAINED_ON, dataset)
            return
        for run in runs:
            node = self._out.add(Kind.RUN, run.run_id, run_facts(run))
            self._out.link(node, Relation.TRAINED_ON, dataset)
            self._up_from_run(node, run.run_id, use_case)

    def _up_from_run(self, run: str, run_id: str, use_case: str) -> None:
        try:
            versions = self._from.registry.versions_of_run(use_case, run_id)
        except LinkMissing as e:
            unknown = self._out.add(Kind.VERSION, f"of run {run_id}", missing=f"whether it was registered: {e}")
            self._out.link(unknown, Relation.REGISTERED_FROM, run)
            return
        for version in versions:
            node = self._out.add(Kind.VERSION, f"{version.name}/{version.version}", version_facts(version))
            self._out.link(node, Relation.REGISTERED_FROM, run)
            self._up_from_version(node, version.name, version.version)

    def _up_from_version(self, version: str, model: str, number: int) -> None:
        try:
            releases = {digest: self._from.release(digest) for digest in self._from.releases_of(model, number)}
        except LinkMissing as e:
            unknown = self._out.add(Kind.RELEASE, f"of {model}/{number}", missing=f"whether it was released: {e}")
            self._out.link(unknown, Relation.RELEASE_OF, version)
            return
        for digest, release in releases.items():
            node = self._out.add(Kind.RELEASE, digest, release_facts(release, self._from.signatures))
            self._out.link(node, Relation.RELEASE_OF, version)
            self._up_from_release(node, digest)

    def _up_from_release(self, release: str, digest: str) -> None:
        for report, runs in self._from.devices_with(digest):
            self._out.link(self._device(report), Relation.RUNS if runs else Relation.WILL_RUN, release)
