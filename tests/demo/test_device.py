"""The demo's device is enrolled as any other."""

from __future__ import annotations

import stat

import pytest

from components.deployment import keys
from components.enrolment.port import Key
from components.stores.fleet.reports import FleetReports
from components.stores.objects.s3 import AccessDenied, S3ObjectStore
from demo.device import EDGE_PYTHON, Agent, prepare, wait_until
from deploy.access.identities import device_identities
from edge_agent.config import load_config
from inspection.documents import Reported


@pytest.fixture
def layout(s3):
    keys.init_once(s3.layout.home / "root-key", s3.layout.keys)
    yield s3.layout
    s3.devices.pop("line1", None)  # its key is not the fixture's any more
    s3.store("admin").delete("kizu-fleet", "line1/reported.json")


def key_of(device) -> Key:
    return Key.from_json((device.bundle / "credentials.json").read_bytes())


def test_preparing_it_again_keeps_its_key_and_what_it_has(layout):
    """A device that is prepared again keeps its key and files, and takes the new configuration."""
    first = prepare(layout, use_case="metal-tag", group="line")
    key = key_of(first)
    (first.camera / "frame.png").write_bytes(b"x")
    again = prepare(layout, use_case="metal-tag-quick", group="line")
    assert key_of(again) == key
    assert (again.camera / "frame.png").exists()
    config = load_config(again.config, {})
    assert config.use_case == "metal-tag-quick"
    assert config.cameras[0].path.resolve() == again.camera
    assert config.state_folder.resolve() == again.bundle.parent / "state"
    assert stat.S_IMODE(config.s3.credentials_file.stat().st_mode) == 0o600
    store = S3ObjectStore(layout.s3_endpoint, "us-east-1", key.access_key, key.secret_key)
    assert store.put("kizu-fleet", "line1/reported.json", b"{}")


def test_a_key_that_is_void_is_replaced(layout):
    """A demo whose device was revoked, or whose folder is from before, goes on."""
    old = key_of(prepare(layout, use_case="metal-tag", group="line"))
    assert device_identities(layout).revoke("line1")
    new = key_of(prepare(layout, use_case="metal-tag", group="line"))
    assert new != old
    store = S3ObjectStore(layout.s3_endpoint, "us-east-1", old.access_key, old.secret_key)
    with pytest.raises(AccessDenied):
        store.put("kizu-fleet", "line1/reported.json", b"{}")


@pytest.mark.skipif(not EDGE_PYTHON.exists(), reason="needs the device's environment: make setup")
def test_the_agent_runs_with_its_bundle_and_its_report_arrives(layout, s3):
    """An agent without a release runs with its bundle, and its device report arrives."""
    fleet = FleetReports(s3.store("reconciler"), "kizu-fleet")

    def arrived() -> list[Reported]:
        return [report for report in fleet.reports() if report.device == "line1"]

    agent = Agent(prepare(layout, use_case="metal-tag", group="north"))
    agent.start()
    try:
        assert wait_until(arrived, timeout_s=60), agent.device.log.read_text(errors="replace")[-2000:]
        agent.check()
    finally:
        agent.stop()
    assert [report.group for report in arrived()] == ["north"]
    assert key_of(agent.device).secret_key not in agent.device.log.read_text(errors="replace")
