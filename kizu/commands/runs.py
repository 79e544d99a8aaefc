"""`kizu label`, `deploy`, `compile` and `submit`: the pipelines, on this machine or on Kubeflow Pipelines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from kizu.context import DEFAULT_USE_CASE, CommandError, UseCaseOption, console, run_here
from kizu.context import use_case as read_use_case

app = typer.Typer()


class _OrderIfNoneIsNamed(TyperGroup):
    """`kizu deploy 7` means `kizu deploy order 7`, and `kizu deploy` alone orders the newest approved version."""

    default_command = "order"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)


deploy_app = typer.Typer(
    cls=_OrderIfNoneIsNamed,
    help="Order a release and take its rollout in hand. `kizu deploy VERSION` means `kizu deploy order VERSION`.",
)
app.add_typer(deploy_app, name="deploy")


def _show(outputs: dict[str, Any]) -> None:
    for key, value in outputs.items():
        console.print(f"{key:>20}  {value}", highlight=False, markup=False)


@app.command()
def label(
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    wait: Annotated[int, typer.Option(help="Seconds to wait for people; 0: collect what is finished, and end.")] = 0,
) -> None:
    """Run the labeling pipeline: create tasks for people, and put their approved labels into the label store."""
    product = read_use_case(use_case)
    _show(run_here("labeling", {"use_case": product.to_json(), "wait_s": wait}, product.name))


@deploy_app.command()
def order(
    version: Annotated[int, typer.Argument(help="The approved version; 0: the newest approved version.")] = 0,
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    again: Annotated[
        bool, typer.Option("--again", help="Order it anew: devices that refused the release try it once more.")
    ] = False,
    downgrade: Annotated[
        bool, typer.Option("--downgrade", help="Go back: the version may be older than the one that is desired now.")
    ] = False,
) -> None:
    """Run the deployment pipeline: the signer publishes the release and opens the first wave of its rollout."""
    product = read_use_case(use_case)
    arguments = {"use_case": product.to_json(), "version": version, "again": again, "downgrade": downgrade}
    _show(run_here("deployment", arguments, product.name))


@app.command("compile")
def compile_command(
    output: Annotated[Path | None, typer.Option(help="The output folder. Default: pipelines/compiled/")] = None,
    use_case: Annotated[
        Path | None, typer.Option(help="The use case whose `resources` and detector the training steps get.")
    ] = None,
) -> None:
    """Compile the pipelines to pipelines/compiled/, or for one use case and this installation to another folder."""
    from components.settings import settings
    from pipelines.compile import FOLDER, compile_all
    from pipelines.step_pods import StepPods, with_step_pods
    from pipelines.training_pod import for_use_case

    if use_case is not None and output is None:
        raise CommandError("expected --output with --use-case: pipelines/compiled/ is the same for all use cases")
    asks = read_use_case(use_case) if use_case is not None else None
    pods = StepPods.from_settings(settings()) if asks is not None else StepPods()
    for path in compile_all(output or FOLDER):
        if asks is not None:
            text = with_step_pods(path.read_text(encoding="utf-8"), pods)
            path.write_text(for_use_case(text, asks, pods.sizes["training"]), encoding="utf-8")
        console.print(str(path), highlight=False)


@app.command()
def submit(
    pipeline: Annotated[str, typer.Argument(help="labeling, training, evaluation or deployment")],
    endpoint: Annotated[str, typer.Option(envvar="KIZU_KFP_ENDPOINT", help="The Kubeflow Pipelines API.")],
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    argument: Annotated[
        list[str] | None, typer.Option("--argument", "-a", help="NAME=VALUE; the value is JSON or text.")
    ] = None,
    namespace: Annotated[str, typer.Option(help="The namespace of Kubeflow Pipelines.")] = "kubeflow",
    registry: Annotated[str | None, typer.Option(help="The registry that the cluster pulls the images from.")] = None,
) -> None:
    """Upload a compiled pipeline to Kubeflow Pipelines and start it."""
    from components.settings import settings
    from pipelines.compile import FOLDER, PIPELINES
    from pipelines.step_pods import StepPods
    from pipelines.submit import submit as submit_run

    if pipeline not in PIPELINES:
        raise CommandError(f"expected one of {', '.join(PIPELINES)}, but got {pipeline!r}")
    arguments: dict[str, Any] = {"use_case": read_use_case(use_case).to_json()}
    for item in argument or []:
        name, separator, value = item.partition("=")
        if not separator:
            raise CommandError(f"expected --argument NAME=VALUE, but got {item!r}")
        try:
            arguments[name] = json.loads(value)
        except ValueError:
            arguments[name] = value
    config = settings()
    run_id = submit_run(
        FOLDER / f"{pipeline}.yaml",
        arguments,
        endpoint=endpoint,
        namespace=namespace,
        experiment=read_use_case(use_case).name,
        registry=registry,
        use_case=read_use_case(use_case),
        pods=StepPods.from_settings(config),
        token=config.kfp_token.get_secret_value() if config.kfp_token else None,
        cookie=config.kfp_cookie.get_secret_value() if config.kfp_cookie else None,
    )
    console.print(f"started run {run_id}", highlight=False)
