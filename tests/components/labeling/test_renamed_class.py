"""A class gets another name while people work: rules over tasks, then the real Label Studio and SeaweedFS."""

from __future__ import annotations

import dataclasses

from components.labeling.project_config import REJECT
from components.stores.labels.renames import plan_renaming, rename
from components.use_case import UseCase
from inspection.geometry import Box, LabelledBox

BOX = [LabelledBox("scratch", Box(10.0, 20.0, 30.5, 40.25))]


def classes_of(events):
    return [[box.class_name for box in event.boxes] for event in events]


def renamed_world(world, **labeling):
    values = world.use_case.model_dump()
    values |= {"classes": ["hairline", "dent"], "labeling": {**values["labeling"], **labeling}}
    return dataclasses.replace(world, use_case=UseCase.model_validate(values))


def test_work_under_the_former_name_goes_on_under_the_new_one(world, caplog):
    """An approved image stays approved; one that waits is shown to the verifier with the new name; a rejection made
    before the change still returns to its labeler; and no task is made twice. Until the use case says which class the
    former one is, such drawings are left as they are."""
    approved, waiting, rejected, fresh = world.put_images(4)
    world.label()
    tasks = {task["data"]["sha256"]: task["id"] for task in world.labeling_tasks()}
    world.labeler.draw(tasks[approved], BOX)
    world.verify()
    world.approve_everything()
    world.verify()
    for sha256 in (waiting, rejected):
        world.labeler.draw(tasks[sha256], BOX)
    world.verify()
    (to_reject,) = [t["id"] for t in world.verification_tasks() if t["data"]["sha256"] == rejected]
    world.verifier.decide(to_reject, REJECT, "there are two")

    before = {task["id"] for task in world.verification_tasks()}
    unsaid = renamed_world(world)
    unsaid.label()
    assert (unsaid.verify().refused, {task["id"] for task in unsaid.verification_tasks()}) == (0, before)
    assert "kizu labels rename-class OLD NEW" in caplog.text
    after = renamed_world(world, former_classes={"scratch": "hairline"})
    list(
        rename(
            world.labels, world.use_case.name, plan_renaming(world.labels, world.use_case.name, "scratch", "hairline")
        )
    )
    for _ in range(2):
        after.label()
        result = after.verify()
        assert (result.refused, result.open_tasks) == (0, 2)
    shown = {t["data"]["sha256"]: t for t in after.verification_tasks() if not t["annotations"]}
    assert list(shown) == [waiting]
    assert shown[waiting]["predictions"][0]["result"][0]["value"]["rectanglelabels"] == ["hairline"]
    assert classes_of(world.labels.latest_approved(world.use_case.name).values()) == [["hairline"]]
    (returned,) = [t for t in after.labeling_tasks() if t["data"].get("note")]
    assert returned["data"]["sha256"] == rejected
    assert returned["predictions"][0]["result"][0]["value"]["rectanglelabels"] == ["hairline"]

    after.labeler.draw(returned["id"], BOX)  # a page that was open since before the change
    after.labeler.draw(tasks[fresh], [LabelledBox("hairline", BOX[0].box)])
    after.verify()
    after.approve_everything()
    assert after.verify().approved == 3
    found = world.labels.latest_approved(world.use_case.name)
    assert set(found) == {approved, waiting, rejected, fresh}
    assert classes_of(found.values()) == [["hairline"]] * 4
