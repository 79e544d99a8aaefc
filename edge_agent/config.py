"""The device's configuration: one YAML file, overridden by the environment. No other module here reads the environment.

`KIZU_EDGE_S3__ENDPOINT=http://…` overrides `s3.endpoint`: prefix, then the keys joined by two underscores. Paths in the
file are relative to the file. Unknown keys, in the file or the environment, are refused by name.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator

from edge_agent.camera_config import Camera, Cameras, Name, Seconds, Section, Topic, absolute
from edge_agent.errors import ConfigError
from edge_agent.outbox_parts import PartRule
from edge_agent.tightening import Tightening

ENVIRONMENT_PREFIX: Final = "KIZU_EDGE_"


class S3(Section):
    """The object store as this device reaches it."""

    endpoint: str
    """`http(s)://host:port`, as this device reaches the store."""
    region: str = "us-east-1"
    """The region of the store."""
    addressing: Literal["path", "virtual"] = "path"
    """Where the bucket stands in an address: in the path, or in the host name."""
    ca_file: Path | None = None
    """PEM, where the store's certificate is from your own authority."""
    credentials_file: Path
    """This device's key: JSON, mode 0600. It is read again when the store refuses the key."""
    proxy: SecretStr | None = None
    """`http(s)://host:port` of a forward proxy on the way to the store, or `http://user:password@host:port`. A file
    that holds a password needs mode 0600. Variables such as `HTTPS_PROXY` are not read."""

    @model_validator(mode="after")
    def _check_proxy(self) -> S3:
        parts = urlsplit(self.proxy.get_secret_value()) if self.proxy else None
        if parts is not None and (parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/")):
            raise ValueError("expected proxy as http(s)://host:port")
        return self


class Buckets(Section):
    """Names of the buckets: `<prefix>raw` and so on."""

    prefix: str = "kizu-"
    """Bucket names begin with it."""

    @property
    def raw(self) -> str:
        """Images and Captures."""
        return f"{self.prefix}raw"

    @property
    def releases(self) -> str:
        """The TUF repository."""
        return f"{self.prefix}releases"

    @property
    def fleet(self) -> str:
        """The reports of devices."""
        return f"{self.prefix}fleet"


class Tls(Section):
    """Encryption to the broker. Without `ca_file` the authorities that come with the agent are trusted."""

    ca_file: Path | None = None
    """PEM with the authority of the broker's certificate."""
    certificate_file: Path | None = None
    """This device's own certificate (PEM), where the broker asks for one, with `key_file`, of mode 0600."""
    key_file: Path | None = None
    """The key of that certificate."""

    @model_validator(mode="after")
    def _check_pair(self) -> Tls:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("expected certificate_file and key_file together")
        return self


class Mqtt(Section):
    """The broker that carries results to the line. Topics: `<topic_prefix>/<site>/<device>/{results,status}`."""

    host: str
    """The broker's name or address."""
    port: int = Field(default=1883, ge=1, le=65535)
    """Its port."""
    protocol: Annotated[Literal["3.1.1", "5"], BeforeValidator(str)] = "3.1.1"
    """The version of MQTT."""
    topic_prefix: Topic = "kizu"
    """All topics begin with it."""
    username: str | None = None
    """The account at the broker."""
    password: SecretStr | None = None
    """Its password. A file that holds one needs mode 0600."""
    tls: Tls | None = None
    """Encryption to the broker."""
    keepalive_s: int = Field(default=30, ge=5)
    """Seconds. After one and a half times as long without a sign of life the broker says that the device is offline."""


class Page(Section):
    """The operator's page. Names by which browsers call this device stand in `allowed_hosts`; addresses need not."""

    host: str = "127.0.0.1"
    """The address that the page listens on."""
    port: int = Field(default=8090, ge=1, le=65535)
    """Its port."""
    allowed_hosts: tuple[str, ...] = ()
    """Names by which browsers may call this device."""
    language: Literal["auto", "en", "ja"] = "auto"
    """`auto`: what the browser asks for."""
    token_file: Path | None = None
    """The file of the operator's token, which every action that changes the device asks for. The agent creates it at
    the first start, with mode 0600. Default: `<state_folder>/operator.token`."""


class Inference(Section):
    """How the model runs here.

    `backend: openvino` needs the extra `edge-openvino`. Where OpenVINO is not available, onnxruntime inspects, and
    the log says so.
    """

    threads: int = Field(default=2, ge=1, le=256)
    """Threads of one inference. The default of the runtime would start too many in a process pinned to few cores."""
    precision: str = "fp32"
    """Which model of the release runs: `fp32` or `int8`."""
    backend: Literal["onnxruntime", "openvino"] = "onnxruntime"
    """The inference runtime."""
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    """The execution providers of onnxruntime, in the order of preference."""
    trial_memory_bytes: int | None = Field(default=None, gt=0)
    """The most memory that the trial of a new release, or of new software, may take. Default: nine tenths of what is
    free at its start."""


class OutboxLimits(Section):
    """How much may wait on the device. Beyond that the least important class is dropped, oldest first, and counted."""

    max_bytes: int = Field(default=2_000_000_000, gt=0)
    """Bytes that may wait."""
    max_age_days: float = Field(default=30.0, gt=0)
    """Days that the agent has run since. Days without power do not count, and neither do jumps of the clock."""
    min_free_bytes: int = Field(default=500_000_000, ge=0)
    """Bytes of the disk that stay free."""


class Memory(Section):
    """How much memory images may take. The service or container needs about 200 MB more."""

    image_bytes: int = Field(default=300_000_000, ge=30_000_000)
    """Bytes for images. Two thirds are for decoding, six bytes a pixel: 33 million pixels by default. A larger image is
    set aside as `too-large`. One third is for a file, for all posted images and pictures of cameras that wait, and for
    the page's drawing."""


class SamplingLimits(Section):
    """How much this device may send at most. Where the policy of the release asks for less, the policy holds."""

    max_per_minute: int | None = Field(default=None, ge=0)
    """At most so many frames are sent a minute."""
    max_per_hour: int | None = Field(default=None, ge=0)
    """At most so many frames are sent an hour."""
    max_per_day: int | None = Field(default=None, ge=0)
    """At most so many frames are sent a day."""
    nothing_found_rate: float | None = Field(default=None, ge=0, le=1)
    """At most this share of the frames without a detection."""
    control_rate: float | None = Field(default=None, ge=0, le=1)
    """At most this share of all frames."""
    disagreement_rate: float | None = Field(default=None, ge=0, le=1)
    """At most this share of frames is also inspected with the previous release."""


class RuleLimits(Section):
    """Stricter limits of one acceptance rule; see the rule's own in the use case file."""

    max_longest_side_px: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """The longer side of one defect, in pixels."""
    max_longest_side_mm: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """The longer side of one defect, in millimetres."""
    max_area_px2: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """The area of one defect, in square pixels."""
    max_area_mm2: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """The area of one defect, in square millimetres."""
    max_total_area_px2: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """The area of all defects together, in square pixels."""
    max_total_area_mm2: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """The area of all defects together, in square millimetres."""
    max_count: int | None = Field(default=None, ge=0)
    """How many defects there may be."""
    min_distance_px: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """How far apart any two defects must be, in pixels."""
    min_distance_mm: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """How far apart any two defects must be, in millimetres."""


class AcceptanceTighten(Section):
    """Stricter acceptance rules than those of the release. What would loosen a rule does not hold, and is told."""

    factor: float = Field(default=1.0, gt=0, le=1)
    """Lengths may be this share of what the release says, areas the square of it; distances must be so many times
    larger."""
    rules: Mapping[str, RuleLimits] = {}
    """Stricter limits, by the name of the rule."""

    def to_tightening(self) -> Tightening:
        """The same as a value."""
        return Tightening(self.factor, {name: rule.model_dump(exclude_none=True) for name, rule in self.rules.items()})


class PartCameras(Section):
    """Cameras whose pictures show one part together: the device gives one answer about the part.

    A picture that fails fails the part. A camera whose picture is missing makes it uncertain, and the answer names it.
    """

    name: Name = "part"
    """What the answer calls it."""
    cameras: Annotated[tuple[Name, ...], Field(min_length=1)]
    """The cameras, by name. Each frame needs a `part_id`."""
    timeout_s: Seconds = 10.0
    """Seconds from the first picture of a part until it is answered, whatever is missing."""
    late_s: Seconds = 3600.0
    """For so long after its answer a picture of the same `part_id` is late, and counted. Later it begins a new part."""

    def to_rule(self) -> PartRule:
        """The same as a value."""
        return PartRule(self.name, self.cameras, self.timeout_s, self.late_s)


class Intervals(Section):
    """Intervals of the device, in seconds."""

    update_poll_s: Seconds = 30.0
    """Between two polls for a new release."""
    report_s: Seconds = 60.0
    """Between two reports to the fleet."""
    heartbeat_timeout_s: Seconds = 30.0
    """An inspection loop silent for longer is unhealthy."""


class Config(Section):
    """The whole configuration of a device."""

    device: Name
    """This device's name, its own among all sites."""
    group: Name
    """The group that it is rolled out with."""
    site: Name
    """Where it stands; its images go below this name."""
    use_case: Name
    """What it inspects."""
    time_zone: str | None = None
    """The zone of the plant's day, such as `Asia/Tokyo`: *today* begins at midnight there, and the page shows its time.
    Default: the zone of this machine, in a container usually UTC."""
    image_digest: str = ""
    """`sha256:…` of the container image that the agent was started from, set by whoever starts the container. The
    device reports it, and says whether it is the one that was ordered."""
    state_folder: Path = Path("state")
    """Where it keeps releases, outbox and state."""
    root_metadata: Path = Path("root.json")
    """The root of trust of releases, pinned at enrolment."""
    cameras: Cameras
    """Where frames come from."""
    parts: tuple[PartCameras, ...] = ()
    """Which cameras make one part."""
    s3: S3
    """The object store."""
    buckets: Buckets = Buckets()
    """Names of the buckets."""
    mqtt: Mqtt | None = None
    """The line's broker."""
    page: Page = Page()
    """The operator's page."""
    inference: Inference = Inference()
    """How the model runs."""
    sampling: SamplingLimits = SamplingLimits()
    """Less than the release asks for."""
    acceptance_tighten: AcceptanceTighten = AcceptanceTighten()
    """Stricter acceptance rules than the release's."""
    outbox: OutboxLimits = OutboxLimits()
    """What may wait on the device."""
    memory: Memory = Memory()
    """How much memory images may take."""
    intervals: Intervals = Intervals()
    """How often the device looks and tells."""

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (ValueError, OSError, ZoneInfoNotFoundError):
                raise ValueError(
                    f"expected a time zone such as Asia/Tokyo, but got {value[:40]!r}; "
                    "if it is right, this machine lacks the package tzdata"
                ) from None
        return value

    @model_validator(mode="after")
    def _parts_are_of_cameras(self) -> Config:
        named = [camera for part in self.parts for camera in part.cameras]
        known = [camera.name for camera in self.cameras]
        names = [part.name for part in self.parts]
        if unknown := sorted(set(named) - set(known)):
            raise ValueError(f"expected parts to name some of the cameras {known}, but got {unknown}")
        if len(set(named)) != len(named) or len(set(names)) != len(names):
            raise ValueError(
                f"expected each camera in one part, and parts of different names, but got {names}: {named}"
            )
        return self

    @property
    def zone(self) -> tzinfo | None:
        """The zone of the plant's day; None for that of this machine, as `datetime.fromtimestamp` takes it."""
        return ZoneInfo(self.time_zone) if self.time_zone is not None else None

    @property
    def token_file(self) -> Path:
        """The file of the operator's token."""
        return self.page.token_file or self.state_folder / "operator.token"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The S3 identity of one device; `repr` hides the secret."""

    access_key: str
    secret_key: SecretStr


def load_config(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """Read a configuration file, override it from the environment, check it, and make its paths absolute.

    Args:
        environment: None for os.environ.

    Raises:
        ConfigError: the file is missing or no YAML, a key is unknown or wrong, or other users may read a password.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"cannot read the configuration {path}: {e.strerror}; pass one with --config") from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ConfigError(f"expected YAML in {path}, but {e}") from e
    if not isinstance(value, dict):
        raise ConfigError(f"expected keys and values in {path}, but got {type(value).__name__}")
    if isinstance(value.get("mqtt"), dict) and "password" in value["mqtt"]:
        require_private(path, "it holds mqtt.password")
    if isinstance(value.get("s3"), dict) and has_password(value["s3"].get("proxy")):
        require_private(path, "it holds the password of s3.proxy")
    if any(isinstance(item, dict) and has_password(item.get("device")) for item in _list(value.get("cameras"))):
        require_private(path, "it holds a camera's password")
    _override(value, os.environ if environment is None else environment)
    try:
        config = Config.model_validate(value)
    except ValidationError as e:
        raise ConfigError(f"{path}: {_readable(e)}") from None
    return _absolute(config, path.resolve().parent)


