"""Makes the wheel of the agent's own code: `inspection` and `edge_agent`, and nothing else of this repository.

`python -m tools.agent_wheel FOLDER` writes `kizu_edge-<version>-py3-none-any.whl`. The same sources give the same
bytes, so that a device fetches it only where the code has changed.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from pathlib import Path
from typing import Final

import edge_agent

REPOSITORY: Final = Path(__file__).resolve().parents[1]
ROOMS: Final = ("inspection", "edge_agent")
_LEFT_OUT: Final = {"__pycache__", "Dockerfile"}
_DATE: Final = (1980, 1, 1, 0, 0, 0)


def build(folder: Path, repository: Path = REPOSITORY, version: str = edge_agent.__version__) -> Path:
    """Write the wheel and return its path."""
    info = f"kizu_edge-{version}.dist-info"
    files = {
        str(path.relative_to(repository)): path.read_bytes()
        for room in ROOMS
        for path in sorted((repository / room).rglob("*"))
        if path.is_file() and not _LEFT_OUT & set(path.relative_to(repository).parts)
    }
    files[f"{info}/LICENSE"] = (repository / "LICENSE").read_bytes()
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.4\nName: kizu-edge\nVersion: {version}\nSummary: The edge agent of Kizu\n"
        "License-Expression: Apache-2.0\n"
    ).encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: kizu\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    # For a device where pip installs it; a device that takes agent releases starts the module.
    files[f"{info}/entry_points.txt"] = b"[console_scripts]\nkizu-edge = edge_agent.__main__:main\n"
    record = "".join(f"{name},sha256={_hash(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"kizu_edge-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            member = zipfile.ZipInfo(name, _DATE)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            archive.writestr(member, data)
    return target


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


if __name__ == "__main__":
    sys.stdout.write(f"{build(Path(sys.argv[1]))}\n")
