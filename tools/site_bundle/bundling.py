"""Makes a bundle from the plans of its parts: what is there already stays, and the list of files is written last."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tools.signatures import signed
from tools.site_bundle.checksums import SIGNATURE, SUMS, BundleError, write_sums, write_whole
from tools.site_bundle.plan import LeftOut, Plan, Say, size_of
from tools.site_bundle.unbundle import SIGNED_TYPE

PARTS: Final = ("images", "wheels", "manifests", "pipelines", "kubeflow", "weights", "docs", "source", "sbom")
DESCRIPTION: Final = "bundle.json"
_MARK: Final = "UNFINISHED"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a bundle was made from. commit: ends with `-dirty` where files were changed since."""

    version: str
    commit: str
    made_at: str


def chosen_parts(text: str) -> tuple[str, ...]:
    """The parts that somebody asks for; all of them for ''.

    Raises:
        BundleError: there is no such part.
    """
    named = tuple(text.replace(",", " ").split())
    unknown = sorted(set(named) - set(PARTS))
    if unknown:
        raise BundleError(f"expected parts of {', '.join(PARTS)}, but got {', '.join(unknown)}")
    return tuple(part for part in PARTS if part in named or not named)


def announce(plans: Iterable[Plan], say: Say) -> int:
    """Say what each part will hold and how large it is; returns the bytes of all."""
    total = 0
    for plan in plans:
        total += plan.size
        say(f"{plan.part:<10} {plan.size / 1e6:>9.1f} MB  {plan.says}")
        for each in plan.left_out:
            say(f"{'':<10} left out: {each}")
    say(f"{'together':<10} {total / 1e6:>9.1f} MB")
    return total


def make(target: Path, plans: Sequence[Plan], origin: Origin, say: Say, key: Path | None = None) -> None:
    """Write the parts and then the list of all files. Parts that are not planned stay as they are.

    key: signs the list; None: it is not signed.

    Raises:
        BundleError: the folder holds something else, the disk is too small, or a part cannot be made.
        SignatureError: the key cannot be read.
    """
    if key is not None:
        signed(b"", SIGNED_TYPE, key)  # a key that cannot be read is told now, and not after hours
    described = _begin(target, [plan.part for plan in plans])
    _need_room(target, plans)
    for number, plan in enumerate(plans):
        folder = target / plan.part
        _mark(target, [each.part for each in plans[number:]])
        if plan.write is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            plan.write(folder, say)
        described[plan.part] = _describe(plan, folder)
    _remove_leftovers(target)
    document = {
        "schema_version": 1, "version": origin.version, "commit": origin.commit, "made_at": origin.made_at,
        "parts": {name: described[name] for name in PARTS if name in described},
        "not_asked_for": [name for name in PARTS if name not in described],
    }  # fmt: skip
    write_whole(target / DESCRIPTION, (json.dumps(document, indent=1) + "\n").encode())
    (target / _MARK).unlink()
    sums = write_sums(target)
    if key is not None:
        write_whole(target / SIGNATURE, signed(sums, SIGNED_TYPE, key))
    say(f"{len(sums.splitlines())} files, {size_of(target) / 1e6:.1f} MB, listed in {target / SUMS}")


def _begin(target: Path, planned: Sequence[str]) -> dict[str, Any]:
    """Take the list away, so that nobody takes the folder for a bundle; returns the parts that are whole already."""
    mark, description = target / _MARK, target / DESCRIPTION
    if target.exists() and any(target.iterdir()) and not (description.exists() or mark.exists()):
        raise BundleError(f"expected an empty folder or a bundle in {target}, but it holds something else")
    begun = mark.read_text(encoding="utf-8").split() if mark.exists() else []
    half = [name for name in begun if name not in planned and (target / name).exists()]
    if half:
        raise BundleError(f"an earlier run was stopped in {', '.join(half)}: run make bundle with PARTS of these too")
    _mark(target, [])
    for name in (SUMS, SIGNATURE):
        (target / name).unlink(missing_ok=True)
    try:
        parts = dict(json.loads(description.read_text(encoding="utf-8"))["parts"])
    except (OSError, ValueError, KeyError):
        parts = {}
    return {name: part for name, part in parts.items() if name in PARTS}


def _mark(target: Path, unfinished: Sequence[str]) -> None:
    """Say in the folder that it is no bundle yet, and which parts may be half."""
    write_whole(target / _MARK, " ".join(unfinished).encode())


def _need_room(target: Path, plans: Sequence[Plan]) -> None:
    needed = sum(max(0, plan.size - size_of(target / plan.part)) for plan in plans)
    free = shutil.disk_usage(target).free
    if free < needed:
        raise BundleError(f"{target} needs up to {needed / 1e9:.1f} GB more, but {free / 1e9:.1f} GB are free there")


def _describe(plan: Plan, folder: Path) -> dict[str, Any]:
    files = sum(path.is_file() for path in folder.rglob("*"))
    return {"files": files, "bytes": size_of(folder), "left_out": [_left(each) for each in plan.left_out]}


def _left(each: LeftOut) -> dict[str, str]:
    return {"what": each.what, "why": each.why}


def _remove_leftovers(target: Path) -> None:
    """Remove what a stopped run left beside the parts, and nothing else: the list would name it."""
    for path in target.iterdir():
        if path.name.startswith(".") and path.name.endswith((".new", ".old")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif path.name not in (*PARTS, DESCRIPTION, _MARK):
            raise BundleError(f"{path} belongs to no part of a bundle; move it away")
