"""Makes cameras from the configuration."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from edge_agent.camera_config import Camera, Cameras, FolderCamera, GenICamCamera, HttpCamera, OpenCvCamera
from edge_agent.disk import Disk
from edge_agent.errors import ConfigError
from edge_agent.memory_budget import MemoryBudget
from edge_agent.result import Result
from edge_agent.sources.folder import FolderSource
from edge_agent.sources.genicam_camera import GenICamGrabber
from edge_agent.sources.grabbed import GrabbedSource, Grabber
from edge_agent.sources.http import HttpSource
from edge_agent.sources.opencv_camera import OpenCvGrabber
from edge_agent.sources.port import FrameSource
from edge_agent.sources.trigger import TriggerQueue


def check_cameras(cameras: Cameras, *, with_broker: bool) -> None:
    """Check what can be checked without opening a camera.

    Raises:
        ConfigError: a camera's folder is no folder, or a camera has a trigger and no broker is configured.
    """
    for camera in cameras:
        if isinstance(camera, FolderCamera):
            if not camera.path.is_dir():
                raise ConfigError(
                    f"expected camera {camera.name} to have a folder, but {camera.path} is no folder; make it first"
                )
        elif not isinstance(camera, HttpCamera) and camera.trigger_topic and not with_broker:
            raise ConfigError(f"camera {camera.name} has a trigger_topic, but no broker is configured; add mqtt")


def trigger_queues(cameras: Cameras, changed: threading.Event | None = None) -> Mapping[str, TriggerQueue]:
    """One queue for each camera with a trigger topic, by topic.

    Args:
        changed: set when a deadline may have come nearer, or a trigger was missed.

    Raises:
        ConfigError: two cameras have the same topic; each message would take a frame of only one of them.
    """
    triggered = [camera for camera in cameras if isinstance(camera, OpenCvCamera | GenICamCamera)]
    topics = [camera.trigger_topic for camera in triggered if camera.trigger_topic]
    if len(set(topics)) != len(topics):
        raise ConfigError(f"expected a trigger_topic of its own for each camera, but got {topics}")
    return {
        camera.trigger_topic: TriggerQueue(
            deadline_s=camera.trigger_deadline_ms / 1000, max_waiting=camera.max_waiting, changed=changed
        )
        for camera in triggered
        if camera.trigger_topic
    }


def queues_by_camera(cameras: Cameras, triggers: Mapping[str, TriggerQueue]) -> Mapping[str, TriggerQueue]:
    """The queues of `trigger_queues` by the name of their camera."""
    topics = {camera.name: getattr(camera, "trigger_topic", None) for camera in cameras}
    return {name: triggers[topic] for name, topic in topics.items() if topic}


def make_source(
    camera: Camera,
    state_folder: Path,
    *,
    disk: Disk,
    wake: threading.Event,
    triggers: Mapping[str, TriggerQueue],
    budget: MemoryBudget,
    forgot: Callable[[str, int], None] = lambda *_: None,
    answers: Callable[[str], Result | None] = lambda _: None,
) -> FrameSource:
    """Make the camera of one entry of the configuration.

    Args:
        wake: the camera sets it when a frame may wait.
        triggers: the queues by topic, see `trigger_queues`.
        budget: the memory that images may take.
        forgot: called with the camera's name and how many of its files that were set aside are no longer kept.
        answers: finds the result that was recorded under an idempotency key.

    Raises:
        ConfigError: a package that the camera needs is not installed.
    """
    if isinstance(camera, FolderCamera):
        done = state_folder / "done" / camera.name
        return FolderSource(
            camera, done, disk=disk, max_file_bytes=budget.waiting_bytes,
            forgot=lambda number: forgot(camera.name, number),
        )  # fmt: skip
    if isinstance(camera, HttpCamera):
        return HttpSource(camera, wake, budget, answers)
    return GrabbedSource(
        camera.name,
        _grabber(camera),
        mode=camera.mode,
        wake=wake,
        triggers=triggers.get(camera.trigger_topic or ""),
        encoding=camera.encoding,
        jpeg_quality=camera.jpeg_quality,
        reconnect_limit_s=camera.reconnect_limit_s,
        frozen_after=camera.frozen_after,
        budget=budget,
    )


def _grabber(camera: OpenCvCamera | GenICamCamera) -> Grabber:
    if isinstance(camera, GenICamCamera):
        return GenICamGrabber(camera)
    return OpenCvGrabber(camera)


def make_grabber(camera: Camera) -> Grabber | None:
    """Make the driver of a camera alone, to check the camera; None for a kind of camera without a driver.

    Raises:
        ConfigError: a package that the camera needs is not installed.
    """
    return None if isinstance(camera, FolderCamera | HttpCamera) else _grabber(camera)
