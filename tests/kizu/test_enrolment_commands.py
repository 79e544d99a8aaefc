"""`kizu enroll`, `revoke` and `enrolled`, as processes against a real S3."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from components.deployment import keys
from components.enrolment.port import Key
from components.stores.fleet.reports import FleetReports
from components.stores.objects.s3 import AccessDenied, S3ObjectStore
from edge_agent.config import load_config, load_credentials
from inspection.documents import Reported
from tests.kizu.command_line import assert_is_an_error_in_one_line, kizu


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return keys.init(folder / "root", folder / "signer")


@pytest.fixture
def run(s3, root, tmp_path):
    """A command as the administrator, who is at no stack of their own."""
    admin = s3.environment("admin")

    def run(*arguments, **environment):
        more = ["--root", root] if "enroll" in arguments else []
        return kizu(*arguments, *more, home=tmp_path / "home", **(admin | environment))

    return run


@pytest.fixture
def as_bundle(s3):
    """S3 with the key in a bundle."""

    def store(folder):
        key = Key.from_json((folder / "credentials.json").read_bytes())
        return S3ObjectStore(s3.layout.s3_endpoint, "us-east-1", key.access_key, key.secret_key)

    return store


def test_a_device_is_enrolled_replaced_and_revoked(run, s3, as_bundle, tmp_path):
    """A device can be enrolled, replaced and revoked; its key is in its bundle alone, and each step is reported."""
    folder = tmp_path / "line20"
    done = run("--debug", "enroll", "line20", "--site", "plant1", "--group", "north", "-o", folder,
               "--mqtt-host", "10.0.0.5", "--use-case", "tags")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "group north" in done.stdout
    assert "--endpoint" in done.stdout, "the store's address is this machine's own"
    config = load_config(folder / "config.yaml", {})
    assert (config.device, config.site, config.group, config.use_case) == ("line20", "plant1", "north", "tags")
    secret = load_credentials(config.s3.credentials_file).secret_key.get_secret_value()
    assert secret not in done.stdout + done.stderr

    device = as_bundle(folder)
    report = Reported(device="line20", group="north", reported_at=datetime(2025, 4, 1, tzinfo=UTC), state="running")
    assert device.put("kizu-fleet", "line20/reported.json", report.to_json())
    assert "plant1" in run("enrolled").stdout
    again = run("enroll", "line20", "-o", tmp_path / "other")
    assert_is_an_error_in_one_line(again, "line20 is enrolled already", "--replace")
    assert not (tmp_path / "other").exists()

    assert run("enroll", "line20", "--site", "plant1", "-o", folder, "--replace").returncode == 0
    with pytest.raises(AccessDenied):
        device.put("kizu-fleet", "line20/reported.json", report.to_json())
    device = as_bundle(folder)
    assert device.put("kizu-fleet", "line20/reported.json", report.to_json())

    fleet = FleetReports(s3.store("reconciler"), "kizu-fleet")
    assert "line20" in [report.device for report in fleet.reports()]
    assert device.put("kizu-fleet", "line20/line.json", b"{}")
    done = run("revoke", "line20")
    assert not s3.store("reconciler").exists("kizu-fleet", "line20/line.json"), "nobody is told that it drifts"
    assert (done.returncode, done.stdout) == (0, "line20 is out: its keys are void\n")
    with pytest.raises(AccessDenied):
        device.put("kizu-fleet", "line20/reported.json", report.to_json())
    assert "line20" not in [report.device for report in fleet.reports()], "it holds no rollout back"
    done = run("revoke", "line20")
    assert (done.returncode, done.stdout) == (0, "line20 was out already\n")


def test_a_device_that_nobody_knows_is_an_error(run):
    """A slip of the pen must not look like a revocation."""
    assert_is_an_error_in_one_line(run("revoke", "lime20"), "lime20 is not enrolled")
    assert_is_an_error_in_one_line(run("revoke", "../x"), "expected a device")


def test_the_use_case_file_names_the_group(run, tmp_path):
    """The use case file gives the group; with the name of a use case alone, `--group` is required."""
    folder = tmp_path / "line21"
    assert run("enroll", "line21", "-o", folder, "--endpoint", "https://s3.example:8333/").returncode == 0
    config = load_config(folder / "config.yaml", {})
    assert (config.use_case, config.group, config.s3.endpoint) == ("metal-tag", "line", "https://s3.example:8333")
    assert run("revoke", "line21").returncode == 0
    assert_is_an_error_in_one_line(run("revoke", "line21"), "never reported")
    missing = run("enroll", "line22", "-o", tmp_path / "x", "--use-case", "tags")
    assert_is_an_error_in_one_line(missing, "--group")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["enroll", "Line"], ["expected a device", "Line"]),
        (["enroll", "line23", "--ca-file", "none.pem"], ["CA file", "none.pem"]),
        (["enroll", "line23", "--key-file", "x"], ["--provider policy"]),
        (["enroll", "line23", "--endpoint", "s3.example"], ["https://host:port", "s3.example"]),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_made(run, tmp_path, arguments, words):
    """A refused enrolment prints one line and makes neither a folder nor an identity."""
    folder = tmp_path / "bundle"
    assert_is_an_error_in_one_line(run(*arguments, "-o", folder), *words)
    assert not folder.exists()
    assert "line23" not in run("enrolled").stdout


def test_an_identity_that_is_not_the_administrators_is_told_so(run, s3):
    """An identity that is not the administrator's can neither list nor revoke devices, and is told so."""
    reconciler = s3.environment("reconciler")
    assert_is_an_error_in_one_line(run("enrolled", **reconciler), "administrator")
    assert_is_an_error_in_one_line(run("revoke", "line20", **reconciler), "administrator")


def test_another_stores_administrator_makes_the_identity_from_a_policy(run, tmp_path):
    """The key comes from the environment or a private file, never from the command line."""
    policies, folder = tmp_path / "policies", tmp_path / "line24"
    enroll = ["enroll", "line24", "-o", folder, "--provider", "policy", "--policies", policies]
    assert_is_an_error_in_one_line(run(*enroll), "device-line24.policy.json", "--key-file")
    assert not folder.exists()
    document = json.loads((policies / "device-line24.policy.json").read_bytes())
    assert "arn:aws:s3:::kizu-fleet/line24/*" in document["Statement"][0]["Resource"]
    done = run(*enroll, KIZU_DEVICE_ACCESS_KEY_ID="made-there", KIZU_DEVICE_SECRET_ACCESS_KEY="s3cr3t")
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "credentials.json").read_bytes()) == {
        "access_key": "made-there",
        "secret_key": "s3cr3t",
    }
    assert "s3cr3t" not in done.stdout + done.stderr
    key_file = tmp_path / "key.json"
    key_file.write_text('{"access_key": "made-anew", "secret_key": "s3cr3t"}')
    key_file.chmod(0o600)
    assert run(*enroll, "--key-file", key_file, "--replace").returncode == 0
    assert json.loads((folder / "credentials.json").read_bytes())["access_key"] == "made-anew"
    revoke = ["revoke", "line24", "--provider", "policy", "--policies", policies]
    assert_is_an_error_in_one_line(run(*revoke), "not out yet", "device-line24")
