"""`kizu labels …`, as processes against a real S3."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta

import cv2
import numpy as np
import pytest

from components.generated_parts.photographs import LineGenerator
from components.stores.labels.store import LabelEvent, LabelStatus, LabelStore
from components.stores.labels.versions import record_label_version
from components.stores.raw_images.images import RawImages
from inspection.documents import Capture, Reason
from inspection.geometry import Box, LabelledBox
from inspection.image import decode_image, sha256_of
from tests.components.stores.labels.label_events import event
from tests.kizu.command_line import assert_is_an_error_in_one_line, kizu


@pytest.fixture(scope="module")
def settings(s3):
    """Of the identity that labels: its rights are enough for all of this."""
    return s3.settings("labeling")


@pytest.fixture
def run(s3, tmp_path):
    return lambda *arguments: kizu("labels", *arguments, home=tmp_path / "home", **s3.environment("labeling"))


def test_the_store_is_compacted_and_vacuumed_and_the_versions_of_datasets_are_named(run, s3, settings):
    """The retention leaves what was in use until now."""
    labels, use_case = LabelStore.open(settings), f"u{uuid.uuid4().hex[:8]}"
    for number in range(3):
        labels.append([event(use_case, str(number))])
    mark = labels.mark()
    record_label_version(s3.store("training"), "kizu-datasets", use_case, "ab" * 32, mark)
    done = run("compact")
    assert done.returncode == 0, done.stderr
    assert "files became 1" in done.stdout
    assert run("version").stdout.strip() == str(labels.version()) == str(mark.version + 1)
    done = run("vacuum", "--dry-run", "--keep", "0")
    assert done.returncode == 0, done.stderr
    # Datasets of other tests keep other versions of the one table.
    found = re.search(r"0 files would go; versions kept besides the present one: ([0-9, ]+)", done.stdout)
    assert found, done.stdout
    assert {"0", str(mark.version)} <= set(found[1].split(", "))
    assert str(labels.version()) not in found[1].split(", ")
    assert len(labels.events(use_case=use_case, version=mark.version)) == 3
    assert_is_an_error_in_one_line(run("vacuum", "--keep", "4000"), "cannot open")


def test_a_version_is_told_by_time(run, settings):
    """A day without a zone is UTC; what is no time is said."""
    LabelStore.open(settings).append([event(f"u{uuid.uuid4().hex[:8]}", "1")])
    assert run("version", "--at", "2020-01-01").stdout.strip() == "-1"
    assert run("version", "--at", "2999-01-01T00:00:00+09:00").stdout.strip() == run("version").stdout.strip()
    assert_is_an_error_in_one_line(run("version", "--at", "yesterday"), "expected a time", "yesterday")


def test_a_look_counts_and_remembers(run, s3):
    """Each run counts the images without an approved label, also in full, and writes its memory to the state bucket."""
    for more in ((), ("--full",), ()):
        done = run("look", *more)
        assert done.returncode == 0, done.stderr
        assert "without an approved label for metal-tag" in done.stdout
    assert any(info.key == "looks/images/look.json" for info in s3.store("labeling").list("kizu-state", "looks/"))


@pytest.fixture
def product(tmp_path):
    """Writes the use case file of a product with a name of its own; returns the name and the file."""
    name = f"u{uuid.uuid4().hex[:8]}"

    def write(classes="[scratch]", labeling="instructions: x"):
        file = tmp_path / "product.yaml"
        file.write_text(
            f"name: {name}\nclasses: {classes}\nlabeling: {{{labeling}}}\n"
            "gates: {min_map50: 0.5, max_escape_rate: 0.5, max_overkill_rate: 0.5}\n"
        )
        return file

    return name, write


def test_a_class_is_renamed_after_a_look_at_the_counts(run, settings, product):
    """Without --yes only the counts are shown. A second run has nothing to do, and joining two classes is asked for."""
    name, write = product
    file = write("[hairline, dent]", "instructions: x, former_classes: {scratch: hairline}")
    labels, place = LabelStore.open(settings), Box(1.0, 2.0, 3.0, 4.0)
    images = [uuid.uuid4().hex * 2 for _ in range(3)]
    labels.append([
        event(name, str(number), sha256=sha256, boxes=(LabelledBox(named, place),))
        for number, (sha256, named) in enumerate(zip(images, ("scratch", "scratch", "dent"), strict=True))
    ])  # fmt: skip
    for arguments, said in (
        (("scratch", "scrach"), "expected a class of"),
        (("hairline", "dent"), "'hairline' is still a class"),
        (("hole", "dent"), "there are ['dent', 'scratch']"),
        (("scratch", "dent", "--yes"), "add --merge"),
    ):
        assert_is_an_error_in_one_line(run("rename-class", *arguments, "-u", file), said)
    done = run("rename-class", "scratch", "hairline", "-u", file)
    assert "2 boxes of scratch in 2 images become hairline (2 approved)" in done.stdout, done.stderr
    assert "add: --yes" in done.stdout
    assert len(labels.events(use_case=name)) == 3
    assert "2 labels are renamed" in run("rename-class", "scratch", "hairline", "--yes", "-u", file).stdout
    assert "nothing to rename" in run("rename-class", "scratch", "hairline", "--yes", "-u", file).stdout
    file = write("[dent]")
    done = run("rename-class", "hairline", "dent", "--merge", "--yes", "-u", file)
    assert "joined with 1 images that have boxes of dent" in done.stdout, done.stderr
    assert "write labeling.former_classes: {hairline: dent} into" in done.stdout
    assert {box.class_name for e in labels.latest_approved(name).values() for box in e.boxes} == {"dent"}


def test_images_are_reopened_and_those_set_aside_are_listed(run, settings, product):
    """By address or by the beginning of the sha256, once; what is no image with a label is an error."""
    name, write = product
    file = write()
    labels, good, blurred = LabelStore.open(settings), uuid.uuid4().hex * 2, uuid.uuid4().hex * 2
    labels.append([
        event(name, "1", sha256=good),
        event(name, "2", sha256=blurred, status=LabelStatus.UNUSABLE, reason="blurred or dark"),
    ])  # fmt: skip
    listed = run("aside", "-u", file)
    assert (listed.returncode, "1 images are set aside" in listed.stdout) == (0, True), listed.stderr
    assert f"{blurred}  2025-04-01  blurred or dark" in listed.stdout
    done = run("reopen", good[:12], f"s3://kizu-raw/a/b/2025/04/01/{blurred}.jpg", "--reason", "a hair?", "-u", file)
    assert "2 images are reopened" in done.stdout, done.stderr
    assert labels.latest_approved(name) == {}
    assert {e.reason for e in labels.events(use_case=name) if e.status is LabelStatus.REOPENED} == {"a hair?"}
    assert "0 images are reopened; 1 are with people already" in run("reopen", good, "-u", file).stdout
    assert_is_an_error_in_one_line(run("reopen", "ffff", "-u", file), "'ffff' names 0")
    assert_is_an_error_in_one_line(run("reopen", "-u", file), "expected images, --suspects or --objections")


def put(s3, data, reason=Reason.INITIAL, capture_id="1"):
    """The image of a device in the raw bucket; its address."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    capture = Capture(
        capture_id=capture_id, sha256=sha256_of(data), device="cam-7", camera="top", captured_at=at, reason=reason
    )
    return RawImages(s3.store("importer"), "kizu-raw").put(data, capture, site="plant").uri


