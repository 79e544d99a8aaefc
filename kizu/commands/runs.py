"""`kizu label`, `deploy` and `compile`: the pipelines on this machine. On a cluster: `kizu.commands.kubeflow`."""

from __future__ import annotations

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
        Path | None,
        typer.Option(help="The use case: its name, resources and detector, and the default of the parameter."),
    ] = None,
    as_resources: Annotated[
        bool,
        typer.Option(
            "--as-resources",
            help="With --use-case: write Pipeline and PipelineVersion, which a GitOps tool applies to the cluster.",
        ),
    ] = False,
) -> None:
    """Compile the pipelines to pipelines/compiled/, or for one use case and this installation to another folder.

    The files of a use case can be uploaded in the page of Kubeflow Pipelines: `kizu-training-metal-tag.yaml`.
    """
    from components.settings import settings
    from pipelines.compile import FOLDER, compile_all
    from pipelines.product import as_resources as resources_of
    from pipelines.product import name_for, text_for
    from pipelines.step_pods import StepPods

    if use_case is not None and output is None:
        raise CommandError("expected --output with --use-case: pipelines/compiled/ is the same for all use cases")
    if as_resources and use_case is None:
        raise CommandError("expected --use-case with --as-resources: a cluster has pipelines for each product")
    if use_case is None:
        for path in compile_all(output or FOLDER):
            console.print(str(path), highlight=False)
        return
    product, config = read_use_case(use_case), settings()
    pods, folder = StepPods.from_settings(config), Path(output or FOLDER)
    for path in compile_all(folder):
        made = path.with_name(f"{name_for(path.stem, product.name)}.yaml")
        text = text_for(path.read_text(encoding="utf-8"), path.stem, product, pods, config.image_registry)
        if as_resources:
            text = resources_of(text, config.kfp_namespace)
        path.unlink()
        made.write_text(text, encoding="utf-8")
        console.print(str(made), highlight=False)
