"""The part `sbom`: a software bill of materials for each lock file, and one page with the licences of all packages."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from components.container_images import TAG
from tools.licences import installed, of_wheels, report
from tools.sbom import bill
from tools.site_bundle.checksums import write_whole
from tools.site_bundle.plan import REPOSITORY, LeftOut, Plan, Say, fresh, replace_folder
from tools.site_bundle.wheel_choice import Locked, locked_packages

ENVIRONMENTS: Final = (".venv", ".venv-edge", ".venv-labelstudio", ".venv-docs", ".venv-tools")
LOCKS: Final = (
    "edge", "edge-genicam", "edge-openvino", "labeling", "data", "training", "training-permissive", "control", "mlflow",
    "labelstudio",
)  # fmt: skip
"""The locks of what runs in an image or on a device."""


def locks() -> dict[str, tuple[Locked, ...]]:
    """Name of a lock file -> its packages."""
    folder = REPOSITORY / "locks"
    return {name: locked_packages((folder / f"{name}.txt").read_text(encoding="utf-8")) for name in LOCKS}


def plan(made_at: datetime) -> Plan:
    """Read what the installed environments say of licences."""
    known = installed(REPOSITORY / name for name in ENVIRONMENTS)
    missing = {(each.name, each.version) for packages in locks().values() for each in packages} - set(known)
    left_out: tuple[LeftOut, ...] = ()
    if missing:
        names = ", ".join(sorted(name for name, _ in missing)[:5])
        why = f"not installed here, so that only a wheel of the bundle can say it: {names}{' …' * (len(missing) > 5)}"
        left_out = (LeftOut(f"licences of {len(missing)} packages", why),)
    return Plan("sbom", f"{len(LOCKS)} bills of materials, licences", 1_500_000, partial(_write, made_at), left_out)


def _write(made_at: datetime, folder: Path, say: Say) -> None:
    made = fresh(folder)
    known = of_wheels(folder.parent / "wheels") | installed(REPOSITORY / name for name in ENVIRONMENTS)
    found = locks()
    for name, packages in found.items():
        write_whole(made / f"{name}.cdx.json", bill(f"kizu/{name}", TAG, packages, known, made_at).encode())
    write_whole(made / "licences.md", report(found, known).encode())
    replace_folder(made, folder)
