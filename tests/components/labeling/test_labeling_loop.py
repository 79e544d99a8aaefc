"""Images become verified labels, through the real Label Studio and SeaweedFS."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from datetime import UTC, datetime

import httpx
import pytest

from components.labeling import steps
from components.labeling.errors import BatchError, LabelStudioAway, LabelStudioError
from components.labeling.label_studio import LabelStudioServer
from components.labeling.project_config import APPROVE, REJECT
from components.labeling.tasks import NewTask
from components.labeling.unlabelled import load_batch, save_batch
from components.settings import settings
from components.stores.labels.store import LabelStatus
from components.use_case import parse_use_case
from demo.people import Labeler, Verifier
from inspection.geometry import Box, LabelledBox
from inspection.image import sha256_of

BOX = [LabelledBox("scratch", Box(10.0, 20.0, 30.5, 40.25))]
OTHER = [LabelledBox("dent", Box(50.0, 10.0, 20.0, 20.0))]


def close(left, right):
    """Boxes of the same classes within a millionth of a pixel, in any order."""
    key = [(box.class_name, box.box.xyxy) for box in sorted(left, key=lambda b: b.box.xyxy)]
    other = [(box.class_name, pytest.approx(box.box.xyxy, abs=1e-6)) for box in sorted(right, key=lambda b: b.box.xyxy)]
    return key == other


def test_images_become_approved_labels(world):
    """find -> label -> verify, and each row says who drew and who verified what."""
    images = world.put_images(6, parts=2)
    batch = world.find()
    assert {image.sha256 for image in batch.images} == set(images)
    assert {image.group for image in batch.images} == {"part-0", "part-1"}
    assert {(image.width, image.height, image.reason) for image in batch.images} == {(200, 100, "initial")}

    assert (made := world.label(batch)).created == 6
    assert (made.labelled, made.open_tasks) == (0, 6)
    world.label_everything()
    assert (world.label().labelled, world.verify().open_tasks) == (6, 6)
    world.approve_everything()
    result = world.verify()
    assert (result.approved, result.rejected, result.refused, result.open_tasks) == (6, 0, 0, 0)
    assert result.label_version == world.labels.version()

    approved = world.labels.latest_approved(world.use_case.name)
    assert set(approved) == set(images)
    for sha256, event in approved.items():
        assert close(event.boxes, world.truth[sha256])
        assert (event.annotator, event.verifier) == (world.labeler.user_id, world.verifier.user_id)
        assert (event.width, event.height, event.source) == (200, 100, "label-studio")
    assert world.find().images == ()


def test_running_again_adds_nothing(world):
    """A repeated run adds no tasks, no events and no version of the label store."""
    world.put_images(3)
    batch = world.find()
    for _ in range(2):
        world.label(batch)
        world.verify()
    world.label_everything()
    for _ in range(2):
        world.label(batch)
        world.verify()
    world.approve_everything()
    world.verify()
    before = (world.rows(), world.labels.version(), len(world.labeling_tasks()), len(world.verification_tasks()))
    assert before[2:] == (3, 3)
    assert world.label(batch).labelled == 0
    assert world.verify().approved == 0
    assert before == (
        world.rows(),
        world.labels.version(),
        len(world.labeling_tasks()),
        len(world.verification_tasks()),
    )


def test_a_picture_is_shown_through_a_presigned_url_of_the_public_endpoint(world):
    """The page redirects to a presigned URL, which gives the image's bytes to a client without rights of its own."""
    (sha256,) = world.put_images(1)
    world.label()
    (task,) = world.labeling_tasks()
    shown = world.labeler.http.get(f"/api/tasks/{task['id']}/").json()["data"]["image"]
    redirect = world.labeler.http.get(shown).headers["location"]
    assert redirect.startswith(world.settings.s3_public_endpoint or world.settings.s3_endpoint)
    picture = httpx.get(redirect)
    assert picture.status_code == 200
    assert sha256_of(picture.content) == sha256


