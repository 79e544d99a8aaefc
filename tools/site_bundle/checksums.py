"""The list of a bundle's files with their SHA-256: written last, and compared before anything is used.

`SHA256SUMS` has the form that `sha256sum --check` reads. A folder without it is no bundle: its writer was stopped.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SUMS: Final = "SHA256SUMS"
SIGNATURE: Final = "SHA256SUMS.dsse.json"
_LINE: Final = re.compile(r"([0-9a-f]{64})  ([^\n]+)")
_CHUNK: Final = 1 << 20


class BundleError(RuntimeError):
    """A bundle cannot be written or used."""


def sha256_of(path: Path) -> str:
    """The digest of a file, in hex."""
    total = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            total.update(chunk)
    return total.hexdigest()


def files_of(folder: Path) -> tuple[str, ...]:
    """The files of a bundle, relative to it and sorted, without the list itself and its signature.

    Raises:
        BundleError: something is neither a folder nor a plain file, or has a name that the list cannot hold.
    """
    found = []
    for where, folders, names in os.walk(folder):
        for name in (*names, *(each for each in folders if (Path(where) / each).is_symlink())):
            path = Path(where) / name
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink() or not path.is_file():
                raise BundleError(f"expected plain files only, but {relative} is a link or a special file")
            if "\n" in relative or "\\" in relative:
                raise BundleError(f"expected names without line ends and backslashes, but got {relative!r}")
            found.append(relative)
    return tuple(sorted(set(found) - {SUMS, SIGNATURE}))


def write_sums(folder: Path) -> bytes:
    """Write the list over all files of a bundle; returns its bytes.

    Raises:
        BundleError: see `files_of`.
        OSError: a file cannot be read, or the list cannot be written.
    """
    text = "".join(f"{sha256_of(folder / name)}  {name}\n" for name in files_of(folder))
    os.sync()  # the files are on the disk before the list says that they are
    write_whole(folder / SUMS, text.encode())
    return text.encode()


def read_sums(folder: Path) -> Mapping[str, str]:
    """Name -> SHA-256, as the list of a bundle has it.

    Raises:
        BundleError: there is no list, or a line of it has another form.
    """
    try:
        text = (folder / SUMS).read_text(encoding="utf-8")
    except FileNotFoundError as e:
        raise BundleError(
            f"expected {SUMS} in {folder}, but there is none: the bundle was not finished. Run make bundle again"
        ) from e
    except (OSError, UnicodeDecodeError) as e:
        raise BundleError(f"cannot read {folder / SUMS}: {e}") from e
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None or not _inside(match[2]) or match[2] in found:
            raise BundleError(
                f"{SUMS}, line {number}: expected a SHA-256 and a name below the bundle, but got {line!r}"
            )
        found[match[2]] = match[1]
    return found


def _inside(name: str) -> bool:
    return not name.startswith("/") and not {"", ".", ".."} & set(name.split("/"))


def faults_of(folder: Path, sums: Mapping[str, str]) -> tuple[str, ...]:
    """What a bundle has too little, too much or changed, one line each with the file's name; () where it is whole.

    Raises:
        BundleError: see `files_of`.
        OSError: a file cannot be read.
    """
    there = set(files_of(folder))
    faults = [f"{name} is missing" for name in sorted(set(sums) - there)]
    faults += [f"{name} is extra: the list does not name it" for name in sorted(there - set(sums))]
    faults += [
        f"{name} is changed: expected SHA-256 {sums[name]}, but got {got}"
        for name in sorted(there & set(sums))
        if (got := sha256_of(folder / name)) != sums[name]
    ]
    return tuple(faults)


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file in one step, on the disk when this returns. (This module may import nothing of the project.)

    Raises:
        OSError: it could not be written; the old file is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.new")
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_checked(source: Path, target: Path, expected: str) -> None:
    """Copy a file and compare what was copied with its SHA-256. A target that has it already stays.

    Raises:
        BundleError: the bytes are others than the list says.
        OSError: it cannot be read or written.
    """
    if target.is_file() and not target.is_symlink() and sha256_of(target) == expected:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.new")
    total = hashlib.sha256()
    try:
        with source.open("rb") as reading, temporary.open("xb") as writing:
            while chunk := reading.read(_CHUNK):
                total.update(chunk)
                writing.write(chunk)
        if total.hexdigest() != expected:
            raise BundleError(f"{source} is changed: expected SHA-256 {expected}, but got {total.hexdigest()}")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
