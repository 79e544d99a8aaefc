"""Recurring runs on Kubeflow Pipelines, as a use case's schedules say: made, brought up to date, and removed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import kfp_server_api

from components.use_case import UseCase
from pipelines.connection import Api
from pipelines.product import name_for
from pipelines.submit import Uploaded, experiment_of, reference_to, service_account, upload

SCHEDULED: Final = ("labeling", "training")
"""The pipelines that a use case may schedule."""

_MOST_AT_ONCE: Final = "1"
"""Runs of one recurring run at the same time. A late one waits."""


class ScheduleRefused(ValueError):
    """Kubeflow Pipelines cannot keep a schedule as the use case says it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of the recurring run of a pipeline. cron: in the form of Kubeflow Pipelines; empty where none is."""

    pipeline: str
    name: str
    act: str
    cron: str = ""


def keep_schedules(api: Api, folder: Path, use_case: UseCase, *, time_zone: str, remove: bool = False) -> list[Kept]:
    """Bring the recurring runs of a product up to date with its use case. Running it again changes nothing.

    Args:
        folder: of the compiled pipelines.
        time_zone: that of the cluster's schedules: `CRON_SCHEDULE_TIMEZONE` of `ml-pipeline-scheduledworkflow`.
        remove: remove all of them, whatever the use case says.

    Raises:
        ScheduleRefused: a schedule has another time zone, or a form that Kubeflow Pipelines does not know.
        SubmitError: the API does not answer or refuses.
    """
    wanted = {} if remove else _crons(use_case, time_zone)  # before anything is changed
    return [_keep(api, folder, use_case, pipeline, wanted.get(pipeline)) for pipeline in SCHEDULED]


def _crons(use_case: UseCase, time_zone: str) -> Mapping[str, str]:
    found = {}
    for pipeline in SCHEDULED:
        schedule = getattr(use_case.schedules, pipeline)
        if schedule is None:
            continue
        if schedule.time_zone != time_zone:
            raise ScheduleRefused(
                f"schedules.{pipeline} of {use_case.name} is in the time zone {schedule.time_zone}, but the recurring "
                f"runs of the cluster are in {time_zone}: Kubeflow Pipelines has one time zone for all of them. Set "
                f"CRON_SCHEDULE_TIMEZONE={schedule.time_zone} on its Deployment ml-pipeline-scheduledworkflow and give "
                f"--time-zone {schedule.time_zone}, or let the reconciler keep the schedule"
            )
        found[pipeline] = kubeflow_cron(schedule.cron)
    return found


def kubeflow_cron(cron: str) -> str:
    """The five fields of cron as the six of Kubeflow Pipelines, which begin with the second and have no Sunday 7.

    Raises:
        ScheduleRefused: it has a form that Kubeflow Pipelines does not know: `L`, `W` or `#`.
    """
    minute, hour, day, month, weekday = cron.split()
    if re.search(r"[LW]", day) or re.search(r"#|(?<![A-Z])L", weekday):
        raise ScheduleRefused(
            f"Kubeflow Pipelines knows no `L`, `W` or `#`, but the schedule is {cron!r}; let the reconciler keep it"
        )
    items = (re.sub(r"^([0-6])-7$", r"\1-6,0", re.sub(r"^7$", "0", item)) for item in weekday.split(","))
    return " ".join(("0", minute, hour, day, month, ",".join(items)))


def _keep(api: Api, folder: Path, use_case: UseCase, pipeline: str, cron: str | None) -> Kept:
    name, runs = name_for(pipeline, use_case.name), api.recurring_runs
    there = api.named(
        "list the recurring runs", runs.recurring_run_service_list_recurring_runs, "recurring_runs", name,
        namespace=api.at.namespace,
    )  # fmt: skip
    if cron is None:
        _delete(api, there)
        return Kept(pipeline, name, "removed" if there else "not scheduled")
    uploaded = upload(api, folder / f"{pipeline}.yaml", use_case)
    account = service_account(pipeline)
    same = [made for made in there if _is(made, uploaded, cron, account)]
    if not same:
        # First the new one: a call that is interrupted leaves two, which the next call mends, and never none.
        asked = kfp_server_api.V2beta1RecurringRun(
            display_name=name,
            description=f"{pipeline} of {use_case.name}, by kizu schedule",
            experiment_id=experiment_of(api, use_case.name),
            pipeline_version_reference=reference_to(uploaded),
            runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters={}),
            service_account=account,
            max_concurrency=_MOST_AT_ONCE,
            trigger=kfp_server_api.V2beta1Trigger(cron_schedule=kfp_server_api.V2beta1CronSchedule(cron=cron)),
            mode=kfp_server_api.RecurringRunMode.ENABLE,
            no_catchup=True,
        )
        api.ask(f"make the recurring run {name}", runs.recurring_run_service_create_recurring_run, asked)
    _delete(api, [made for made in there if made not in same[:1]])
    return Kept(pipeline, name, "as it was" if same else "updated" if there else "made", cron)


def _is(made: Any, uploaded: Uploaded, cron: str, account: str) -> bool:
    reference, trigger = made.pipeline_version_reference, made.trigger
    return (
        reference is not None
        and (reference.pipeline_id, reference.pipeline_version_id) == (uploaded.pipeline_id, uploaded.version_id)
        and trigger is not None
        and trigger.cron_schedule is not None
        and trigger.cron_schedule.cron == cron
        and made.service_account == account
        and str(made.mode) == kfp_server_api.RecurringRunMode.ENABLE
        and not (made.runtime_config and made.runtime_config.parameters)
    )


def _delete(api: Api, recurring: list[Any]) -> None:
    for made in recurring:
        api.ask(
            f"remove the recurring run {made.display_name}",
            api.recurring_runs.recurring_run_service_delete_recurring_run,
            made.recurring_run_id,
        )
