"""The systemd unit of the edge agent, read by systemd itself, and its command, run as the unit says."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from components.enrolment.bundle import CONFIG_FILE, CREDENTIALS_FILE, ROOT_FILE

REPOSITORY = Path(__file__).resolve().parents[2]
UNIT = REPOSITORY / "deploy" / "edge" / "kizu-edge.service"
ANALYZE = shutil.which("systemd-analyze")
# Of ten; systemd calls what is below 2.0 well confined. What is left open are the network, a camera and the state.
WORST_EXPOSURE = 2.0


def settings(name: str) -> list[str]:
    return [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith(f"{name}=")]


@pytest.mark.skipif(ANALYZE is None, reason="no systemd-analyze on this machine")
def test_systemd_understands_the_unit(tmp_path):
    """No unknown key, no value that it cannot read; the paths are this checkout's."""
    text = UNIT.read_text().replace("/opt/kizu/.venv-edge", str(REPOSITORY / ".venv-edge"))
    unit = tmp_path / UNIT.name
    unit.write_text(text)
    done = subprocess.run([ANALYZE, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if UNIT.name in line]) == (0, [])


@pytest.mark.skipif(ANALYZE is None, reason="no systemd-analyze on this machine")
def test_the_unit_is_well_confined(tmp_path):
    """The exposure score that systemd gives the unit stays within the limit."""
    unit = shutil.copy(UNIT, tmp_path)
    done = subprocess.run(
        [ANALYZE, "security", "--offline=yes", "--json=short", f"--threshold={int(WORST_EXPOSURE * 10)}", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    weak = [item["json_field"] for item in json.loads(done.stdout) if not item["set"]]
    assert done.returncode == 0, weak


def test_the_units_command_takes_a_bundle_as_it_is_enrolled(tmp_path):
    """What runs before the agent starts reads it; the unit's state folder overrides the bundle's."""
    (tmp_path / CONFIG_FILE).write_text(
        "{device: line7, group: line, site: plant1, use_case: tag, cameras: [{source: http}], "
        f"s3: {{endpoint: 'http://127.0.0.1:1', credentials_file: {CREDENTIALS_FILE}}}, root_metadata: {ROOT_FILE}}}"
    )
    (tmp_path / CREDENTIALS_FILE).write_text('{"access_key": "a", "secret_key": "b"}')
    (tmp_path / CREDENTIALS_FILE).chmod(0o600)
    environment = dict(item.split("=", 1) for line in settings("Environment") for item in line.split())
    assert environment["KIZU_EDGE_STATE_FOLDER"] == f"/var/lib/{settings('StateDirectory')[0]}"
    command = settings("ExecStartPre")[0].replace("/opt/kizu", str(REPOSITORY)).replace("/etc/kizu-edge", str(tmp_path))
    done = subprocess.run(command.split(), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "device line7 of group line" in done.stdout
