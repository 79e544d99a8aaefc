"""The bundle: private, accepted by the device, and there as a whole or not at all."""

from __future__ import annotations

import json
import ssl
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from components.enrolment.bundle import enrol, rewrite
from components.enrolment.port import DeviceIdentity, Enrolled, EnrolmentError, Key
from edge_agent.config import load_config, load_credentials

DEVICE = DeviceIdentity("dev1", "plant1")
EDGE = Path(__file__).resolve().parents[3] / ".venv-edge" / "bin" / "kizu-edge"


class Register:
    """A provider in memory, at the port."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.made = 0

    def create(self, device: DeviceIdentity, *, replace: bool = False) -> Key:
        if device.name in self.keys and not replace:
            raise EnrolmentError("enrolled already")
        self.made += 1
        self.keys[device.name] = Key(f"access-{self.made}", f"secret-{self.made}")
        return self.keys[device.name]

    def revoke(self, name: str) -> bool:
        return self.keys.pop(name, None) is not None

    def devices(self) -> tuple[Enrolled, ...]:
        return tuple(Enrolled(name, None, (key.access_key,)) for name, key in self.keys.items())


@pytest.fixture
def register():
    return Register()


@pytest.fixture
def authority() -> bytes:
    """A certificate authority of this machine's own trust store."""
    for der in ssl.create_default_context().get_ca_certs(binary_form=True):
        return ssl.DER_cert_to_PEM_cert(der).encode()
    pytest.skip("no certificate authority on this machine")


def files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_bundle_is_private_and_holds_what_a_device_starts_with(register, surroundings, root, authority, tmp_path):
    """Folder 0700, files 0600; configuration, key, pinned root, CA."""
    folder = tmp_path / "far" / "dev1"
    told = surroundings(
        "https://s3.example:8333", ca=authority, mqtt_host="broker", camera_folder="/camera", region="eu-central-1"
    )
    enrol(register, DEVICE, told, folder)
    assert files(folder) == ["ca.pem", "config.yaml", "credentials.json", "root.json"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert (folder / "root.json").read_bytes() == root
    config = load_config(folder / "config.yaml", {})
    assert (config.device, config.site, config.group, config.use_case) == ("dev1", "plant1", "line", "metal-tag")
    assert (config.s3.endpoint, config.s3.region, config.s3.ca_file) == (
        "https://s3.example:8333", "eu-central-1", folder / "ca.pem"
    )  # fmt: skip
    assert config.mqtt is not None
    assert (config.mqtt.host, config.cameras[0].path) == ("broker", Path("/camera"))
    key = load_credentials(config.s3.credentials_file)
    assert (key.access_key, key.secret_key.get_secret_value()) == ("access-1", "secret-1")
    assert "secret-1" not in (folder / "config.yaml").read_text()
    assert files(folder.parent) == ["dev1"], "nothing is left beside it"


@pytest.mark.skipif(not EDGE.exists(), reason="needs the device's environment: make setup")
def test_the_device_takes_the_bundle_as_it_is(register, surroundings, tmp_path):
    """The device's own `config check` command, in the device's own environment, accepts the bundle."""
    enrol(register, DEVICE, surroundings(), tmp_path / "dev1")
    command = [EDGE, "config", "check", "--config", tmp_path / "dev1" / "config.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "device dev1 of group line" in done.stdout


def test_a_bundle_that_cannot_be_finished_leaves_no_folder_and_no_identity(register, surroundings, tmp_path):
    """The key that nobody holds is taken back."""

    class Late(Register):
        def create(self, device: DeviceIdentity, *, replace: bool = False) -> Key:
            key = super().create(device, replace=replace)
            (tmp_path / "dev1").write_text("somebody was quicker")
            return key

    late = Late()
    with pytest.raises(EnrolmentError, match="there already"):
        enrol(late, DEVICE, surroundings(), tmp_path / "dev1")
    assert late.devices() == ()
    assert files(tmp_path) == ["dev1"]
    assert (tmp_path / "dev1").read_text() == "somebody was quicker"


def test_an_identity_that_cannot_be_made_leaves_no_folder(register, surroundings, tmp_path):
    """A failed enrolment leaves neither the bundle nor the temporary folder that it was begun in."""
    register.create(DEVICE)
    with pytest.raises(EnrolmentError, match="already"):
        enrol(register, DEVICE, surroundings(), tmp_path / "dev1")
    assert files(tmp_path) == []


def test_a_folder_that_is_there_is_kept_and_no_key_is_made(register, surroundings, tmp_path):
    """An existing folder is refused and no key is made.

    With --replace this holds where the folder has more than an earlier bundle.
    """
    folder = tmp_path / "dev1"
    folder.mkdir()
    (folder / "state").mkdir()
    with pytest.raises(EnrolmentError, match="--output"):
        enrol(register, DEVICE, surroundings(), folder)
    with pytest.raises(EnrolmentError, match="state"):
        enrol(register, DEVICE, surroundings(), folder, replace=True)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(EnrolmentError, match="link"):
        enrol(register, DEVICE, surroundings(), tmp_path / "link", replace=True)
    assert register.made == 0
    assert files(tmp_path) == ["dev1", "link"]


def test_a_replacement_takes_the_place_of_the_earlier_bundle(register, surroundings, authority, tmp_path):
    """All of it: a CA that is not wanted any more is gone."""
    folder = tmp_path / "dev1"
    enrol(register, DEVICE, surroundings(ca=authority), folder)
    enrol(register, DEVICE, surroundings(group="other"), folder, replace=True)
    assert files(folder) == ["config.yaml", "credentials.json", "root.json"]
    assert yaml.safe_load((folder / "config.yaml").read_text())["group"] == "other"
    assert json.loads((folder / "credentials.json").read_bytes())["access_key"] == "access-2"


def test_a_bundle_is_written_again_with_the_key_that_it_has(register, surroundings, tmp_path):
    """A rewritten bundle has the new configuration and its old key; no new identity is made."""
    folder = tmp_path / "dev1"
    enrol(register, DEVICE, surroundings(), folder)
    key = Key.from_json((folder / "credentials.json").read_bytes())
    rewrite(DEVICE, surroundings(group="other"), folder, key)
    assert yaml.safe_load((folder / "config.yaml").read_text())["group"] == "other"
    assert Key.from_json((folder / "credentials.json").read_bytes()) == key
    assert register.made == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "s3.example:8333"}, {"endpoint": ""}, {"endpoint": "https://s3.example/path"},
        {"root": b"{}"}, {"root": b"not json"}, {"root": b'{"signed": {"_type": "timestamp"}}'},
        {"ca": b"no certificate"}, {"ca": b"-----BEGIN PRIVATE KEY-----"},
    ],
)  # fmt: skip
def test_what_a_device_could_not_use_is_refused_before_anything_is_made(surroundings, wrong):
    """Endpoint, root and CA; a private key never travels in a CA file."""
    with pytest.raises(EnrolmentError, match="expected"):
        surroundings(**wrong)


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("Dev1", "a"), ("dev/1", "a"), ("dev*", "a"), ("..", "a"), ("", "a"), ("dev1", "a/b"), ("dev1", "*"),
        ("import-x", "a"), ("d" * 64, "a"),
    ],
)  # fmt: skip
def test_a_name_that_could_reach_elsewhere_is_no_device(name, site):
    """A device or site name with a slash or a wildcard, or the name of an import, is refused."""
    with pytest.raises(ValueError, match="expected a"):
        DeviceIdentity(name, site)
