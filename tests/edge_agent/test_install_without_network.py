"""Packages of a bundle install where there is no way out: in a network namespace of its own."""

from __future__ import annotations

import subprocess
import zipfile
from importlib.metadata import Distribution, distributions
from pathlib import Path

from tests.tools.site_bundle.closed import alone, skip_where_impossible
from tools import agent_wheel
from tools.site_bundle.checksums import sha256_of

REPOSITORY = Path(__file__).resolve().parents[2]
EDGE = REPOSITORY / ".venv-edge"
UV = REPOSITORY / ".venv-tools" / "bin" / "uv"


def packed_again(distribution: Distribution, folder: Path) -> Path:
    """A wheel of what is installed: the files of its RECORD, stored.

    It stands for the wheel of the index, which no test downloads: `make test-bundle` does.
    """
    wheel = distribution.read_text("WHEEL") or ""
    tags = [line.partition(": ")[2] for line in wheel.splitlines() if line.startswith("Tag: ")]
    name = str(distribution.metadata["Name"]).replace("-", "_").replace(".", "_")
    parts = zip(*(tag.split("-", 2) for tag in tags), strict=True)
    fits = "-".join(".".join(dict.fromkeys(part)) for part in parts)
    target = folder / f"{name}-{distribution.version}-{fits}.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in distribution.files or ():
            path = Path(str(file.locate()))
            if (
                ".." not in file.parts
                and "__pycache__" not in file.parts
                and path.is_file()
                and file.name != "INSTALLER"
            ):
                archive.write(path, str(file))
    return target


def test_the_edge_agent_installs_from_wheels_by_their_hashes_and_starts(tmp_path: Path) -> None:
    """All packages of the device's lock file and the agent's own wheel, in a namespace without a network.

    With uv, which the bundle carries too. The test of the whole bundle does the same with pip.
    """
    skip_where_impossible()
    site_packages = next(EDGE.glob("lib/python3*/site-packages"))
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    lines = []
    for distribution in distributions(path=[str(site_packages)]):
        wheel = packed_again(distribution, wheels)
        lines.append(f"{distribution.metadata['Name']}=={distribution.version} --hash=sha256:{sha256_of(wheel)}")
    agent = agent_wheel.build(wheels)
    lines.append(f"kizu-edge=={agent.name.split('-')[1]} --hash=sha256:{sha256_of(agent)}")
    requirements = tmp_path / "edge.txt"
    requirements.write_text("".join(f"{line}\n" for line in lines))
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([EDGE / "bin" / "python", "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    offline = {"UV_CACHE_DIR": str(tmp_path / "cache"), "UV_NO_CONFIG": "1", "UV_PYTHON_DOWNLOADS": "never"}
    installing = (UV, "pip", "install", "--quiet", "--python", python, "--no-index", "--find-links", wheels)
    installed = alone(*installing, "--require-hashes", "-r", requirements, **offline)
    assert installed.returncode == 0, installed.stderr
    started = alone(python.with_name("kizu-edge"), "--help", PYTHONDONTWRITEBYTECODE="1")
    assert started.returncode == 0, started.stderr
    assert "selftest" in started.stdout
