"""`make test-bundle`: a whole bundle from the network, taken in, and installed from where there is none."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.site_bundle.closed import alone, skip_where_impossible
from tests.tools.site_bundle.registry_server import running
from tools.signatures import make_key
from tools.site_bundle.bundling import DESCRIPTION, PARTS
from tools.site_bundle.checksums import SUMS

pytestmark = pytest.mark.bundle

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
HERE = f"{PYTHON}-{platform.machine()}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The bundle, and the public key. KIZU_TEST_BUNDLE names a folder that stays."""
    folder = Path(os.environ.get("KIZU_TEST_BUNDLE") or tmp_path_factory.mktemp("bundle") / "kizu")
    key = make_key(tmp_path_factory.mktemp("key"))
    kinds = f"DEVICE_KINDS={PYTHON}-x86_64 {PYTHON}-aarch64"
    command = ["make", "bundle", f"TO={folder}", kinds, f"SERVER_KINDS={HERE}", f"KEY={key}"]
    subprocess.run([*command, "PLAN=1"], cwd=REPOSITORY, check=True)
    subprocess.run(command, cwd=REPOSITORY, check=True)
    return folder, key.with_name("signing.pub.pem")


def test_a_second_run_fetches_nothing_and_gives_the_same_list(made: tuple[Path, Path]) -> None:
    """What is there already stays."""
    folder, _ = made
    before = (folder / SUMS).read_text()
    kinds = [f"DEVICE_KINDS={PYTHON}-x86_64 {PYTHON}-aarch64", f"SERVER_KINDS={HERE}"]
    done = subprocess.run(
        ["make", "bundle", f"TO={folder}", "PARTS=wheels manifests", *kinds],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert " of " not in "".join(line for line in done.stdout.splitlines() if line.startswith("bundle: wheels: "))
    assert (folder / SUMS).read_text() == before


def test_servers_and_devices_install_from_it_without_a_network(made: tuple[Path, Path], tmp_path: Path) -> None:
    """Every lock of the bundle installs; the agent and the command `kizu` start; the images reach a registry."""
    skip_where_impossible()
    folder, _ = made
    described = json.loads((folder / DESCRIPTION).read_text())
    assert set(described["parts"]) == set(PARTS)
    site = tmp_path / "site"
    with running(keeps=False) as server:
        taken = subprocess.run(
            [sys.executable, "-I", "-S", folder / "source" / "unbundle.pyz", folder, site, "--registry", server.url],
            check=False,
        )
        assert taken.returncode == 0
        assert len({repository for repository, _ in server.manifests}) == len(
            json.loads((site / "images.json").read_text())
        )
    starts = {
        "edge": ("kizu-edge", "--help"),
        "control": ("kizu", "--help"),
        "labelstudio": ("label-studio", "--version"),
    }
    for requirements in sorted((site / "wheels" / "requirements").glob(f"*-{HERE}.txt")):
        lock = requirements.name.removesuffix(f"-{HERE}.txt")
        environment = tmp_path / lock
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
        pip = (REPOSITORY / ".venv-tools" / "bin" / "python", "-m", "pip", "--python", environment / "bin" / "python")
        installed = alone(
            *pip, "install", "--no-compile", "--quiet", "--require-hashes", "-r", requirements,
            PIP_CONFIG_FILE=str(site / "pip.conf"),
        )  # fmt: skip
        assert installed.returncode == 0, f"{lock}: {installed.stderr}"
        if lock in starts:
            command, option = starts[lock]
            started = alone(environment / "bin" / command, option, HOME=str(tmp_path))
            assert started.returncode == 0, f"{lock}: {started.stderr}"
        subprocess.run(["rm", "-rf", environment], check=True)