def test_the_job_takes_no_more_than_its_share_and_the_newest_first(world):
    """Open tasks are capped; the next run tops up what was finished."""
    images = world.put_images(4, first_day=datetime(2026, 3, 1, 12, tzinfo=UTC))
    labeling = world.use_case.labeling
    by_day = labeling.priority.model_copy(update={"random_share": 0.0})  # chance would take places from the newest
    world.use_case = world.use_case.model_copy(
        update={"labeling": labeling.model_copy(update={"max_images_per_job": 2, "priority": by_day})}
    )
    world.label()
    assert {task["data"]["sha256"] for task in world.labeling_tasks()} == set(images[2:])
    world.label_everything()
    world.label()
    assert world.label().open_tasks == 2
    assert {task["data"]["sha256"] for task in world.labeling_tasks()} == set(images)


def test_a_skipped_image_never_becomes_a_label(world):
    """A cancelled annotation counts as no answer, even with boxes in it."""
    world.put_images(1)
    world.label()
    (task,) = world.labeling_tasks()
    world.labeler.draw(task["id"], BOX, was_cancelled=True)
    assert (world.label().labelled, world.verify().open_tasks) == (0, 0)
    assert world.events() == []
    assert world.label().open_tasks == 1


def test_nobody_verifies_their_own_boxes(world):
    """The verification is refused, written down and removed; another person's counts."""
    world.put_images(1)
    world.label()
    world.label_everything()
    world.verify()
    (task,) = world.verification_tasks()
    world.labeler.decide(task["id"], APPROVE)
    result = world.verify()
    assert (result.approved, result.refused, result.open_tasks) == (0, 1, 1)
    assert world.refusals.count(world.use_case.name) == 1
    assert world.events("approved") == []
    (task,) = world.verification_tasks()
    assert task["annotations"] == []
    world.approve_everything()
    assert world.verify().approved == 1


def test_who_changed_the_boxes_does_not_verify_them_either(world):
    """Label Studio keeps the first person as `completed_by`; the one who changed them last counts as well."""
    world.put_images(1)
    world.label()
    (task,) = world.labeling_tasks()
    annotation = world.labeler.draw(task["id"], BOX)
    world.verifier.redraw(annotation, OTHER)
    world.verify()
    world.approve_everything()
    result = world.verify()
    assert (result.approved, result.refused) == (0, 1)


def test_a_person_cannot_sign_with_anothers_name(world):
    """Label Studio takes `completed_by` from whoever writes; who really wrote is looked at too."""
    world.put_images(1)
    world.label()
    world.label_everything()
    world.verify()
    (task,) = world.verification_tasks()
    decision = [{"from_name": "decision", "to_name": "image", "type": "choices", "value": {"choices": [APPROVE]}}]
    world.labeler.submit(task["id"], decision, completed_by=int(world.verifier.user_id))
    result = world.verify()
    assert (result.approved, result.refused) == (0, 1)


def test_a_rejected_image_is_drawn_anew_and_verified_anew(world):
    """A rejected image returns to the labeler with the reason and the former boxes.

    The same boxes drawn again are verified again.
    """
    (sha256,) = world.put_images(1)
    world.label()
    world.label_everything(OTHER)
    world.verify()
    world.reject_everything("the dent is a shadow")
    result = world.verify()
    assert (result.approved, result.rejected, result.open_tasks) == (0, 1, 1)
    assert [event.reason for event in world.events("rejected")] == ["the dent is a shadow"]

    (task,) = world.labeling_tasks()
    assert task["annotations"] == []
    assert "the dent is a shadow" in task["data"]["note"]
    assert [region["value"]["rectanglelabels"] for region in task["predictions"][0]["result"]] == [["dent"]]
    assert [image.sha256 for image in world.find().images] == [sha256]
    assert world.label().created == 0

    world.labeler.draw(task["id"], OTHER)
    assert world.verify().open_tasks == 1
    world.approve_everything()
    assert world.verify().approved == 1
    assert close(world.labels.latest_approved(world.use_case.name)[sha256].boxes, OTHER)


