"""`kizu submit` and `schedule`: the pipelines on Kubeflow Pipelines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from kizu.context import DEFAULT_USE_CASE, CommandError, UseCaseOption, console
from kizu.context import use_case as read_use_case

app = typer.Typer()

EndpointOption = Annotated[
    str, typer.Option(envvar="KIZU_KFP_ENDPOINT", help="The API of Kubeflow Pipelines: http(s)://host:port.")
]
NamespaceOption = Annotated[
    str | None, typer.Option(help="The namespace of the pipelines. Default: KIZU_KFP_NAMESPACE, else kubeflow.")
]
RegistryOption = Annotated[
    str | None, typer.Option(help="The registry that the cluster pulls the images from. Default: KIZU_IMAGE_REGISTRY.")
]
CaFileOption = Annotated[
    Path | None, typer.Option(help="PEM file with the authority of its certificate. Default: KIZU_KFP_CA_FILE.")
]
TokenFileOption = Annotated[
    Path | None, typer.Option(help="A file with a bearer token for its login. Default: KIZU_KFP_TOKEN_FILE.")
]
QueueOption = Annotated[
    str | None, typer.Option("--queue", help="Kueue's LocalQueue for the steps. Default: KIZU_KUEUE_QUEUE.")
]


def _kubeflow(
    endpoint: str,
    namespace: str | None,
    registry: str | None,
    ca_file: Path | None,
    token_file: Path | None,
    queue: str | None,
) -> Any:
    """What the options say, and where they say nothing, the settings."""
    from components.settings import settings
    from pipelines.connection import Kubeflow

    said = {
        "kfp_endpoint": endpoint,
        "kfp_namespace": namespace,
        "image_registry": registry,
        "kfp_ca_file": str(ca_file) if ca_file else None,
        "kfp_token_file": str(token_file) if token_file else None,
        "kueue_queue": queue,
    }
    given = {name: value for name, value in said.items() if value is not None}
    return Kubeflow.from_settings(settings().model_copy(update=given))


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def submit(
    pipeline: Annotated[str, typer.Argument(help="labeling, training, evaluation or deployment")],
    endpoint: EndpointOption,
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    argument: Annotated[
        list[str] | None, typer.Option("--argument", "-a", help="NAME=VALUE; the value is JSON or text.")
    ] = None,
    namespace: NamespaceOption = None,
    registry: RegistryOption = None,
    ca_file: CaFileOption = None,
    token_file: TokenFileOption = None,
    queue: QueueOption = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="End when the run is started.")] = False,
) -> None:
    """Run a pipeline on Kubeflow Pipelines and follow it: each step, and at the end the outcome and the run's address.

    The pipeline is uploaded first, where its text is new. Ends with status 1 if the run does not succeed.
    """
    from pipelines.compile import FOLDER, PIPELINES
    from pipelines.connection import Api, SubmitError
    from pipelines.follow import follow, steps_in
    from pipelines.submit import submit as submit_run

    if pipeline not in PIPELINES:
        raise CommandError(f"expected one of {', '.join(PIPELINES)}, but got {pipeline!r}")
    compiled, product, arguments = FOLDER / f"{pipeline}.yaml", read_use_case(use_case), _arguments(argument or [])
    api = Api(_kubeflow(endpoint, namespace, registry, ca_file, token_file, queue))
    started = submit_run(api, compiled, product, arguments)
    _say(f"started run {started.run_id}: {started.address}")
    if no_wait:
        return
    try:
        outcome = follow(api, started.run_id, steps_in(compiled), _say)
    except SubmitError as e:
        raise CommandError(f"{e}. The run {started.run_id} goes on: {started.address}") from e
    if not outcome.succeeded:
        where = f" in {', '.join(outcome.failed_steps)}" if outcome.failed_steps else ""
        why = f": {outcome.why}" if outcome.why else ""
        raise CommandError(f"the run {outcome.said}{where}{why}. See {started.address}")
    _say(f"the run {outcome.said}: {started.address}")


@app.command()
def schedule(
    endpoint: EndpointOption,
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    time_zone: Annotated[
        str, typer.Option(help="The time zone of the cluster's recurring runs: CRON_SCHEDULE_TIMEZONE, if it is set.")
    ] = "UTC",
    remove: Annotated[bool, typer.Option("--remove", help="Remove the product's recurring runs.")] = False,
    namespace: NamespaceOption = None,
    registry: RegistryOption = None,
    ca_file: CaFileOption = None,
    token_file: TokenFileOption = None,
    queue: QueueOption = None,
) -> None:
    """Make, update or remove recurring runs on Kubeflow Pipelines, as the use case's `schedules` say.

    Use it where no reconciler keeps the schedules: both together start each run twice.
    """
    from pipelines.compile import FOLDER
    from pipelines.connection import Api
    from pipelines.schedules import ScheduleRefused, keep_schedules

    api = Api(_kubeflow(endpoint, namespace, registry, ca_file, token_file, queue))
    try:
        kept = keep_schedules(api, FOLDER, read_use_case(use_case), time_zone=time_zone, remove=remove)
    except ScheduleRefused as e:
        raise CommandError(str(e)) from e
    for one in kept:
        _say(f"{one.name}: {one.act}" + (f" ({one.cron} {time_zone})" if one.cron else ""))


def _arguments(items: list[str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator:
            raise CommandError(f"expected --argument NAME=VALUE, but got {item!r}")
        try:
            arguments[name] = json.loads(value)
        except ValueError:
            arguments[name] = value
    return arguments
