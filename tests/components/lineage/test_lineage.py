"""From a device to the people who drew a label, and back: on real servers, with the auditor's rights."""

from __future__ import annotations

import json
import uuid

import pytest

from components.lineage.graph import Kind, Lineage, Relation
from components.lineage.question import NothingKnown, trace
from components.lineage.text import to_text
from components.stores.labels.store import boxes_digest
from inspection.image import sha256_of
from tests.components.lineage.lineage_world import SCRATCH, WIDER, LineageWorld, remove_releases


class Factory(LineageWorld):
    """Three labelled images, a dataset, two trainings of which one was registered and released, a device."""

    def __init__(self, *servers) -> None:
        super().__init__(*servers)
        self.pictures = [self.picture() for _ in range(3)]
        people = [("7", "8"), ("7", "9"), ("10", "8")]
        self.approved = [self.approve(p, people=who) for p, who in zip(self.pictures, people, strict=True)]
        self.dataset = self.freeze(self.pictures)
        self.failed_run = self.train(self.dataset, gate="failed")
        self.version = self.register(self.dataset)
        self.run = self.version.run_id
        self.digest = self.release(self.version)
        self.report(self.digest)
        self.name = f"{self.version.name}/{self.version.version}"


@pytest.fixture(scope="module")
def factory(s3, mlflow, tmp_path_factory) -> Factory:
    remove_releases(s3)
    return Factory(s3, mlflow, tmp_path_factory.mktemp("keys"))


@pytest.fixture
def ask(factory, mlflow):
    """The auditor asks."""

    def act(asked: str, **more) -> Lineage:
        with mlflow.acting_as("auditor"):
            return trace(factory.sources(), asked, **more)

    return act


def names(lineage: Lineage, kind: Kind) -> set[str]:
    return {node.name for node in lineage.nodes if node.kind is kind}


def links(lineage: Lineage) -> set[tuple[str, str, str, str]]:
    return {(edge.source, str(edge.relation), edge.target, edge.note) for edge in lineage.edges}


def node(lineage: Lineage, kind: Kind, name: str):
    (found,) = (node for node in lineage.nodes if (node.kind, node.name) == (kind, name))
    return found


def test_from_a_device_to_the_people_who_drew_and_verified_the_labels(factory, ask):
    """Each link by its digest; who approved and when; the labels in counts."""
    found = ask(factory.device)
    assert found.asked == f"device:{factory.device}"
    assert links(found) == {
        (f"device:{factory.device}", "runs", f"release:{factory.digest}", ""),
        (f"release:{factory.digest}", "release of", f"version:{factory.name}", ""),
        (f"version:{factory.name}", "registered from", f"run:{factory.run}", ""),
        (f"run:{factory.run}", "trained on", f"dataset:{factory.dataset}", ""),
        (f"dataset:{factory.dataset}", "holds", f"labels:{factory.dataset}", "3 images"),
        (f"labels:{factory.dataset}", "drawn by", "person:7", "2 images"),
        (f"labels:{factory.dataset}", "drawn by", "person:10", "1 image"),
        (f"labels:{factory.dataset}", "verified by", "person:8", "2 images"),
        (f"labels:{factory.dataset}", "verified by", "person:9", "1 image"),
    }
    assert found.missing == ()
    facts = node(found, Kind.VERSION, factory.name).facts
    assert (facts["approval"], facts["approved by"], facts["registered by"]) == ("approved", "approver", "trainer")
    assert facts["approved at"].startswith("20")
    assert node(found, Kind.RELEASE, factory.digest).facts["approved by"] == "approver"
    assert node(found, Kind.RUN, factory.run).facts["code digest"] == "c0de"
    assert node(found, Kind.DATASET, factory.dataset).facts["images"] == "3 (train 1, val 1, test 1)"