def load_credentials(path: Path) -> Credentials:
    """Read `{"access_key": …, "secret_key": …}` from a file of mode 0600.

    Raises:
        ConfigError: the file is missing, other users may read it, or it has another form.
    """
    require_private(path, "it holds this device's key")
    try:
        value = json.loads(path.read_bytes())
        return Credentials(str(value["access_key"]), SecretStr(str(value["secret_key"])))
    except (ValueError, KeyError, TypeError):
        # The cause would show the text of the file, which is secret.
        raise ConfigError(f'expected {{"access_key": …, "secret_key": …}} in {path}, but it has another form') from None


def has_password(device: object) -> bool:
    """Whether the URL of a camera holds a user and a password."""
    return isinstance(device, str) and "@" in device.partition("://")[2].partition("/")[0]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def require_private(path: Path, why: str) -> None:
    """Refuse a file with a secret that other users of this machine may read.

    Args:
        why: what the file holds, for the message.

    Raises:
        ConfigError: the file is missing, or its mode gives rights to others.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}") from e
    if mode & 0o077:
        raise ConfigError(f"expected {path} to have mode 0600 ({why}), but got {mode:04o}; run: chmod 600 {path}")


def _override(value: dict[str, Any], environment: Mapping[str, str]) -> None:
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        section = value
        for key in keys[:-1]:
            child = section.setdefault(key, {})
            if not isinstance(child, dict):
                raise ConfigError(f"environment variable {name}: {key} is not a section")
            section = child
        text = environment[name]
        # Only lists and objects are parsed: a password or a name may look like a number.
        section[keys[-1]] = yaml.safe_load(text) if text.startswith(("[", "{")) else text


def _readable(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        # pydantic puts the kind of camera, which is no key, between the index in the list and the key.
        places = [
            part
            for before, part in zip((None, *item["loc"]), item["loc"], strict=False)
            if not (isinstance(before, int) and part in _sources())
        ]
        key = ".".join(str(part) for part in places)
        if item["type"] == "extra_forbidden":
            lines.append(f"unknown key '{key}'; known here: {', '.join(_known(item['loc'][:-1]))}")
        elif item["type"] == "missing":
            lines.append(f"the key '{key}' is missing")
        elif item["type"] == "union_tag_not_found":
            lines.append(f"the key '{key}.source' is missing; expected one of {', '.join(_sources())}")
        else:
            lines.append(f"{key}: {item['msg']}")
    return "; ".join(lines)


def _known(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Config
    for part in location:
        if isinstance(part, int) or (part not in model.model_fields and part not in _sources()):
            continue  # a place in a list, or a name that the file gives
        if part in _sources():
            model = _sources()[part]
        elif part != "cameras":
            annotation: Any = model.model_fields[part].annotation
            options = [annotation, *get_args(annotation)]
            model = next(item for item in options if isinstance(item, type) and issubclass(item, BaseModel))
    return sorted(model.model_fields)


def _sources() -> dict[str, type[BaseModel]]:
    return {get_args(kind.model_fields["source"].annotation)[0]: kind for kind in get_args(Camera)}


def _absolute(config: Config, folder: Path) -> Config:
    s3, page, mqtt = config.s3, config.page, config.mqtt
    if mqtt is not None and mqtt.tls is not None:
        files = {name: folder / file for name, file in mqtt.tls if file is not None}
        mqtt = mqtt.model_copy(update={"tls": mqtt.tls.model_copy(update=files)})
    return config.model_copy(
        update={
            "state_folder": folder / config.state_folder,
            "root_metadata": folder / config.root_metadata,
            "cameras": tuple(absolute(camera, folder) for camera in config.cameras),
            "mqtt": mqtt,
            "page": page.model_copy(update={"token_file": folder / page.token_file if page.token_file else None}),
            "s3": s3.model_copy(
                update={
                    "credentials_file": folder / s3.credentials_file,
                    "ca_file": folder / s3.ca_file if s3.ca_file else None,
                }
            ),
        }
    )
