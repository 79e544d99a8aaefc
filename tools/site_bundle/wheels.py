"""The part `wheels`: every package of some lock files as a file that pip installs without an index, by its SHA-256."""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tools import agent_wheel
from tools.site_bundle.checksums import sha256_of, write_whole
from tools.site_bundle.download import fetch
from tools.site_bundle.plan import REPOSITORY, Plan, Run, Say, did
from tools.site_bundle.wheel_choice import IndexFile, Kind, choose, locked_packages

UV: Final = ".venv-tools/bin/uv"
PIP: Final = (".venv-tools/bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet")
DEVICE_LOCKS: Final = ("edge", "edge-openvino", "edge-genicam")
"""The locks of devices. Each kind of device gets the agent's own wheel too."""
NOT_OURS: Final = ("uv", "labelstudio", "docs", "mutation")
"""The locks of programs that import nothing of this repository."""
REQUIREMENTS: Final = "requirements"
_BUILT: Final = "built.json"

Chosen = Mapping[tuple[str, Kind], tuple[IndexFile, ...]]


def plan(locks: Sequence[str], device_kinds: Sequence[str], server_kinds: Sequence[str], run: Run) -> Plan:
    """Ask the index for the files of the locked packages.

    locks: names of lock files, such as `edge`. kinds: such as `3.11-x86_64`.

    Raises:
        ChoiceError: a kind is unknown, or the index lacks a locked file.
        RuntimeError: the index does not answer.
    """
    chosen: dict[tuple[str, Kind], tuple[IndexFile, ...]] = {}
    for lock in locks:
        path = REPOSITORY / "locks" / f"{lock}.txt"
        if not path.is_file():
            known = ", ".join(sorted(each.stem for each in path.parent.glob("*.txt")))
            raise RuntimeError(f"expected lock files of {known}, but got {lock!r}")
        packages, index = locked_packages(path.read_text(encoding="utf-8")), _index(path, run)
        for kind in map(Kind.parse, device_kinds if lock in DEVICE_LOCKS else server_kinds):
            chosen[lock, kind] = choose(packages, index, kind)
    files = {file.sha256: file for each in chosen.values() for file in each}
    kinds = sorted({str(kind) for _, kind in chosen})
    return Plan(
        part="wheels",
        says=f"{len(files)} packages of {', '.join(locks)} for {', '.join(kinds)}",
        size=sum(file.size for file in files.values()),
        write=lambda folder, say: _write(folder, chosen, run, say),
    )


def _index(lock: Path, run: Run) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory(prefix="kizu-bundle-") as folder:
        path = Path(folder) / "pylock.toml"
        command = [UV, "pip", "compile", str(lock), "--universal", "--no-deps", "--python-version", "3.11"]
        did(run, [*command, "--format", "pylock.toml", "--quiet", "--output-file", str(path)], lock.name)
        return tomllib.loads(path.read_text(encoding="utf-8"))


def _write(folder: Path, chosen: Chosen, run: Run, say: Say) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files = {file.sha256: file for each in chosen.values() for file in each}
    built = _built(folder)
    for number, file in enumerate(sorted(files.values(), key=lambda each: each.name), 1):
        if file.is_source:
            built[file.sha256] = _made(folder, file, built.get(file.sha256), run)
        elif fetch(file.url, file.sha256, folder / file.name):
            say(f"wheels: {number} of {len(files)}, {file.name}")
    write_whole(folder / _BUILT, (json.dumps(built, indent=1, sort_keys=True) + "\n").encode())
    agent = agent_wheel.build(folder) if any(lock in DEVICE_LOCKS for lock, _ in chosen) else None
    own = make_own_wheel(folder, run) if any(_takes_kizu(lock) for lock, _ in chosen) else None
    wanted = {path for path in (agent, own, folder / _BUILT) if path is not None}
    for (lock, kind), each in chosen.items():
        lines = [_line(folder, file, built, wanted) for file in each]
        ours = agent if lock in DEVICE_LOCKS else own if _takes_kizu(lock) else None
        if ours is not None:
            name, version = ours.name.split("-")[:2]
            lines.append(f"{name.replace('_', '-')}=={version} --hash=sha256:{sha256_of(ours)}")
        path = folder / REQUIREMENTS / f"{lock}-{kind}.txt"
        write_whole(path, "".join(f"{line}\n" for line in sorted(lines)).encode())
        wanted.add(path)
    remove_strays(folder, wanted)


def _takes_kizu(lock: str) -> bool:
    return lock not in (*DEVICE_LOCKS, *NOT_OURS)


def _line(folder: Path, file: IndexFile, built: Mapping[str, Sequence[str]], wanted: set[Path]) -> str:
    """A requirement with the SHA-256 of the one file that is carried; that of a made wheel is not in the lock file."""
    name, sha256 = built[file.sha256] if file.is_source else (file.name, file.sha256)
    wanted.add(folder / name)
    return f"{file.package.name}=={file.package.version} --hash=sha256:{sha256}"


def _built(folder: Path) -> dict[str, tuple[str, str]]:
    """SHA-256 of a source package -> the name and the SHA-256 of the wheel that an earlier run made from it."""
    try:
        found = json.loads((folder / _BUILT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {source: (name, sha256) for source, (name, sha256) in found.items()}


def _made(folder: Path, file: IndexFile, known: tuple[str, str] | None, run: Run) -> tuple[str, str]:
    """Make a wheel from a source package that has the locked SHA-256; such packages are pure Python."""
    if known is not None and (path := folder / known[0]).is_file() and sha256_of(path) == known[1]:
        return known
    with tempfile.TemporaryDirectory(prefix="kizu-bundle-") as work:
        source = Path(work) / file.name
        fetch(file.url, file.sha256, source)
        did(run, [*PIP, "wheel", "--no-deps", "--wheel-dir", f"{work}/made", str(source)], file.name)
        (wheel,) = Path(work, "made").glob("*.whl")
        if not wheel.name.endswith("-none-any.whl"):
            raise RuntimeError(f"expected a wheel for every machine from {file.name}, but got {wheel.name}")
        write_whole(folder / wheel.name, wheel.read_bytes())
        return wheel.name, sha256_of(folder / wheel.name)


def make_own_wheel(folder: Path, run: Run) -> Path:
    """Make the wheel `kizu` from the sources, with what installs it in the environment already; returns its path."""
    with tempfile.TemporaryDirectory(prefix="kizu-bundle-") as work:
        did(run, [".venv/bin/python", "-m", "hatchling", "build", "-t", "wheel", "-d", work], "the wheel kizu")
        (wheel,) = Path(work).glob("*.whl")
        write_whole(folder / wheel.name, wheel.read_bytes())
        return folder / wheel.name


def remove_strays(folder: Path, wanted: Iterable[Path]) -> None:
    """Remove the files of a part that an earlier run left and this one does not hold."""
    kept = set(wanted)
    for path in folder.rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()