def test_from_an_image_to_what_learned_from_it_and_the_devices_that_run_that(factory, ask):
    """From an image, the chain reaches its label and people, its split, and all that learned from it.

    That is trainings, versions, releases and devices.
    """
    picture, approved = factory.pictures[1], factory.approved[1]
    found = ask(picture.sha256)
    label = f"label:{approved.event_id}"
    assert {
        (label, "labels", f"frame:{picture.sha256}", ""),
        (label, "drawn by", "person:7", ""),
        (label, "verified by", "person:9", ""),
        (f"dataset:{factory.dataset}", "holds", label, "val"),
        (f"run:{factory.run}", "trained on", f"dataset:{factory.dataset}", ""),
        (f"run:{factory.failed_run}", "trained on", f"dataset:{factory.dataset}", ""),
        (f"version:{factory.name}", "registered from", f"run:{factory.run}", ""),
        (f"release:{factory.digest}", "release of", f"version:{factory.name}", ""),
        (f"device:{factory.device}", "runs", f"release:{factory.digest}", ""),
    } <= links(found)
    assert node(found, Kind.RUN, factory.failed_run).facts["gate"] == "failed"
    facts = node(found, Kind.LABEL, approved.event_id).facts
    assert facts["boxes digest"] == boxes_digest([SCRATCH])
    assert facts["project, task, annotation"] == "3, 14"
    frame = node(found, Kind.FRAME, picture.sha256)
    assert frame.facts["at"] == picture.uri
    assert f"by {factory.device}, camera top: initial" in frame.facts["capture 1"]
    assert factory.pictures[0].sha256 not in str(links(found)), "other images are not its lineage"


def test_an_image_that_a_release_judged_leads_to_that_release(factory, ask):
    """An image without a label is found by its digest in the bucket's listing, or by its own address."""
    picture = factory.picture(judged_by=factory.digest, part="p-17")
    for asked in (picture.sha256, picture.uri):
        found = ask(asked)
        assert (f"frame:{picture.sha256}", "judged by", f"release:{factory.digest}", "") in links(found)
        assert "person:9" in {edge.target for edge in found.edges}
        assert "uncertain, part p-17" in node(found, Kind.FRAME, picture.sha256).facts["capture 1"]
        assert found.missing == ()


@pytest.mark.parametrize("start", ["release", "version", "run", "dataset"])
def test_wherever_one_begins_the_chain_is_the_same(factory, ask, start):
    """The chain is the same from each document, asked for by a whole digest or by its first characters."""
    asked = {
        "release": factory.digest[:12], "version": factory.name, "run": factory.run, "dataset": factory.dataset[:12],
    }[start]  # fmt: skip
    found = ask(asked)
    device = (f"device:{factory.device}", "runs", f"release:{factory.digest}", "")
    whole = links(ask(factory.device))
    assert links(found) == whole | ({device} if start != "dataset" else links(found))
    assert whole <= links(found)


def test_each_label_of_a_dataset_is_listed_where_one_asks(factory, ask):
    """With `list_labels`, each label of a dataset is listed with its image and split, in place of the counts."""
    found = ask(factory.dataset, list_labels=True)
    assert names(found, Kind.LABELS) == set()
    assert names(found, Kind.LABEL) == {event.event_id for event in factory.approved}
    assert names(found, Kind.FRAME) == {picture.sha256 for picture in factory.pictures}
    held = {(edge.target, edge.note) for edge in found.edges if edge.relation is Relation.HOLDS}
    assert held == {
        (f"label:{event.event_id}", split)
        for event, split in zip(factory.approved, ("train", "val", "test"), strict=True)
    }


def test_a_dataset_leads_to_the_label_that_it_was_made_from_and_not_to_a_later_one(factory, ask):
    """Boxes tell; where two labels have the same, the version of the label store does."""
    picture = factory.picture()
    first = factory.approve(picture)
    other = factory.approve(picture, (WIDER,), ("11", "12"))
    before = factory.freeze([picture], (WIDER,))
    again = factory.approve(picture, people=("13", "14"))
    after = factory.freeze([picture])
    found = ask(picture.sha256)
    held = {(e.source, e.target) for e in found.edges if e.relation is Relation.HOLDS}
    assert held == {
        (f"dataset:{before}", f"label:{other.event_id}"),
        (f"dataset:{after}", f"label:{again.event_id}"),
    }
    assert f"label:{first.event_id}" in {n.id for n in found.nodes}, "its history is shown all the same"


