"""`kizu agent publish`, `order`, `list`: the software of the devices' agents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from kizu.context import DEFAULT_USE_CASE, CommandError, UseCaseOption, console, settings_as, settings_as_operator
from kizu.context import use_case as read_use_case

if TYPE_CHECKING:
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
        float, typer.Option("--percent", min=0.01, max=100.0, help="On this share of the group. The others wait.")
    ] = 100.0,
    probation: Annotated[
        float, typer.Option("--probation", min=0.0, help="Seconds that it must run well before it is kept.")
    ] = 120.0,
    again: Annotated[bool, typer.Option("--again", help="Have devices that refused it try it once more.")] = False,
    downgrade: Annotated[bool, typer.Option("--downgrade", help="It may be older than what is ordered now.")] = False,
) -> None:
    """Have the devices of a group run this software. Begin with few devices, look at `kizu devices`, then widen it."""
    from components.stores.releases.signer_client import SignerClient

    product = read_use_case(use_case)
    signer = SignerClient.from_settings(settings_as_operator())
    release = _find(signer.agent_releases(), digest)
    names = [name for item in devices or () for name in item.replace(",", " ").split()]
    where = group or product.rollout.group
    state = signer.order_agent(
        product.name, where, release.digest, devices=names, percent=percent, probation_s=probation, again=again,
        downgrade=downgrade,
    )  # fmt: skip
    who = ", ".join(names) if names else f"{percent:g} % of the group {where}"
    _say(
        f"agent {release.version} ({release.digest[:12]}) is ordered for {who}, sequence {state.sequence}; "
        "each device takes it after the release that it is taking now; see: kizu devices"
    )


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
