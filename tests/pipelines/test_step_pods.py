"""What an installation gives to the pods of steps: sizes and a queue, from its settings."""

import pytest
import yaml

from components.settings import Settings, SettingsError
from components.training.on_this_machine import processors
from components.use_case import Resources
from pipelines.compile import FOLDER, PIPELINES
from pipelines.connection import Kubeflow
from pipelines.step_pods import QUEUE_LABEL, SIZES, PodSize, StepPods, size_of, tasks_of, with_step_pods
from pipelines.training_pod import with_resources

TRAINING = (FOLDER / "training.yaml").read_text(encoding="utf-8")


def pods(**environment):
    return StepPods.from_settings(Settings.from_environment(environment))


def resources(text):
    """Step -> (request and limit of cpu, request and limit of memory)."""
    specification, _ = yaml.safe_load_all(text)
    found = {}
    for name, executor in specification["deploymentSpec"]["executors"].items():
        said = executor["container"]["resources"]
        found[name.removeprefix("exec-")] = PodSize(
            (said["resourceCpuRequest"], said["resourceCpuLimit"]),
            (said["resourceMemoryRequest"], said["resourceMemoryLimit"]),
        )
    return found


@pytest.mark.parametrize("name", PIPELINES)
def test_without_settings_the_compiled_text_is_sent_as_it_is(name):
    """No byte changes, so that the version of the pipeline is the same everywhere."""
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert with_step_pods(text, pods()) == text
    assert resources(text) == {step: SIZES[size_of(step)] for step in resources(text)}


def test_each_size_comes_from_its_setting_and_the_others_stay():
    """A namespace with a small quota takes what its administrator sets."""
    given = pods(KIZU_STEPS_SMALL="cpu=50m/500m memory=128Mi/512Mi", KIZU_STEPS_TRAINING="cpu=1/2 memory=3Gi/4Gi")
    found = resources(with_step_pods(TRAINING, given))
    assert found["apply-gate"] == found["register-model"] == PodSize(("50m", "500m"), ("128Mi", "512Mi"))
    assert found["train-detector"] == PodSize(("1", "2"), ("3Gi", "4Gi"))
    assert found["evaluate-model"] == SIZES["large"]


def test_what_a_use_case_asks_for_goes_before_the_setting_and_what_it_leaves_open_comes_from_it():
    """A use case with memory alone gets the processors of the installation."""
    given = pods(KIZU_STEPS_TRAINING="cpu=1/2 memory=3Gi/4Gi")
    text = with_resources(with_step_pods(TRAINING, given), Resources(memory="8Gi"), given.sizes["training"])
    assert resources(text)["train-detector"] == PodSize(("1", "2"), ("8Gi", "8Gi"))


def test_a_queue_is_a_label_of_every_pod():
    """Kueue finds its LocalQueue on each step; the other labels stay."""
    _, platform = yaml.safe_load_all(with_step_pods(TRAINING, pods(KIZU_KUEUE_QUEUE="vision")))
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {executor["podMetadata"]["labels"][QUEUE_LABEL] for executor in executors.values()} == {"vision"}
    assert {executor["podMetadata"]["labels"]["kizu-pipeline"] for executor in executors.values()} == {"training"}
    assert QUEUE_LABEL not in TRAINING


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("KIZU_STEPS_SMALL", "100m", "cpu=100m/1 memory=256Mi/2Gi"),
        ("KIZU_STEPS_LARGE", "cpu=1/2 memory=8Gi/512Mi", "memory that is within its limit, but got 8Gi/512Mi"),
        ("KIZU_STEPS_TRAINING", "cpu=4/500m memory=1Gi/2Gi", "cpu that is within its limit, but got 4/500m"),
        ("KIZU_KUEUE_QUEUE", "Not a name", "LocalQueue"),
    ],
)
def test_a_setting_of_the_wrong_form_is_refused_with_what_was_expected(name, value, said):
    """Nothing is sent to a cluster that would be refused there minutes later."""
    with pytest.raises(SettingsError, match=said):
        pods(**{name: value})


def test_the_reconcilers_runs_get_the_same():
    """Its settings name Kubeflow Pipelines, and the queue."""
    environment = {"KIZU_KFP_ENDPOINT": "http://kfp", "KIZU_KUEUE_QUEUE": "vision"}
    assert Kubeflow.from_settings(Settings.from_environment(environment)).pods.queue == "vision"


@pytest.mark.parametrize("name", PIPELINES)
def test_a_lost_pod_is_started_again_however_long_it_ran(name):
    """Argo starts no pod again after `backoffMaxDuration`, which kfp sets to an hour where nothing else is said.

    It counts from the start of the first pod: a training of two hours whose node is lost would end there.
    """
    specification, platform = yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    deadline = platform["platforms"]["kubernetes"]["pipelineConfig"]["activeDeadlineSeconds"]
    for executor in specification["deploymentSpec"]["executors"]:
        (task,) = tasks_of(specification, executor)
        policy = task["retryPolicy"]
        assert policy["maxRetryCount"] == 2
        assert int(policy["backoffDuration"].removesuffix("s")) > 0
        assert policy["backoffFactor"] > 1
        assert int(policy["backoffMaxDuration"].removesuffix("s")) >= deadline


@pytest.mark.parametrize(
    ("written", "expected"), [("max 100000", 16), ("400000 100000", 4), ("150000 100000", 2), ("50000 100000", 1)]
)
def test_a_training_takes_no_more_threads_than_its_container_may_use(tmp_path, written, expected):
    """A container sees all processors of its node; the kernel's file says how many it may use."""
    limit = tmp_path / "cpu.max"
    limit.write_text(f"{written}\n")
    assert processors(16, limit) == expected
    assert processors(1, limit) == 1
    assert processors(16, tmp_path / "absent") == 16