def test_boxes_that_no_label_has_are_said(factory, ask):
    """The dataset holds the image with other boxes than anybody approved."""
    picture = factory.picture()
    approved = factory.approve(picture)
    dataset = factory.freeze([picture], (WIDER,))
    link = (f"dataset:{dataset}", "holds", f"label:{approved.event_id}", "train, but with other boxes")
    assert link in links(ask(picture.sha256))
    assert link in links(ask(dataset, list_labels=True))


def test_a_release_that_nobody_published_is_a_missing_link(factory, ask):
    """The device says it, and that is all there is; what a killed publication left behind is no release."""
    digest = sha256_of(uuid.uuid4().bytes)
    device = factory.report(digest, pending=factory.digest, device=f"line-{uuid.uuid4().hex[:8]}")
    factory.store("signer").put("kizu-releases", f"targets/releases/{digest}/{digest}.release.json", b"{}")
    found = ask(device)
    (missing,) = found.missing
    assert missing.missing == f"reported by the device {device}, but no such release is published"
    assert (f"device:{device}", "will run", f"release:{factory.digest}", "") in links(found)
    assert "1 link(s) missing:" in to_text(found)


def test_signatures_of_releases_are_verified_with_the_trusted_root(factory, ask):
    """The lineage of a release says that its signatures were verified."""
    assert node(ask(factory.digest), Kind.RELEASE, factory.digest).facts["signatures"] == "verified"


def test_without_a_trusted_root_the_lineage_says_that_no_signature_was_verified(factory, mlflow):
    """The release is shown all the same, with a fact that says why its signatures were not verified."""
    with mlflow.acting_as("auditor"):
        found = trace(factory.sources(signed=False), factory.digest)
    said = node(found, Kind.RELEASE, factory.digest).facts["signatures"]
    assert said == "not verified: no trusted root was given"


def test_tampered_targets_are_told(factory, ask):
    """Targets that the signer did not sign make every release a missing link, whether or not their digests fit."""
    store = factory.store("signer")
    keys = [info.key for info in store.list("kizu-releases", "metadata/")]
    key = max((k for k in keys if k.endswith(".targets.json")), key=lambda k: int(k.split("/")[1].split(".")[0]))
    number = key.split("/")[1].split(".")[0]
    before = {k: store.get("kizu-releases", k) for k in keys}
    snapshot_key = max(
        (k for k in keys if k.endswith(".snapshot.json")), key=lambda k: int(k.split("/")[1].split(".")[0])
    )
    targets, snapshot, timestamp = (json.loads(before[k]) for k in (key, snapshot_key, "metadata/timestamp.json"))
    assert snapshot["signed"]["meta"]["targets.json"]["version"] == int(number)
    try:
        targets["signed"]["targets"].pop(f"releases/{factory.digest}/release.json")
        store.put("kizu-releases", key, tampered := json.dumps(targets).encode())
        (missing,) = ask(factory.device).missing
        assert "the release repository in kizu-releases does not verify with the trusted root" in missing.missing
        # The forger who writes all metadata anew makes the digests fit, but has no key.
        snapshot["signed"]["meta"]["targets.json"] |= {
            "length": len(tampered),
            "hashes": {"sha256": sha256_of(tampered)},
        }
        store.put("kizu-releases", snapshot_key, forged := json.dumps(snapshot).encode())
        timestamp["signed"]["meta"]["snapshot.json"] |= {"length": len(forged), "hashes": {"sha256": sha256_of(forged)}}
        store.put("kizu-releases", "metadata/timestamp.json", json.dumps(timestamp).encode())
        (missing,) = ask(factory.device).missing
        assert "the release repository in kizu-releases does not verify with the trusted root" in missing.missing
        # What needs no release is traced all the same; who asks for a release is told why it is not found.
        assert node(ask(factory.dataset), Kind.DATASET, factory.dataset)
        assert node(ask(factory.pictures[0].sha256), Kind.FRAME, factory.pictures[0].sha256)
        with pytest.raises(NothingKnown, match="could not be read: the release repository in kizu-releases does not"):
            ask(factory.digest)
    finally:
        for name, data in before.items():
            store.put("kizu-releases", name, data)