def approved(name, data, address, boxes=()):
    height, width = decode_image(data).shape[:2]
    return LabelEvent(
        event_id=f"{name}-{sha256_of(data)}", use_case=name, image_uri=address, sha256=sha256_of(data), width=width,
        height=height, boxes=boxes, status=LabelStatus.APPROVED, at=datetime.now(UTC) - timedelta(minutes=5),
        group="p1", source="test",
    )  # fmt: skip


def test_suspected_label_errors_are_reopened_with_what_is_suspected(run, s3, settings, product):
    """Two photographs of one part with other boxes go back; a third with a label that agrees stays approved."""
    name, write = product
    file, labels = write(), LabelStore.open(settings)
    line = LineGenerator(seed=3)
    first, alone = line.part(1)[0].jpeg, line.part(5)[0].jpeg
    second = cv2.imencode(".jpg", cv2.convertScaleAbs(decode_image(first), alpha=1.05, beta=6))[1].tobytes()
    box = (LabelledBox("scratch", Box(16.0, 16.0, 16.0, 16.0)),)
    labels.append([
        approved(name, first, put(s3, first), box), approved(name, second, put(s3, second)),
        approved(name, alone, put(s3, alone), box),
    ])  # fmt: skip
    done = run("reopen", "--suspects", "-u", file)
    assert "2 images are reopened" in done.stdout, done.stdout + done.stderr
    found = [e for e in labels.events(use_case=name) if e.status is LabelStatus.REOPENED]
    assert {e.sha256 for e in found} == {sha256_of(first), sha256_of(second)}
    assert all("the two show the same" in e.reason for e in found)
    assert set(labels.latest_approved(name)) == {sha256_of(alone)}
    assert "0 images are reopened" in run("reopen", "--suspects", "-u", file).stdout


def test_approved_images_to_which_an_operator_objected_are_reopened(run, s3, settings, product):
    """Each objection counts once, and one that came before the approval was answered by it."""
    name, write = product
    file, labels = write(), LabelStore.open(settings)
    noise = np.random.default_rng()
    good, bad = (cv2.imencode(".png", noise.integers(0, 255, (24, 32, 3), np.uint8))[1].tobytes() for _ in range(2))
    labels.append([approved(name, data, put(s3, data)) for data in (good, bad)])
    put(s3, bad, Reason.OBJECTION, "2")
    done = run("reopen", "--objections", "-u", file)
    assert "1 images are reopened" in done.stdout, done.stdout + done.stderr
    assert set(labels.latest_approved(name)) == {sha256_of(good)}
    assert "0 images are reopened" in run("reopen", "--objections", "-u", file).stdout
