"""`kizu agent status`, `pause`, `resume`, `stop`: look at the rollout of the agent's software, and take it in hand."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kizu.commands.agent import agent_app
from kizu.commands.rollouts import ByOption, ReasonOption
from kizu.context import DEFAULT_USE_CASE, CommandError, UseCaseOption, console, settings_as, settings_as_operator
from kizu.context import use_case as read_use_case

if TYPE_CHECKING:
    from inspection.documents import DesiredState
    from inspection.rollout import SoftwarePlan

GroupOption = Annotated[
    str, typer.Option("--group", "-g", help="The group of devices; by default that of the use case.")
]


@agent_app.command()
def status(use_case: UseCaseOption = DEFAULT_USE_CASE, group: GroupOption = "") -> None:
    """Show how far the rollout of the agent's software has come, what it waits for, and how each device stands."""
    from components.stores.fleet.reports import FleetReports
    from components.stores.releases.signer_client import SignerClient
    from inspection.rollout import RolloutState
    from reconciler.software import judge_software
    from reconciler.stages import stage_name

    product = read_use_case(use_case)
    config, where = settings_as("reconciler", "signer"), group or product.rollout.group
    desired = _desired(SignerClient.from_settings(config), product.name, where)
    plan = _plan(desired)
    if plan is None:
        ordered = desired.agent is not None
        said = "software was ordered for devices by hand, see: kizu devices" if ordered else "no software was ordered"
        _say(f"{product.name}, group {where}, sequence {desired.sequence}: {said}")
        return
    reading = FleetReports.from_settings(config).reading()
    judgement = judge_software(where, desired, reading.reports, reading.unread, datetime.now(UTC))
    _say(_head(desired, plan, where))
    for index, stage in enumerate(plan.stages):
        none_open = plan.state is RolloutState.WAITING
        is_open = index == plan.open_stage and not none_open
        mark = "open" if is_open else ("done" if index < plan.open_stage else "waits")
        _say(f"  {mark:>5}  {stage_name(stage)}")
    for device in judgement.progress.devices:
        _say(f"  {device.device}: {device.outcome}{f': {device.reason}' if device.reason else ''}")
    _say(f"next: {judgement.act}: {judgement.why}")


@agent_app.command()
def pause(
    use_case: UseCaseOption = DEFAULT_USE_CASE, group: GroupOption = "", reason: ReasonOption = "", by: ByOption = ""
) -> None:
    """Open no further wave until `kizu agent resume`."""
    _step(use_case, group, "pause", reason, by)


@agent_app.command()
def resume(
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    group: GroupOption = "",
    reason: ReasonOption = "",
    by: ByOption = "",
    open_next: Annotated[
        bool, typer.Option("--open-next", help="Open the next wave at once, whatever the open one still lacks.")
    ] = False,
) -> None:
    """Go on with a paused rollout, or answer its question with yes."""
    _step(use_case, group, "advance" if open_next else "resume", reason, by)


@agent_app.command()
def stop(
    use_case: UseCaseOption = DEFAULT_USE_CASE, group: GroupOption = "", reason: ReasonOption = "", by: ByOption = ""
) -> None:
    """Stop the rollout: all devices are asked to run the software that was ordered for all before.

    Where none was, devices that have the new software keep it, and no other device takes it.
    """
    _step(use_case, group, "stop", reason, by)


def _step(path: Any, group: str, step: str, reason: str, by: str) -> None:
    from components.stores.releases.signer_client import SignerClient

    product = read_use_case(path)
    signer, where = SignerClient.from_settings(settings_as_operator()), group or product.rollout.group
    desired = _desired(signer, product.name, where)
    signer.rollout_agent(
        product.name, where, desired.sequence, step, by=by or getpass.getuser(), reason=reason or "by hand"
    )
    after = _desired(signer, product.name, where)
    plan = _plan(after)
    assert plan is not None, "the signer takes a step of a plan"
    _say(_head(after, plan, where))


def _desired(signer: Any, use_case: str, group: str) -> DesiredState:
    found: DesiredState | None = signer.desired(use_case, group)
    if found is None:
        raise CommandError(f"nothing was released for {use_case} in group {group} yet; run: kizu deploy")
    return found


def _plan(desired: DesiredState) -> SoftwarePlan | None:
    return desired.agent.rollout if desired.agent is not None else None


def _head(desired: DesiredState, plan: SoftwarePlan, group: str) -> str:
    by = f" by {plan.by}" if plan.by else ""
    reason = f": {plan.reason}" if plan.reason else ""
    return (
        f"agent {plan.version} ({plan.release_digest[:12]}) for {desired.use_case}, group {group}, sequence "
        f"{desired.sequence}: {plan.state}{by}{reason}"
    )


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