def test_a_version_that_is_not_there_is_a_missing_link_and_the_chain_goes_on_by_what_was_signed(factory, ask):
    """A missing version is a missing link, and the chain continues, because the signed release names the run."""
    digest = factory.release_of_unknown(factory.digest)
    found = ask(digest)
    (missing,) = found.missing
    assert missing.id == f"version:{factory.use_case.name}/77"
    assert missing.missing == f"named by release {digest[:12]}, but MLflow has no such version"
    assert (missing.id, "registered from", f"run:{factory.run}", "") in links(found)
    assert "person:7" in {edge.target for edge in found.edges}


def test_a_dataset_that_is_gone_or_was_changed_is_a_missing_link(factory, ask):
    """A dataset that is gone, or whose bytes do not match its name, is a missing link."""
    gone = factory.train(sha256_of(uuid.uuid4().bytes))
    (missing,) = ask(gone).missing
    assert missing.missing == f"named by run {gone}, but there is no such dataset"
    changed = factory.freeze([factory.picture()])
    factory.store("training").put("kizu-datasets", f"manifests/{changed}.json", b"{}")
    (missing,) = ask(factory.train(changed)).missing
    assert "has other bytes than its name says" in missing.missing
    with pytest.raises(NothingKnown, match="has other bytes"):
        ask(changed)


def test_labels_that_the_store_does_not_know_are_missing_links(factory, ask):
    """A dataset of another label store, and one with an image that nobody approved."""
    stranger = factory.freeze([factory.picture()], record=False)
    (missing,) = ask(stranger).missing
    assert "not recorded which version" in missing.missing
    picture = factory.picture()
    unlabelled = factory.freeze([picture])
    (missing,) = ask(unlabelled).missing
    assert missing.missing.startswith("1 of 1 images have no approved label at label version")
    for found in (ask(unlabelled, list_labels=True), ask(picture.sha256)):
        (missing,) = found.missing
        assert missing.missing.startswith("there is no approved label of this image at label version")


def test_an_image_whose_bytes_are_gone_is_a_missing_link(factory, ask):
    """An image whose bytes are gone is a missing link; its label still says where it was."""
    picture = factory.picture()
    elsewhere = type(picture)(sha256_of(uuid.uuid4().bytes), picture.uri, picture.device)
    factory.approve(elsewhere)
    (missing,) = ask(elsewhere.sha256).missing
    assert missing.missing == "the image itself is not in the raw bucket"
    assert missing.facts["at"] == picture.uri


def test_without_mlflow_the_chain_ends_where_mlflow_begins(factory, monkeypatch):
    """What S3 has is shown; MLflow is asked once, not for each link."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    found = trace(factory.sources("http://127.0.0.1:9"), factory.device)
    missing = {node.kind for node in found.missing}
    assert missing == {Kind.VERSION, Kind.RUN}
    assert all("MLflow does not say" in node.missing for node in found.missing)
    assert node(found, Kind.RELEASE, factory.digest).facts["approved by"] == "approver"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("line-nobody", "nothing is known of 'line-nobody'"),
        ("0" * 64, "nothing is known of"),
        ("0" * 32, "MLflow has no such run"),
        ("s3://kizu-raw/x.png", "expected the address of an image"),
        (f"s3://kizu-raw/s/d/2025/01/01/{'0' * 64}.png", "there is no image at"),
        ("x" * 500, "nothing is known of"),
    ],
)
def test_what_nobody_knows_is_said_with_what_was_expected(ask, asked, said):
    """An unknown name raises an error that says what was expected, and no lineage is made up."""
    with pytest.raises(NothingKnown, match=said):
        ask(asked)


def test_a_version_that_there_never_was_is_a_missing_link(factory, ask):
    """A version that was asked for by name and never existed is a missing link."""
    (missing,) = ask(f"{factory.use_case.name}/99").missing
    assert missing.missing == "it was asked for, but MLflow has no such version"
