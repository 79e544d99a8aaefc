"""`kizu agent publish`, `order`, `list`, `prune`: the software of the devices' agents."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from kizu.context import DEFAULT_USE_CASE, CommandError, UseCaseOption, console, settings_as, settings_as_operator
from kizu.context import use_case as read_use_case

if TYPE_CHECKING:
    from components.use_case import UseCase
    from inspection.agent_release import AgentRelease

agent_app = typer.Typer(no_args_is_help=True, help="The software of the devices' agents: publish it, order it.")

_SHORTEST = 6


@agent_app.command()
def publish(
    folder: Annotated[Path, typer.Argument(help="The folder that `make agent-wheels` filled.")],
    image: Annotated[
        str, typer.Option("--image", help="sha256:… of the container image of the same version, for containers.")
    ] = "",
) -> None:
    """Have a version of the agent's software signed and published. No device takes it before it is ordered."""
    from components.deployment.agent_wheels import read_wheels
    from components.stores.releases.signer_client import SignerClient

    found = read_wheels(folder, image)
    signer = SignerClient.from_settings(settings_as_operator())
    missing = signer.missing_wheels(found.release)
    wheels = {wheel.sha256: wheel for build in found.release.builds for wheel in build.wheels}
    for sha256 in sorted(missing):
        signer.upload_wheel(wheels[sha256], found.paths[sha256].read_bytes())
    digest = signer.publish_agent(found.release)
    sent = sum(wheels[sha256].bytes for sha256 in missing)
    _say(
        f"agent {found.release.version} is published as {digest[:12]} for {_kinds(found.release)}: {len(wheels)} "
        f"wheels, of which {len(missing)} are new ({sent:,} of {found.bytes:,} bytes); to have devices take it, run: "
        f"kizu agent order {digest[:12]} --devices …"
    )


@agent_app.command()
def order(
    digest: Annotated[str, typer.Argument(help="A published release of the agent; the first characters suffice.")],
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    group: Annotated[
        str, typer.Option("--group", "-g", help="The group of devices; by default that of the use case.")
    ] = "",
    devices: Annotated[
        list[str] | None,
        typer.Option("--devices", "-d", help="On these devices alone, separated by commas. The others wait."),
    ] = None,
    percent: Annotated[
        float | None,
        typer.Option("--percent", min=0.01, max=100.0, help="On this share of the group. The others wait."),
    ] = None,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="On all devices of the group at once, whatever the use case's waves.")
    ] = False,
    probation: Annotated[
        float, typer.Option("--probation", min=0.0, help="Seconds that it must run well before it is kept.")
    ] = 120.0,
    again: Annotated[bool, typer.Option("--again", help="Have devices that refused it try it once more.")] = False,
    downgrade: Annotated[bool, typer.Option("--downgrade", help="It may be older than what is ordered now.")] = False,
) -> None:
    """Have the devices of a group run this software: by the waves of the use case, which the reconciler opens.

    With `--devices`, `--percent` or `--at-once` nothing is opened later: you widen it yourself.
    """
    from components.stores.releases.signer_client import SignerClient

    product = read_use_case(use_case)
    signer = SignerClient.from_settings(settings_as_operator())
    release = _find(signer.agent_releases(), digest)
    names = [name for item in devices or () for name in item.replace(",", " ").split()]
    where = group or product.rollout.group
    if at_once and (names or percent is not None):
        raise CommandError("expected --at-once, or --devices and --percent, but got both")
    by_waves = not names and percent is None and not at_once
    state = signer.order_agent(
        product.name, where, release.digest, devices=names, percent=100.0 if percent is None else percent,
        probation_s=probation, again=again, downgrade=downgrade, waves=_waves(product) if by_waves else None,
        by=getpass.getuser() if by_waves else "",
    )  # fmt: skip
    what = f"agent {release.version} ({release.digest[:12]}) is ordered for"
    if by_waves:
        plan = state.agent.rollout if state.agent is not None else None
        waits = plan is not None and plan.state == "waiting"
        first = "waits for the rollout of a release" if waits else "is open"
        _say(
            f"{what} the group {where} in {len(product.rollout.to_stages())} wave(s), sequence {state.sequence}; the "
            f"first {first}, and the reconciler opens the others; see: kizu agent status"
        )
        return
    who = ", ".join(names) if names else f"{100.0 if percent is None else percent:g} % of the group {where}"
    _say(
        f"{what} {who}, sequence {state.sequence}; each device takes it after the release that it is taking now; see: "
        "kizu devices"
    )


def _waves(product: UseCase) -> dict[str, Any]:
    """The rollout policy of a use case, as the signer reads it."""
    from components.deployment.software_steps import SoftwareWaves

    rollout = product.rollout
    waves = SoftwareWaves(
        stages=rollout.to_software_stages(), windows=rollout.to_windows(), time_zone=rollout.time_zone
    )
    found: dict[str, Any] = json.loads(waves.to_json())
    return found


@agent_app.command()
def prune(
    keep: Annotated[int, typer.Option(min=1, help="Keep the wheels of so many newest versions.")] = 3,
    yes: Annotated[bool, typer.Option("--yes", help="Delete. Without it, only show what would go.")] = False,
) -> None:
    """Delete the wheels of old software that no device runs, holds or is asked to run. Each `agent.json` stays.

    Software that was pruned is ordered again after `kizu agent publish` of the same folder.
    """
    from components.stores.fleet.reports import FleetReports
    from components.stores.releases.signer_client import SignerClient

    config = settings_as_operator()
    reading = FleetReports.from_settings(config).reading()
    if reading.unread:
        names = "; ".join(f"{item.device} ({item.reason})" for item in reading.unread)
        raise CommandError(f"nothing is deleted, because what these devices run is not known: {names}")
    used = {digest for report in reading.reports if report.agent is not None for digest in report.agent.needed()}
    found = SignerClient.from_settings(config).prune_agents(used, keep, act=yes)
    for item in found:
        _say(f"agent {item['version']} ({item['digest'][:12]}): {item['bytes'] / 1e6:.1f} MB")
    total = sum(item["bytes"] for item in found) / 1e6
    done = "deleted" if yes else "would be deleted; to do it, add --yes"
    _say(f"{len(found)} releases of the agent, {total:.1f} MB: {done}" if found else "no software can go")


@agent_app.command("list")
def list_releases() -> None:
    """List the published releases of the agent, the newest version last."""
    from components.stores.releases.signer_client import SignerClient

    signer = SignerClient.from_settings(settings_as("reconciler"))
    table = Table(box=None)
    for column in ("release", "version", "for", "wheels", "image"):
        table.add_column(column)
    for release in signer.agent_releases():
        size = sum({wheel.sha256: wheel.bytes for build in release.builds for wheel in build.wheels}.values())
        table.add_row(
            release.digest[:12], release.version, _kinds(release), f"{size:,} bytes", release.image_digest[:19] or "-"
        )
    console.print(table)


def _find(releases: list[AgentRelease], digest: str) -> AgentRelease:
    found = [release for release in releases if release.digest.startswith(digest)]
    if len(digest) < _SHORTEST or len(found) != 1:
        known = ", ".join(f"{release.digest[:12]} (version {release.version})" for release in releases) or "none"
        raise CommandError(
            f"expected {_SHORTEST} or more characters of one published release of the agent, got {digest!r}; "
            f"published: {known}"
        )
    return found[0]


def _kinds(release: AgentRelease) -> str:
    return ", ".join(f"{build.python}-{build.machine}" for build in release.builds) or "containers"


def _say(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
