"""Checks everything that an agent needs, without starting one."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from paho.mqtt.client import Client

from edge_agent.broker import make_client
from edge_agent.camera_config import FolderCamera
from edge_agent.config import Config
from edge_agent.errors import EdgeError, ObjectNotFound, StateError
from edge_agent.inference import RuntimeChoice
from edge_agent.object_store import S3ObjectStore
from edge_agent.ota.release_client import ReleaseClient
from edge_agent.ota.store import ReleaseStore
from edge_agent.ota.trial import try_release_aside
from edge_agent.sources.folder import subfolders_remark
from edge_agent.sources.make import check_cameras, make_grabber

_MQTT_WAIT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class SelfTestResult:
    """The outcome of one check. ok: None where there is nothing to check, such as a broker that is not configured."""

    name: str
    ok: bool | None
    message: str


def selftest(config: Config) -> Iterator[SelfTestResult]:
    """Run all checks; yields the result of each as soon as it is known. A check that fails raises nothing."""
    checks: tuple[tuple[str, Callable[[Config], str | None]], ...] = (
        ("state folder", _state_folder),
        ("disk space", _disk_space),
        ("cameras", _cameras),
        ("root metadata", _root),
        ("S3, own identity", _s3),
        ("releases", _releases),
        ("MQTT broker", _mqtt),
        ("golden samples", _golden),
        ("acceptance rules", _acceptance),
    )
    for name, check in checks:
        try:
            message = check(config)
        except (EdgeError, OSError) as e:
            yield SelfTestResult(name, False, str(e))
            continue
        yield SelfTestResult(name, None if message is None else True, message or "nothing to check")


def _state_folder(config: Config) -> str:
    config.state_folder.mkdir(parents=True, exist_ok=True)
    if not os.access(config.state_folder, os.W_OK):
        raise StateError(f"{config.state_folder} cannot be written")
    return str(config.state_folder)


def _disk_space(config: Config) -> str:
    free = shutil.disk_usage(config.state_folder).free
    if free < config.outbox.min_free_bytes:
        raise StateError(f"{free:,} bytes are free, less than outbox.min_free_bytes ({config.outbox.min_free_bytes:,})")
    return f"{free:,} bytes free"


def _cameras(config: Config) -> str:
    check_cameras(config.cameras, with_broker=config.mqtt is not None)
    remarks: list[str] = []
    for camera in config.cameras:
        if isinstance(camera, FolderCamera):
            if not os.access(camera.path, os.R_OK | os.W_OK | os.X_OK):
                raise StateError(f"{camera.path} must be readable and writable: processed frames are moved out of it")
            remarks += [remark for remark in (subfolders_remark(camera.path),) if remark]
        elif (grabber := make_grabber(camera)) is not None:
            try:
                grabber.open()
                grabber.read()
                remarks += [remark for remark in (getattr(grabber, "remark", ""),) if remark]
            finally:
                grabber.close()
    return "; ".join([", ".join(f"{camera.name} ({camera.source})" for camera in config.cameras), *remarks])


def _root(config: Config) -> str:
    ReleaseClient.from_config(config, S3ObjectStore.from_config(config.s3))
    return str(config.root_metadata)


def _s3(config: Config) -> str:
    store = S3ObjectStore.from_config(config.s3)
    try:
        store.get(config.buckets.releases, "metadata/timestamp.json")
    except ObjectNotFound:
        return f"{config.s3.endpoint} answers; no release was ever published"
    return f"{config.s3.endpoint} answers"


def _releases(config: Config) -> str:
    client = ReleaseClient.from_config(config, S3ObjectStore.from_config(config.s3))
    client.refresh()
    desired = client.desired_state(config.use_case, config.group)
    if desired is None:
        return f"signed and fresh; nothing is desired for {config.use_case} in group {config.group} yet"
    digest = desired.release_for(config.device)
    return f"signed and fresh; sequence {desired.sequence} wants {digest[:12] if digest else 'nothing of this device'}"


def _mqtt(config: Config) -> str | None:
    if config.mqtt is None:
        return None
    answered = threading.Event()
    codes: list[str] = []
    client = make_client(config.mqtt, f"kizu-selftest-{config.device}")

    def on_connect(client: Client, data: object, flags: object, code: object, properties: object) -> None:
        codes.append(str(code))
        answered.set()

    client.on_connect = on_connect
    where = f"{config.mqtt.host}:{config.mqtt.port}"
    client.connect_async(config.mqtt.host, config.mqtt.port, keepalive=10)
    client.loop_start()
    try:
        if not answered.wait(_MQTT_WAIT_S):
            raise StateError(f"{where} does not answer within {_MQTT_WAIT_S:.0f} s")
    finally:
        client.disconnect()
        client.loop_stop()
    if codes != ["Success"]:
        raise StateError(f"{where} refuses: {', '.join(codes)}")
    return f"{where} answers"


def _golden(config: Config) -> str | None:
    store = ReleaseStore(config.state_folder)
    digest = store.load_state().running
    if digest is None:
        return None
    choice = RuntimeChoice.from_config(config.inference)
    result = try_release_aside(store.folder(digest), digest, choice, threading.Event())
    if not result.ok:
        raise StateError(f"release {digest[:12]}: {result.reason}: {result.message}")
    samples = len(store.read(digest).golden)
    return f"release {digest[:12]} reproduces {samples} samples, {result.latency_ms:.1f} ms a frame"


def _acceptance(config: Config) -> str | None:
    """Whether the running release's rules can be judged on each camera, and take what this device tightens."""
    store = ReleaseStore(config.state_folder)
    digest = store.load_state().running
    if digest is None:
        return None
    acceptance = store.read(digest).acceptance
    tightened, refused = config.acceptance_tighten.to_tightening().of(acceptance)
    if tightened is None and not refused:
        return None
    wrong = [*refused]
    for rule in tightened.rules if tightened is not None else ():
        for camera in config.cameras:
            assert tightened is not None
            zone = tightened.zones[rule.zone] if rule.zone is not None else None
            if (why := rule.unmeasured(zone, camera.view())) is not None:
                wrong.append(f"rule {rule.name} cannot be judged on camera {camera.name}: {why}")
    if wrong:
        raise StateError("; ".join(wrong))
    return f"{len(tightened.rules) if tightened is not None else 0} rules can be judged on each camera"