def test_what_was_verified_is_what_is_used(world):
    """Boxes changed after the approval are a new label and a new verification; until then the approved ones hold."""
    (sha256,) = world.put_images(1)
    world.label()
    (task,) = world.labeling_tasks()
    annotation = world.labeler.draw(task["id"], BOX)
    world.verify()
    world.approve_everything()
    world.labeler.redraw(annotation, OTHER)
    result = world.verify()
    assert (result.approved, result.open_tasks) == (1, 1)
    assert close(world.labels.latest_approved(world.use_case.name)[sha256].boxes, BOX)
    assert len(world.events("labelled")) == 2
    world.approve_everything()
    world.verify()
    assert close(world.labels.latest_approved(world.use_case.name)[sha256].boxes, OTHER)


def test_boxes_changed_before_anybody_verified_them_are_asked_about_once(world):
    """The task with the former boxes is taken away."""
    world.put_images(1)
    world.label()
    (task,) = world.labeling_tasks()
    annotation = world.labeler.draw(task["id"], BOX)
    world.verify()
    world.labeler.redraw(annotation, OTHER)
    assert world.verify().open_tasks == 1
    (task,) = world.verification_tasks()
    assert [box["class"] for box in task["data"]["boxes"]] == ["dent"]


def test_a_verifier_who_thinks_again_takes_the_approval_back(world):
    """Approve changed to Reject: the image leaves the dataset and returns to the labeler."""
    (sha256,) = world.put_images(1)
    world.label()
    world.label_everything(BOX)
    world.verify()
    (task,) = world.verification_tasks()
    decision = world.verifier.decide(task["id"], APPROVE)
    world.verify()
    assert set(world.labels.latest_approved(world.use_case.name)) == {sha256}
    world.verifier.decide_again(decision, REJECT, "on a second look, two marks")
    assert world.verify().rejected == 1
    assert world.labels.latest_approved(world.use_case.name) == {}
    assert [image.sha256 for image in world.find().images] == [sha256]
    assert world.labeling_tasks()[0]["annotations"] == []


def test_tasks_deleted_by_hand_come_back(world):
    """The next run makes a deleted labeling task and a deleted verification task again."""
    world.put_images(2)
    world.label()
    first, second = world.labeling_tasks()
    world.labeler.delete(f"/api/tasks/{first['id']}/")
    assert world.label().created == 1
    world.label_everything()
    world.verify()
    world.verifier.delete(f"/api/tasks/{world.verification_tasks()[0]['id']}/")
    assert world.verify().open_tasks == 2
    world.approve_everything()
    assert world.verify().approved == 2
    world.verifier.delete(f"/api/tasks/{world.verification_tasks()[0]['id']}/")
    assert world.verify().open_tasks == 0
    assert second["id"] in {task["id"] for task in world.labeling_tasks()}


def test_a_verification_task_that_somebody_changed_is_made_again(world):
    """Boxes edited into the task's data never reach the label store."""
    world.put_images(1)
    world.label()
    world.label_everything(BOX)
    world.verify()
    (task,) = world.verification_tasks()
    changed = {**task["data"], "boxes": []}
    world.verifier.http.patch(f"/api/tasks/{task['id']}/", json={"data": changed}).raise_for_status()
    world.approve_everything()
    result = world.verify()
    assert (result.approved, result.refused, result.open_tasks) == (0, 1, 1)
    world.approve_everything()
    assert world.verify().approved == 1
    assert close(world.events("approved")[0].boxes, BOX)


