"""The table of real update clients: what one release costs a device, the signer and the store, and what grows how."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from benchmarks.fleet.clients import MODEL_BYTES, Poll, Taken

BEGIN: Final = "<!-- bench-fleet-clients: begin -->"
END: Final = "<!-- bench-fleet-clients: end -->"


def render(found: Sequence[Taken], listed: Mapping[int, float], load: float) -> str:
    """Both tables, and the ratios.

    Args:
        listed: devices -> seconds of processor time to list their reports.
        load: of the machine before.
    """
    lines = [
        "Real clients, real TUF metadata, one SeaweedFS and the signer's code, all on this machine; a model of "
        f"{MODEL_BYTES / 1e6:.1f} MB, eight devices at a time. Load of the machine before: {load:.1f} (other "
        "programs). Seconds of a device: median, and of nineteen in twenty.",
        "",
        "| Devices (away at first, broken) | taking the release: requests, bytes, seconds a device "
        "| a poll without news | signer | reading all reports | all devices |",
        "|---|---|---|---:|---:|---:|",
    ]
    for one in found:
        fleet = f"{one.devices:,} ({one.away}, {one.broken})"
        seconds = f"{one.signer_s:.2f} s | {one.reading_s:.2f} s | {one.whole_s:.1f} s"
        lines.append(f"| {fleet} | {_polls(one.took)} | {_polls(one.quiet)} | {seconds} |")
    lines += ["", *(_ratios(less, more) for less, more in pairwise(found))]
    lines += ["", "| Devices | processor time to list their reports | for each device |", "|---:|---:|---:|"]
    lines += [f"| {size:,} | {took:.3f} s | {took / size * 1e6:.0f} µs |" for size, took in sorted(listed.items())]
    lines += ["", "The metadata of a poll does not grow with the fleet: it names releases and groups, and no device."]
    return "\n".join(lines) + "\n"


def _polls(polls: Sequence[Poll]) -> str:
    requests = statistics.mean(poll.requests for poll in polls)
    received = statistics.mean(poll.received for poll in polls)
    seconds = sorted(poll.took_s for poll in polls)
    middle, most = statistics.median(seconds), seconds[int(len(seconds) * 0.95)]
    return f"{requests:.1f}, {received:,.0f} B, {middle:.2f} s ({most:.2f} s)"


def _ratios(less: Taken, more: Taken) -> str:
    def times(of_more: float, of_less: float) -> str:
        return f"{of_more / of_less:.1f} ×" if of_less else "-"

    def all_of(polls: Sequence[Poll], what: str) -> float:
        return float(sum(getattr(poll, what) for poll in polls))

    return (
        f"- From {less.devices:,} to {more.devices:,} devices ({more.devices / less.devices:.0f} ×): requests "
        f"{times(all_of(more.took, 'requests'), all_of(less.took, 'requests'))}, bytes "
        f"{times(all_of(more.took, 'received'), all_of(less.took, 'received'))}, signer "
        f"{times(more.signer_s, less.signer_s)}, reading all reports {times(more.reading_s, less.reading_s)}, "
        f"all devices {times(more.whole_s, less.whole_s)}."
    )
