"""The configuration file: unknown keys are named, the environment overrides, and secrets must be private."""

from __future__ import annotations

import os

import pytest
import yaml

from edge_agent.config import load_config, load_credentials
from edge_agent.errors import ConfigError

VALUE = {
    "device": "dev1",
    "group": "line1",
    "site": "plant1",
    "use_case": "tags",
    "cameras": [{"source": "folder", "path": "camera"}],
    "s3": {"endpoint": "http://127.0.0.1:1", "credentials_file": "credentials.json"},
}


def write(folder, value=None, mode=0o644):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(VALUE if value is None else value))
    path.chmod(mode)
    return path


def test_paths_are_relative_to_the_file_and_defaults_are_safe(tmp_path):
    """A bundle can be moved as a whole, and the page listens on loopback."""
    config = load_config(write(tmp_path), {})
    assert config.cameras[0].path == tmp_path / "camera"
    assert config.state_folder == tmp_path / "state"
    assert config.s3.credentials_file == tmp_path / "credentials.json"
    assert config.page.host == "127.0.0.1"
    assert config.buckets.raw == "kizu-raw"


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"devise": "x"}, "devise"), ({"s3": VALUE["s3"] | {"endpont": "x"}}, "s3.endpont"),
     ({"mqtt": {"host": "h", "prot": 1}}, "mqtt.prot"),
     ({"mqtt": {"host": "h", "tls": {"ca": "x"}}}, "mqtt.tls.ca"),
     ({"cameras": [{"source": "folder", "path": "a", "pth": "x"}]}, "cameras.0.pth"),
     ({"cameras": [{"source": "opencv", "device": 0, "path": "x"}]}, "cameras.0.path")],
)  # fmt: skip
def test_an_unknown_key_is_refused_by_name_with_the_known_ones(tmp_path, changes, key):
    """A typing error does not lead to a default."""
    with pytest.raises(ConfigError, match=f"unknown key '{key}'; known here: .*"):
        load_config(write(tmp_path, VALUE | changes), {})


def test_an_unknown_override_is_refused_by_name(tmp_path):
    """A typing error in the environment is refused as one in the file is."""
    with pytest.raises(ConfigError, match=r"unknown key 's3\.endpont'"):
        load_config(write(tmp_path), {"KIZU_EDGE_S3__ENDPONT": "x"})


def test_the_environment_overrides_the_file(tmp_path):
    """Texts, numbers and lists can be overridden, and a password made of digits stays a text."""
    config = load_config(
        write(tmp_path),
        {
            "KIZU_EDGE_S3__ENDPOINT": "http://127.0.0.1:2",
            "KIZU_EDGE_PAGE__PORT": "8091",
            "KIZU_EDGE_PAGE__ALLOWED_HOSTS": '["edge.plant"]',
            "KIZU_EDGE_MQTT__HOST": "broker",
            "KIZU_EDGE_MQTT__PASSWORD": "0123",
            "OTHER": "ignored",
        },
    )
    assert config.s3.endpoint == "http://127.0.0.1:2"
    assert (config.page.port, config.page.allowed_hosts) == (8091, ("edge.plant",))
    assert config.mqtt.password.get_secret_value() == "0123"


def test_an_empty_variable_is_an_empty_text(tmp_path):
    """A composition file sets a variable that nobody gave to nothing."""
    assert load_config(write(tmp_path), {"KIZU_EDGE_IMAGE_DIGEST": ""}).image_digest == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "expected keys"), ("a: [", "expected YAML"), ("device: dev1", "'cameras' is missing"),
     (yaml.safe_dump(VALUE | {"device": "Dev 1"}), "device: .*1-63"),
     (yaml.safe_dump(VALUE | {"inference": {"threads": 0}}), "inference.threads"),
     (yaml.safe_dump(VALUE | {"cameras": []}), "cameras: .*at least 1"),
     (yaml.safe_dump(VALUE | {"cameras": [{"path": "x"}]}), "'cameras.0.source' is missing; expected one of folder"),
     (yaml.safe_dump(VALUE | {"cameras": [{"source": "usb"}]}), "cameras.0: .*'folder'"),
     (yaml.safe_dump(VALUE | {"cameras": [{"source": "folder", "path": "x"}] * 2}), "a name of its own"),
     (yaml.safe_dump(VALUE | {"mqtt": {"host": "h", "tls": {"key_file": "x"}}}), "together")],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_the_place(tmp_path, text, message):
    """The error is one readable line that names the key."""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path, {})
    assert "\n" not in str(caught.value) or "YAML" in message


def test_a_missing_file_is_named(tmp_path):
    """A missing configuration file raises an error that names it and the option `--config`."""
    with pytest.raises(ConfigError, match=r"none\.yaml.*--config"):
        load_config(tmp_path / "none.yaml", {})


def test_a_password_in_a_readable_file_is_refused(tmp_path):
    """Other users of the machine could read the password."""
    value = VALUE | {"mqtt": {"host": "broker", "password": "secret"}}
    with pytest.raises(ConfigError, match="chmod 600"):
        load_config(write(tmp_path, value), {})
    config = load_config(write(tmp_path, value, mode=0o600), {})
    assert "secret" not in repr(config)


def test_a_camera_with_an_account_in_its_url_makes_the_file_private(tmp_path):
    """Other users of the machine could watch the line."""
    value = VALUE | {"cameras": [{"source": "opencv", "device": "rtsp://user:secret@127.0.0.1/stream"}]}
    with pytest.raises(ConfigError, match="chmod 600"):
        load_config(write(tmp_path, value), {})
    assert load_config(write(tmp_path, value, mode=0o600), {}).cameras[0].mode == "latest"


def test_the_protocol_of_the_broker_may_be_written_as_a_number(tmp_path):
    """YAML reads `5` as a number, which is accepted."""
    assert load_config(write(tmp_path, VALUE | {"mqtt": {"host": "h", "protocol": 5}}), {}).mqtt.protocol == "5"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_readable_credentials_are_refused(tmp_path, mode):
    """Other users of the machine must not read the key of the device."""
    path = tmp_path / "credentials.json"
    path.write_text('{"access_key": "a", "secret_key": "hidden"}')
    path.chmod(mode)
    with pytest.raises(ConfigError, match="0600"):
        load_credentials(path)
    path.chmod(0o600)
    assert load_credentials(path).secret_key.get_secret_value() == "hidden"
    assert "hidden" not in repr(load_credentials(path))


def test_credentials_of_another_form_do_not_show_up_in_the_error(tmp_path):
    """The text of the file is secret even where its form is wrong."""
    path = tmp_path / "credentials.json"
    path.write_text("hidden")
    os.chmod(path, 0o600)
    with pytest.raises(ConfigError) as caught:
        load_credentials(path)
    assert "hidden" not in str(caught.value)


def test_the_time_zone_is_a_name_that_this_machine_knows(tmp_path):
    """A misspelt zone is refused at the start, not at midnight; without one the zone of the machine holds."""
    assert load_config(write(tmp_path), {}).zone is None
    assert str(load_config(write(tmp_path, VALUE | {"time_zone": "Asia/Tokyo"}), {}).zone) == "Asia/Tokyo"
    for wrong in ("Asia/Tokio", "JST-9", "../etc/passwd", ""):
        with pytest.raises(ConfigError, match=r"time_zone: .*expected a time zone such as Asia/Tokyo"):
            load_config(write(tmp_path, VALUE | {"time_zone": wrong}), {})