def test_boxes_that_an_import_has_lost_are_shown_again(world):
    """A verifier never sees an image bare of the boxes that they are asked about."""
    world.put_images(3)
    world.label()
    world.label_everything()
    world.verify()
    before = world.verification_tasks()
    # the third image has no boxes and shows none, so one of the first two is what can lose some
    lost, *others = sorted(before, key=lambda task: not task["data"]["boxes"])
    assert [bool(task["data"]["boxes"]) for task in others] == [True, False]
    world.labeler.delete(f"/api/predictions/{lost['predictions'][0]['id']}/")
    assert world.verify().open_tasks == 3
    after = {task["id"]: task for task in world.verification_tasks()}
    assert set(after) == {task["id"] for task in before}
    (again,) = after[lost["id"]]["predictions"]
    assert again["result"] == lost["predictions"][0]["result"]
    assert after[lost["id"]]["data"] == lost["data"]
    assert [len(after[task["id"]]["predictions"]) for task in others] == [1] * len(others)
    world.approve_everything()
    assert world.verify().approved == 3


def test_objects_that_are_no_images_are_set_aside(world):
    """Zero bytes, text, a truncated and an overwritten picture: counted with a reason, and the rest goes on."""
    (good, overwritten) = world.put_images(2)
    bucket = world.settings.bucket("raw")
    by_sha = {image.sha256: image for image in world.raw.list_images()}
    key = by_sha[good].uri.removeprefix(f"s3://{bucket}/")
    data = world.store.get(bucket, key)
    bad = {"empty": b"", "not-an-image": b"%PDF-1.4 " + os.urandom(8), "truncated": data[:-40]}
    digests = {}
    for reason, content in bad.items():
        digest = sha256_of(content)
        digests[digest] = reason
        world.importer.put(bucket, key.replace(good, digest), content)
    liar = os.urandom(32).hex()
    digests[liar] = "bytes-do-not-match"
    world.importer.put(bucket, key.replace(good, liar), data)
    # the older version of an overwritten object is the one that counts
    world.importer.put(bucket, by_sha[overwritten].uri.removeprefix(f"s3://{bucket}/"), b"replaced")

    batch = world.find()
    assert {image.sha256 for image in batch.images} == {good, overwritten}
    set_aside = {item.sha256: item.reason for item in batch.set_aside if item.sha256 in digests}
    assert set_aside == digests
    assert world.label(batch).created == 2


def test_tasks_that_people_make_by_hand_are_left_alone(world):
    """Tasks that people make by hand are counted, and are neither used nor removed."""
    world.put_images(1)
    world.label()
    project = world.project("labeling")
    body = [{"data": {"image": "s3://kizu-raw/holiday.jpg", "note": ""}}]
    world.labeler.http.post(f"/api/projects/{project}/import", json=body).raise_for_status()
    result = world.label()
    assert (result.foreign_tasks, result.open_tasks) == (1, 1)
    assert len(world.labeling_tasks()) == 2


def test_twins_are_swept_and_work_is_kept(world):
    """Of two tasks for one image, the younger without work goes; one with work stays even where it is the younger."""
    world.put_images(2)
    world.label()
    first, second = world.labeling_tasks()
    project = world.project("labeling")
    with world.server() as server:
        server.create_tasks(project, [NewTask(task["data"]) for task in (first, second)])
    *_, young_first, young_second = world.labeling_tasks()
    world.labeler.draw(young_second["id"], BOX)
    world.label()
    assert {task["id"] for task in world.labeling_tasks()} == {first["id"], young_second["id"]}
    assert young_first["id"] not in {task["id"] for task in world.labeling_tasks()}


def test_a_use_case_that_changes_keeps_its_projects_in_step(world):
    """A new class and other instructions arrive; a project that a person renamed stays the same one."""
    world.put_images(1)
    world.label()
    project = world.project("labeling")
    world.labeler.http.patch(f"/api/projects/{project}/", json={"title": "our favourite project"}).raise_for_status()
    labeling = world.use_case.labeling.model_copy(update={"instructions": "Mark pits, too."})
    world.use_case = world.use_case.model_copy(update={"classes": ("scratch", "dent", "pit"), "labeling": labeling})
    world.label()
    assert world.project("labeling") == project
    now = world.labeler.http.get(f"/api/projects/{project}/").json()
    assert 'value="pit"' in now["label_config"]
    assert "Mark pits, too." in now["expert_instruction"]
    assert now["title"] == "our favourite project"


