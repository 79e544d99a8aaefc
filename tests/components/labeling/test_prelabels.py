"""The champion's boxes before the labeler, through the real MLflow, Label Studio and onnxruntime."""

from __future__ import annotations

import logging

import pytest

from components.labeling import labeling_job
from components.labeling.prelabels import ChampionPrelabels, champion_thresholds, load_champion
from components.labeling.project_config import SHOWN_BOXES
from components.stores.models.registry import CHAMPION, ModelRegistry
from inspection.geometry import Box, LabelledBox
from tests.components.evaluation.brightness_detector import brightness_model
from tests.components.model_runs import evaluated_run

OTHER = [LabelledBox("dent", Box(50.0, 10.0, 20.0, 20.0))]


@pytest.fixture(autouse=True)
def account(stack):
    """To MLflow this process is the labeling step."""
    with stack.acting_as("labeling"):
        yield


def make_champion(world, onnx=None):
    """A version of the use case's model that is fully rolled out; its model sees one scratch in every picture."""
    registry = ModelRegistry.from_settings(world.settings)
    with world.stack.acting_as("training"):
        run_id = evaluated_run(registry, world.use_case, onnx=onnx or brightness_model())
        version = registry.create_version(world.use_case.name, run_id, {}, "")
    with world.stack.acting_as("reconciler"):
        registry.set_alias(version, CHAMPION)
    return version


def label(world, settings=None):
    """As the step does it."""
    settings = settings or world.settings
    prelabel = ChampionPrelabels(world.use_case, lambda: load_champion(settings, world.use_case.name), world.raw.fetch)
    with world.server() as server:
        return labeling_job.label(world.use_case, world.find(), server, world.labels, world.lease, prelabel)


def test_labelers_begin_with_the_champions_boxes_and_the_label_says_so(world):
    """The score and the version stay with the task; kept and changed boxes are counted apart."""
    version = make_champion(world)
    world.put_images(2)
    assert label(world).created == 2
    model = f"{world.use_case.name}/{version.version}"
    for task in world.labeling_tasks():
        by_version = {prediction["model_version"]: prediction for prediction in task["predictions"]}
        assert set(by_version) == {model, SHOWN_BOXES}
        (region,) = by_version[model]["result"]
        assert region["value"]["rectanglelabels"] == ["scratch"]
        assert 0.25 <= by_version[model]["score"] <= 1.0
        assert region["score"] == pytest.approx(by_version[model]["score"], abs=1e-4)
        assert by_version[SHOWN_BOXES]["result"] == by_version[model]["result"]
    # what Label Studio's own queue gives a labeler to begin with
    served = world.labeler.http.get(f"/api/projects/{world.project('labeling')}/next").raise_for_status().json()
    assert [prediction["model_version"] for prediction in served["predictions"]] == [SHOWN_BOXES]

    first, second = world.labeling_tasks()
    world.labeler.submit(first["id"], first["predictions"][0]["result"])
    world.labeler.draw(second["id"], OTHER)
    result = label(world)
    assert (result.labelled, result.suggested_kept, result.suggested_changed) == (2, 1, 1)
    assert {event.prelabel_model for event in world.events("labelled")} == {model}
    world.verify()
    world.approve_everything()
    world.verify()
    assert {event.prelabel_model for event in world.events("approved")} == {model}


def test_a_rejected_image_shows_the_former_boxes_and_not_the_models(world):
    """The model's boxes stay on record; the new label did not begin with them."""
    make_champion(world)
    world.put_images(1)
    label(world)
    world.label_everything(OTHER)
    world.verify()
    world.reject_everything()
    world.verify()
    (task,) = world.labeling_tasks()
    shown = [prediction for prediction in task["predictions"] if prediction["model_version"] == SHOWN_BOXES]
    assert [region["value"]["rectanglelabels"] for region in shown[0]["result"]] == [["dent"]]
    assert (len(shown), len(task["predictions"])) == (1, 2)
    world.labeler.draw(task["id"], OTHER)
    world.verify()
    assert [event.prelabel_model is None for event in world.events("labelled")] == [False, True]


def test_open_tasks_get_boxes_once_there_is_a_champion(world):
    """Open tasks get and keep the boxes of a new champion; a task that a person began is not touched."""
    world.put_images(2)
    assert label(world).created == 2
    assert [task["predictions"] for task in world.labeling_tasks()] == [[], []]
    begun, _ = world.labeling_tasks()
    world.labeler.draw(begun["id"], OTHER)
    make_champion(world)
    for _ in range(2):
        label(world)
        tasks = {task["id"]: len(task["predictions"]) for task in world.labeling_tasks()}
        assert sorted(tasks.values()) == [0, 2]
        assert tasks[begun["id"]] == 0


def test_labeling_goes_on_without_mlflow(world, caplog):
    """Without MLflow, tasks are made without boxes, and one clear line is logged."""
    world.put_images(1)
    away = world.settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    with caplog.at_level(logging.WARNING):
        assert label(world, away).created == 1
        assert champion_thresholds(away, world.use_case.name) == {}
    assert sum("no pre-labels in this run" in record.getMessage() for record in caplog.records) == 1
    assert label(world, world.settings.model_copy(update={"mlflow_tracking_uri": None})).open_tasks == 1


def test_a_model_that_cannot_be_run_is_said_and_passed_over(world, caplog):
    """Bytes that are no ONNX never stop people."""
    make_champion(world, onnx=b"not a model")
    world.put_images(1)
    with caplog.at_level(logging.WARNING):
        assert label(world).created == 1
    assert "onnxruntime cannot load the model" in caplog.text
    assert world.labeling_tasks()[0]["predictions"] == []


def test_the_champions_thresholds_order_the_images(world):
    """The champion's thresholds, by class, are those that evaluation chose; without a champion there are none."""
    assert champion_thresholds(world.settings, world.use_case.name) == {}
    make_champion(world)
    assert champion_thresholds(world.settings, world.use_case.name) == {"scratch": 0.5}


def test_a_class_that_the_use_case_gave_up_is_not_suggested(world):
    """A class that the use case no longer has is not suggested, although the champion still knows it."""
    make_champion(world)
    world.put_images(1)
    world.use_case = world.use_case.model_copy(update={"classes": ("dent",)})
    label(world)
    (task,) = world.labeling_tasks()
    assert [prediction["result"] for prediction in task["predictions"]] == [[], []]
