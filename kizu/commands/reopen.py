"""`kizu labels reopen` and `kizu labels aside`: images that go back to people, and images that people set aside."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from kizu.commands.labels import labels_app
from kizu.context import DEFAULT_USE_CASE, CommandError, UseCaseOption, console, settings_as
from kizu.context import use_case as read_use_case

_SHORTEST = 8


@labels_app.command()
def reopen(
    images: Annotated[
        list[str] | None,
        typer.Argument(help="Images: sha256, its first 8 characters or more, or the s3:// address of the image."),
    ] = None,
    suspects: Annotated[
        bool, typer.Option("--suspects", help="The suspected label errors that `kizu labels report` would show.")
    ] = False,
    objections: Annotated[
        bool,
        typer.Option("--objections", help="Approved images to which an operator objected since. All days are listed."),
    ] = False,
    reason: Annotated[str, typer.Option(help="What the labeler reads above the image.")] = "please look again",
    at_most: Annotated[int, typer.Option(min=1, help="With --suspects: how many.")] = 40,
    inspects: UseCaseOption = DEFAULT_USE_CASE,
) -> None:
    """Send images back to people: approved ones, imported ones, and ones that were set aside.

    Their labels do not count until two people have looked at them again. The next `kizu label` hands them out.
    """
    from components.labeling.known_events import KnownEvents
    from components.labeling.reopening import reopened
    from components.stores.labels.store import LabelStore

    if not images and not suspects and not objections:
        raise CommandError("expected images, --suspects or --objections; nothing was reopened")
    config, chosen, now = settings_as("labeling"), read_use_case(inspects), datetime.now(UTC)
    labels = LabelStore.open(config)
    known = KnownEvents(labels, chosen.name)
    known.refresh()
    wanted = {_sha256_of(text, known): reason for text in images or ()}
    if suspects:
        wanted |= dict(_suspected(config, chosen, at_most, now))
    stands = known.standing(wanted)
    busy = [sha256 for sha256, standing in stands.items() if standing.is_with_people]
    events = [reopened(standing, wanted[sha256], now) for sha256, standing in stands.items() if sha256 not in busy]
    if events:
        labels.append(events)
    count = len(events) + (_objected(config, chosen, labels, now) if objections else 0)
    more = f"; {len(busy)} are with people already" if busy else ""
    console.print(f"{count} images are reopened{more}; hand them out with: kizu label", highlight=False)


@labels_app.command()
def aside(inspects: UseCaseOption = DEFAULT_USE_CASE) -> None:
    """List the images that people set aside as unusable, with the reason. `kizu labels reopen` takes it back."""
    from components.labeling.known_events import KnownEvents
    from components.stores.labels.store import LabelStore

    known = KnownEvents(LabelStore.open(settings_as("labeling")), read_use_case(inspects).name)
    known.refresh()
    found = [standing.decided for standing in known.aside().values() if standing.decided]
    for event in sorted(found, key=lambda event: event.at):
        line = f"{event.sha256}  {event.at:%Y-%m-%d}  {event.reason}  {event.image_uri}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"{len(found)} images are set aside", highlight=False)


def _sha256_of(text: str, known: Any) -> str:
    """The image that a person means.

    Raises:
        CommandError: none or several have labels.
    """
    name = text.rsplit("/", 1)[-1].split(".", 1)[0].lower()
    found: list[str] = known.starting_with(name) if len(name) >= _SHORTEST else []
    if len(found) != 1:
        raise CommandError(
            f"expected an image with labels, by its sha256 or the first {_SHORTEST} characters or more of it, but "
            f"{text!r} names {len(found)}; an image without a label comes to labelers without this"
        )
    return found[0]


def _suspected(config: Any, chosen: Any, at_most: int, now: datetime) -> list[tuple[str, str]]:
    """sha256 and reason of each suspected image."""
    from components.reporting.report import ReportOptions, build_report

    with console.status("looking at the labels"):
        report = build_report(chosen, config, ReportOptions(suspects=at_most, captures=0), now)
    return [(shot.event.sha256, shown.suspect.text) for shown in report.looks.shown for shot in shown.suspect.shots]


def _objected(config: Any, chosen: Any, labels: Any, now: datetime) -> int:
    from components.labeling.candidates import find_candidates, memories
    from components.labeling.unlabelled import reopen_objected
    from components.stores.objects.s3 import S3ObjectStore
    from components.stores.raw_images.images import RawImages

    store = S3ObjectStore.from_settings(config)
    raw = RawImages(store, config.bucket("raw"))
    memory = memories(store, config.bucket("state"), chosen.name)
    found = find_candidates(chosen.name, raw, labels, memory, full=True, sources=chosen.sources)
    return reopen_objected(chosen, raw, labels, found.told, now)