def test_a_task_list_of_several_pages_is_read_whole(world, monkeypatch):
    """A task list of several pages is read whole, also where its last page is full."""
    world.put_images(6)
    world.label()
    monkeypatch.setattr("components.labeling.label_studio._PAGE", 3)
    with world.server() as server:
        assert len(server.tasks(world.project("labeling"))) == 6


def test_label_studio_away_is_one_clear_error(world):
    """A server that does not answer, and a wrong token, each raise an error that says so."""
    server = LabelStudioServer("http://127.0.0.1:9", "x" * 40, world.server()._storage, retries=0)
    with pytest.raises(LabelStudioAway, match="is it running"), server:
        server.ensure_project(world.use_case, "labeling")
    with (
        LabelStudioServer(world.url, "x" * 40, world.server()._storage, retries=0) as server,
        pytest.raises(LabelStudioError, match="LABEL_STUDIO_API_KEY"),
    ):
        server.ensure_project(world.use_case, "labeling")


def test_a_batch_is_written_once_and_read_back(world):
    """A batch is written once and read back; a damaged or missing batch raises an error."""
    world.put_images(1)
    batch = world.find()
    bucket = world.settings.bucket("state")
    uri = save_batch(world.store, bucket, batch)
    assert save_batch(world.store, bucket, batch) == uri
    assert load_batch(world.store, uri) == batch
    world.store.put(bucket, uri.removeprefix(f"s3://{bucket}/"), b"{}")
    with pytest.raises(BatchError, match="find the images again"):
        load_batch(world.store, uri)
    with pytest.raises(BatchError):
        load_batch(world.store, f"s3://{bucket}/batches/none.json")


def test_the_stand_ins_bring_every_known_image_to_an_approved_label(world):
    """A forgotten box is rejected and drawn; an image that they know nothing of stays open and is counted."""
    known = world.put_images(5)
    (unknown,) = world.put_images(1)
    truth = {sha256: world.truth[sha256] for sha256 in known}
    name = world.use_case.name
    labeler = Labeler(world.url, world.tokens[0], truth, use_case=name, forgets=1.0, pause_s=0.2)
    verifier = Verifier(world.url, world.tokens[1], truth, use_case=name, pause_s=0.2)
    with labeler, verifier:
        assert world.label().created == 6
        give_up_at = time.monotonic() + 60
        runs = [world.verify(wait_s=2.0)]
        while sum(run.approved for run in runs) < 5:  # no run ends early, as the unknown image stays open
            assert time.monotonic() < give_up_at
            runs.append(world.verify(wait_s=2.0))
    assert runs[-1].open_tasks == 0
    assert runs[-1].open_labeling == 1
    assert sum(run.approved for run in runs) == 5
    marked = [sha256 for sha256 in known if truth[sha256]]  # each lacks a box on the first try; a good part has none
    assert len(marked) == 4
    assert sorted(event.sha256 for event in world.events("rejected")) == sorted(marked)
    assert sum(run.rejected for run in runs) == 4
    assert labeler.unknown_open == 1
    approved = world.labels.latest_approved(world.use_case.name)
    assert set(approved) == set(known)
    assert all(close(event.boxes, world.truth[sha256]) for sha256, event in approved.items())
    assert unknown not in approved


def _run_steps(environment: dict[str, str], use_case: str, batch_uri: str) -> None:
    os.environ.update(environment)
    chosen = parse_use_case(use_case)
    steps.label(settings(), chosen, batch_uri)
    steps.verify(settings(), chosen, 0)


