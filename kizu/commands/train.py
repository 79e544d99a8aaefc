"""`kizu train`: run the training pipeline on this machine, at once or only when a training is due."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from kizu.context import (
    DEFAULT_USE_CASE,
    CommandError,
    UseCaseOption,
    console,
    layout,
    require_servers_here,
    run_here,
    settings_here,
)
from kizu.context import use_case as read_use_case

app = typer.Typer()


@app.command()
def train(
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    label_version: Annotated[
        int, typer.Option(help="Train on the labels as of this version of the label store; -1: the latest.")
    ] = -1,
    force: Annotated[
        bool, typer.Option("--force", help="Train again even if the same inputs were trained already.")
    ] = False,
    if_due: Annotated[
        bool,
        typer.Option(
            "--if-due",
            help="Train only when enough labels are new, or the last training is too old, by the use case's "
            "`retraining`. At most one of several concurrent calls trains.",
        ),
    ] = False,
    evaluate: Annotated[
        int | None,
        typer.Option(
            metavar="VERSION",
            min=1,
            help="Train nothing: evaluate this registered version again, beside the champion of now, and measure its "
            "latency again.",
        ),
    ] = None,
) -> None:
    """Run the training pipeline: dataset, training, evaluation, gate, registration."""
    from deploy.access.identities import allow_approvers

    if evaluate is not None and (if_due or force or label_version >= 0):
        raise CommandError("expected --evaluate alone: it trains nothing")
    if if_due and (force or label_version >= 0):
        raise CommandError("expected --if-due alone: it takes the latest labels, and never what was trained already")
    policy = read_use_case(use_case)
    require_servers_here("s3", "mlflow")
    allow_approvers(layout(), policy)
    if evaluate is not None:
        _evaluate(policy, evaluate)
        return
    outputs = _train_if_due(policy) if if_due else _run(policy, label_version, force=force)
    if outputs is None:
        return
    _show(outputs)
    if not outputs["passed"]:
        raise CommandError(f"the model did not pass its gate and is not registered: {outputs['failures']}")


def _evaluate(policy: Any, version: int) -> None:
    arguments = {"use_case": policy.to_json(), "version": version}
    outputs = run_here("evaluation", arguments, policy.name, identity="training")
    _show(outputs)
    if not outputs["passed"]:
        raise CommandError(
            f"{policy.name} version {version} does not pass its gate and cannot be approved: {outputs['failures']}"
        )


def _show(outputs: dict[str, Any]) -> None:
    for key, value in outputs.items():
        console.print(f"{key:>20}  {value}", highlight=False, markup=False)


def _run(policy: Any, label_version: int, *, force: bool = False, **more: Any) -> dict[str, Any]:
    arguments = {"use_case": policy.to_json(), "label_version": label_version, "force": force}
    return run_here("training", arguments, policy.name, **more)


def _train_if_due(policy: Any) -> dict[str, Any] | None:
    """Run a training if it is due. Returns its outputs, or None after printing why no run was started."""
    from components.stores.objects.claims import Claims, Refused, RunState
    from components.stores.objects.s3 import S3ObjectStore
    from kizu.reconciling import holder
    from pipelines.run_records import RunRecords, new_run_id
    from reconciler.follow_up import training_want
    from reconciler.starts import UnderClaim, take
    from reconciler.training_due import judge_due
    from reconciler.training_facts import training_facts

    # The run will be on this machine with the identity `training`, so the facts are read with the same identity.
    config = settings_here("training")
    facts = training_facts(config, policy.name)
    decision = judge_due(policy.retraining, facts, _now())
    if not decision.due:
        _say(f"not due: {decision.why}")
        return None
    want = training_want(policy.name, decision, facts.label_version)
    store, bucket = S3ObjectStore.from_settings(config), config.bucket("state")
    held = take(Claims(store, bucket), want, holder(), RunRecords(store, bucket, want.pipeline), _now())
    if isinstance(held, Refused):
        _say(f"due, but not started: {held.why} ({decision.why})")
        return None
    run_id, run = new_run_id(_now()), UnderClaim(held, _now)
    _say(f"due: {decision.why}; run {run_id} trains label version {facts.label_version}")
    held.renew(_now())
    try:
        outputs = _run(
            policy, facts.label_version, run_id=run_id, claim=held.name, on_start=lambda: run.started(run_id)
        )
    except (Exception, KeyboardInterrupt) as e:
        run.ended(RunState.FAILED, str(e).partition("\n")[0] or type(e).__name__)
        raise
    run.ended(RunState.SUCCEEDED, "")
    return outputs


def _now() -> datetime:
    return datetime.now(UTC)


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
