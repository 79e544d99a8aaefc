"""Recurring runs follow the use case's schedules; calling again changes nothing."""

import pytest

from components.use_case import load_use_case
from components.use_case.automation import Schedule, Schedules
from kizu.context import DEFAULT_USE_CASE
from pipelines.compile import FOLDER
from pipelines.connection import Api, Kubeflow
from pipelines.schedules import ScheduleRefused, keep_schedules, kubeflow_cron
from tests.pipelines.kubeflow import running

CASE = load_use_case(DEFAULT_USE_CASE)
NIGHTLY = Schedule(cron="30 2 * * *", time_zone="UTC")
NAME = "kizu-labeling-metal-tag"


@pytest.fixture
def kubeflow():
    with running() as server:
        yield server


def keep(server, schedules, *, case=CASE, **more):
    product = case.model_copy(update={"schedules": schedules})
    kept = keep_schedules(Api(Kubeflow(server.url, "team-a")), FOLDER, product, **{"time_zone": "UTC", **more})
    return {one.pipeline: one.act for one in kept}


def test_a_schedule_becomes_a_recurring_run_that_needs_no_input(kubeflow):
    """It has the product's version, the account of its pipeline, one run at a time, and catches nothing up."""
    assert keep(kubeflow, Schedules(labeling=NIGHTLY)) == {"labeling": "made", "training": "not scheduled"}
    (made,) = kubeflow.recurring
    (version,) = kubeflow.versions
    assert made["display_name"] == NAME
    assert made["trigger"] == {"cron_schedule": {"cron": "0 30 2 * * *"}}
    assert made["pipeline_version_reference"]["pipeline_version_id"] == version["pipeline_version_id"]
    assert (made["service_account"], made["mode"]) == ("kizu-labeling", "ENABLE")
    assert (made["max_concurrency"], made["no_catchup"]) == ("1", True)
    assert made["runtime_config"] == {"parameters": {}}


def test_calling_again_changes_nothing(kubeflow):
    """Neither a recurring run nor a version is made a second time."""
    keep(kubeflow, Schedules(labeling=NIGHTLY))
    before = list(kubeflow.calls)
    assert keep(kubeflow, Schedules(labeling=NIGHTLY))["labeling"] == "as it was"
    assert kubeflow.calls == before


@pytest.mark.parametrize("changed", ["time", "use case", "disabled"])
def test_what_changed_is_brought_up_to_date_without_a_moment_in_which_none_is_there(kubeflow, changed):
    """The new one is made before the old one is deleted."""
    keep(kubeflow, Schedules(labeling=NIGHTLY))
    (old,) = [made["recurring_run_id"] for made in kubeflow.recurring]
    later, case = NIGHTLY, CASE
    if changed == "time":
        later = Schedule(cron="0 3 * * *", time_zone="UTC")
    elif changed == "use case":
        case = CASE.model_copy(update={"description": "another"})
    else:
        kubeflow.recurring[0]["mode"] = "DISABLE"
    assert keep(kubeflow, Schedules(labeling=later), case=case)["labeling"] == "updated"
    (new,) = kubeflow.recurring
    assert new["recurring_run_id"] != old
    assert [path for path, _, _ in kubeflow.calls[-2:]] == ["/recurringruns", f"/recurringruns/{old}"]


def test_of_two_that_an_interrupted_call_left_one_stays(kubeflow):
    """The one that is right stays, and those of other names are not touched."""
    keep(kubeflow, Schedules(labeling=NIGHTLY))
    kubeflow.recurring.append({**kubeflow.recurring[0], "recurring_run_id": "j98"})
    kubeflow.recurring.append({**kubeflow.recurring[0], "recurring_run_id": "j99", "display_name": "another's"})
    keep(kubeflow, Schedules(labeling=NIGHTLY))
    assert sorted(made["display_name"] for made in kubeflow.recurring) == ["another's", NAME]


def test_a_schedule_that_is_gone_from_the_file_goes_from_the_cluster(kubeflow):
    """`--remove` takes those that are in the file too."""
    both = Schedules(labeling=NIGHTLY, training=NIGHTLY)
    keep(kubeflow, both)
    assert keep(kubeflow, Schedules(training=NIGHTLY)) == {"labeling": "removed", "training": "as it was"}
    assert keep(kubeflow, both, remove=True) == {"labeling": "not scheduled", "training": "removed"}
    assert kubeflow.recurring == []


def test_a_schedule_in_another_time_zone_is_refused_before_anything_changes(kubeflow):
    """Kubeflow Pipelines has one time zone: runs at another hour than the file says would be wrong in silence."""
    tokyo = Schedule(cron="0 6 * * MON-FRI", time_zone="Asia/Tokyo")
    with pytest.raises(ScheduleRefused, match="CRON_SCHEDULE_TIMEZONE=Asia/Tokyo"):
        keep(kubeflow, Schedules(labeling=NIGHTLY, training=tokyo))
    assert kubeflow.calls == []
    assert keep(kubeflow, Schedules(training=tokyo), time_zone="Asia/Tokyo")["training"] == "made"


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 6 * * MON-FRI", "0 0 6 * * MON-FRI"),
        ("*/15 8-17 * * 1-5", "0 */15 8-17 * * 1-5"),
        ("0 6 1,15 * 7", "0 0 6 1,15 * 0"),
        ("0 6 * * 5-7,2", "0 0 6 * * 5-6,0,2"),
        ("0 6 * JUL WED", "0 0 6 * JUL WED"),
    ],
)
def test_cron_is_told_in_the_form_of_kubeflow_pipelines(cron, expected):
    """Six fields, of which the first is the second; its Sunday is 0 alone."""
    assert kubeflow_cron(cron) == expected


@pytest.mark.parametrize("cron", ["0 6 L * *", "0 6 15W * *", "0 6 * * 5#2", "0 6 * * L5"])
def test_a_form_that_kubeflow_pipelines_does_not_know_is_refused(cron):
    """The reconciler knows them."""
    with pytest.raises(ScheduleRefused, match="reconciler"):
        kubeflow_cron(cron)
