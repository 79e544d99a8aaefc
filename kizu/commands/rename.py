"""`kizu labels rename-class`: stored labels follow a class that has another name in the use case file now."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kizu.commands.labels import labels_app
from kizu.context import DEFAULT_USE_CASE, CommandError, UseCaseOption, console, settings_as
from kizu.context import use_case as read_use_case


@labels_app.command("rename-class")
def rename_class(
    old: Annotated[str, typer.Argument(help="The former name, which the labels have.")],
    new: Annotated[str, typer.Argument(help="The name of now, a class of the use case file.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="NEW is another class already, with labels of its own: join the two.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Without this, only count.")] = False,
    inspects: UseCaseOption = DEFAULT_USE_CASE,
) -> None:
    """Give the labels of a class its new name. Without --yes, only count what would be renamed.

    First write the new name into `classes` of the use case file, and `former_classes: {OLD: NEW}` into its `labeling`,
    so that boxes in Label Studio follow, too. Images keep their status, people and parts. No label is lost or changed:
    each gets a later event. Datasets and models that exist stay as they are.
    """
    from components.stores.labels.renames import plan_renaming, rename
    from components.stores.labels.store import LabelStore

    chosen = read_use_case(inspects)
    _check(chosen, old, new)
    labels = LabelStore.open(settings_as("labeling"))
    plan = plan_renaming(labels, chosen.name, old, new)
    if not plan.events:
        if not plan.begun and old not in chosen.labeling.former_classes:
            raise CommandError(
                f"expected a class with labels, but no label in force of {chosen.name} has boxes of {old!r}; "
                f"there are {list(plan.classes)}"
            )
        _say(f"no label in force has boxes of {old}: there is nothing to rename")
    elif plan.merges and not (merge or plan.begun):
        raise CommandError(
            f"{plan.merges} images have boxes of {new!r} already, besides {plan.images} with boxes of {old!r}; nothing "
            "was renamed. To make one class of the two, add --merge; it cannot be taken apart again"
        )
    else:
        _count(plan, merge=merge)
    if plan.events and yes:
        done = sum(rename(labels, chosen.name, plan))
        _say(f"{done} labels are renamed; the label store has version {labels.version()}")
    elif plan.events:
        _say("nothing was written; to rename them, add: --yes")
    if chosen.labeling.former_classes.get(old) != new:
        _say(
            f"people's boxes in Label Studio still have the former name: write labeling.former_classes: "
            f"{{{old}: {new}}} into {inspects} before the next kizu label"
        )


def _check(chosen: Any, old: str, new: str) -> None:
    if old == new:
        raise CommandError(f"expected two names, but got {old!r} twice")
    if new not in chosen.classes:
        raise CommandError(
            f"expected a class of {chosen.name} as the new name, one of {list(chosen.classes)}, but got {new!r}; "
            "first write it into `classes` of the use case file"
        )
    if old in chosen.classes:
        raise CommandError(
            f"{old!r} is still a class of {chosen.name}; first take it out of `classes` of the use case file"
        )


def _count(plan: Any, *, merge: bool) -> None:
    kinds = ", ".join(f"{count} {status}" for status, count in sorted(plan.by_status.items()))
    joined = f"; joined with {plan.merges} images that have boxes of {plan.new}" if merge and plan.merges else ""
    _say(f"{plan.boxes} boxes of {plan.old} in {plan.images} images become {plan.new} ({kinds}){joined}")


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