def start_run(world, environment, batch_uri):
    """A labeling run in a process of its own, as a pipeline's is."""
    run = multiprocessing.get_context("spawn").Process(
        target=_run_steps, args=(environment, world.use_case.to_json(), batch_uri)
    )
    run.start()
    return run


def test_two_runs_at_once_make_one_task_an_image(world, stack):
    """Three concurrent runs make one task for each image, and one event for each label."""
    world.put_images(12)
    uri = save_batch(world.store, world.settings.bucket("state"), world.find())
    environment = stack.environment("labeling")
    for after in (world.label_everything, world.approve_everything, lambda: None):
        runs = [start_run(world, environment, uri) for _ in range(3)]
        for run in runs:
            run.join(120)
        assert [run.exitcode for run in runs] == [0, 0, 0]
        after()
        keys = [task["data"]["sha256"] for task in world.labeling_tasks()]
        assert len(keys) == len(set(keys)) == 12
    keys = [task["data"]["key"] for task in world.verification_tasks()]
    assert len(keys) == len(set(keys)) == 12
    ids = [event.event_id for event in world.events()]
    assert len(ids) == len(set(ids)) == 24


def test_a_run_killed_anywhere_and_run_again_ends_the_same(world, stack):
    """kill -9 at several moments; then one whole run: one task an image, each image once labelled and once approved."""
    images = world.put_images(8)
    uri = save_batch(world.store, world.settings.bucket("state"), world.find())
    environment = stack.environment("labeling")
    for delay in (2.0, 2.6, 3.2):
        run = start_run(world, environment, uri)
        time.sleep(delay)
        os.kill(run.pid, signal.SIGKILL)
        run.join()
        if world_has_project(world):
            world.label_everything()
        if world_has_project(world, "verification"):
            world.approve_everything()
    for _ in range(3):
        run = start_run(world, environment, uri)
        run.join(200)
        assert run.exitcode == 0
        world.label_everything()
        if world_has_project(world, "verification"):
            world.approve_everything()
    person, other = world.labeler.user_id, world.verifier.user_id
    seen = [(event.sha256, str(event.status), event.annotator, event.verifier) for event in world.events()]
    wanted = {(sha256, "labelled", person, None) for sha256 in images}
    wanted |= {(sha256, "approved", person, other) for sha256 in images}
    assert sorted(seen, key=str) == sorted(wanted, key=str)
    assert len(world.labeling_tasks()) == len(world.verification_tasks()) == 8


def world_has_project(world, role="labeling"):
    with world.server() as server:
        return server.find_project(world.use_case, role) is not None


def test_the_components_run_as_a_pipeline_runs_them(world, stack, monkeypatch):
    """The bodies of the kfp components, with the settings of the environment."""
    from components.labeling import component

    for name, value in stack.environment("labeling").items():
        monkeypatch.setenv(name, value)
    (sha256,) = world.put_images(1, first_day=datetime.now(UTC))
    text = world.use_case.to_json()
    found = component.find_unlabelled.python_func(use_case=text)
    assert found.count >= 1
    batch = load_batch(world.store, found.batch_uri)
    own = batch.__class__(use_case=batch.use_case, images=tuple(i for i in batch.images if i.sha256 == sha256))
    uri = save_batch(world.store, world.settings.bucket("state"), own)
    assert component.label.python_func(use_case=text, batch_uri=uri).open_tasks == 1
    world.label_everything()
    assert component.label.python_func(use_case=text, batch_uri=uri).labelled == 1
    assert component.verify.python_func(use_case=text, wait_s=0, labelled=1)[:5] == (1, 0, 0, 0, 1)
    world.approve_everything()
    done = component.verify.python_func(use_case=text, wait_s=5)
    assert (done.approved, done.rejected, done.open_tasks) == (1, 0, 0)
    assert done.label_version == world.labels.version()
    assert json.loads(text)["name"] == world.use_case.name
    assert world.events(LabelStatus.APPROVED)[0].sha256 == sha256
