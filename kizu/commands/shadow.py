"""`kizu shadow start`, `stop`, `report`: let a candidate judge beside the release, and compare both on the line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from kizu.context import DEFAULT_USE_CASE, CommandError, UseCaseOption, console, settings_as, settings_as_operator
from kizu.context import use_case as read_use_case

if TYPE_CHECKING:
    from components.stores.fleet.shadow_report import Line, ShadowReport

shadow_app = typer.Typer(
    no_args_is_help=True, help="Let a version judge beside the running release, before anybody approves it."
)


@shadow_app.command()
def start(
    version: Annotated[int, typer.Argument(min=1, help="A version that passed its gate. It need not be approved.")],
    devices: Annotated[
        list[str], typer.Option("--devices", "-d", help="On this device. Several: separated by commas, or repeated.")
    ],
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    share: Annotated[
        float, typer.Option("--share", min=0.0, max=1.0, help="The share of frames that the version judges too.")
    ] = 1.0,
    cpu_share: Annotated[
        float, typer.Option("--cpu-share", min=0.01, max=1.0, help="The most of one processor core that it takes.")
    ] = 0.5,
) -> None:
    """Have a version judge on some devices, after the verdict, deciding nothing. Another one there ends."""
    from components.stores.releases.signer_client import SignerClient

    product = read_use_case(use_case)
    names = [name for item in devices for name in item.replace(",", " ").split()]
    signer = SignerClient.from_settings(settings_as_operator())
    state = signer.shadow(product.name, version, names, share=share, cpu_share=cpu_share)
    assert state.shadow is not None
    _say(
        f"version {version} of {product.name} ({state.shadow.release_digest[:12]}) judges beside the release on "
        f"{', '.join(state.shadow.devices)}, sequence {state.sequence}; to compare both, run: kizu shadow report"
    )


@shadow_app.command()
def stop(use_case: UseCaseOption = DEFAULT_USE_CASE) -> None:
    """End it: the devices remove the version, and the counts with it."""
    from components.stores.releases.signer_client import SignerClient

    product = read_use_case(use_case)
    signer = SignerClient.from_settings(settings_as_operator())
    state = signer.end_shadow(product.name, product.rollout.group)
    _say(f"no version judges beside the release in group {product.rollout.group}, sequence {state.sequence}")


@shadow_app.command()
def report(
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Show the version and the running release side by side, on the frames that both judged."""
    from components.stores.fleet.reports import FleetReports
    from components.stores.fleet.shadow_report import shadow_report
    from components.stores.releases.signer_client import SignerClient

    product = read_use_case(use_case)
    group = product.rollout.group
    config = settings_as("reconciler", "signer")
    signer = SignerClient.from_settings(config)
    desired = signer.desired(product.name, group)
    if desired is None or desired.shadow is None:
        raise CommandError(f"no version judges beside the release of {product.name}; run: kizu shadow start VERSION")
    candidate = signer.candidate(desired.shadow.release_digest)
    reports = FleetReports.from_settings(config).reports()
    found = shadow_report(desired, reports)
    assert found is not None
    release = signer.release(found.release) if found.release else None
    versions = {
        "use_case": product.name,
        "candidate_version": candidate.version if candidate is not None else None,
        "release_version": release.version if release is not None else None,
    }
    if as_json:
        console.print_json(data={**versions, **found.to_json()})
        return
    for line in as_lines(found, versions):
        console.print(line, highlight=False)


def as_lines(found: ShadowReport, versions: dict[str, Any]) -> list[Any]:
    """The report as a person reads it: a table for each device with counts, and what it says."""
    total = found.total
    lines: list[Any] = [_table(found, versions, total)]
    if not total.enough:
        lines.append(Text(f"not enough frames: {total.frames} were judged by both; the intervals are wide"))
    for line in found.lines:
        p95, running = _ms(line.p95_ms), _ms(line.release_p95_ms)
        times = f"p95 {p95} of processor time; the release {running} a frame" if line.frames else ""
        said = "; ".join(item for item in (f"{line.frames} frames, {line.skipped} skipped", times, line.says) if item)
        lines.append(Text(f"  {line.device}: {said}"))
    return lines


def _table(found: ShadowReport, versions: dict[str, Any], total: Line) -> Table:
    title = f"{versions['use_case']}: {total.frames} frames that both judged, {total.skipped} skipped"
    table = Table(title=title, box=None)
    for column in (
        "",
        _name("candidate", versions["candidate_version"], found.candidate),
        _name("release", versions["release_version"], found.release or ""),
    ):
        table.add_column(column)
    table.add_row("fail", total.fail.said(), total.release_fail.said())
    table.add_row("uncertain", total.uncertain.said(), total.release_uncertain.said())
    table.add_row("other verdict", total.disagreed.said(), "")
    return table


def _name(what: str, version: int | None, digest: str) -> str:
    shown = f"version {version}" if version is not None else "unknown"
    return f"{what} {shown} {digest[:12]}".rstrip()


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _say(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)
