"""Several cameras on one agent, as it is shipped: a network camera that a PLC triggers, and a folder beside it."""

from __future__ import annotations

import json
import signal

import pytest

from tests.edge_agent.listener import Listener
from tests.edge_agent.models import BAD, build_release, picture
from tests.edge_agent.network_camera import Stream
from tests.edge_agent.running_agent import Device, take
from tests.edge_agent.servers import wait_for

TOPIC = "plc/line1/part-in-place"


@pytest.fixture
def stream():
    stream = Stream()
    stream.value = 255
    yield stream
    stream.stop()


@pytest.fixture
def device(tmp_path, seaweed, publisher, broker, stream):
    cameras = [
        {"name": "top", "source": "opencv", "device": f"http://127.0.0.1:{stream.port}/live.mjpg", "timeout_s": 3,
         "trigger_topic": TOPIC, "trigger_deadline_ms": 5000, "reconnect_limit_s": 0.5, "encoding": "png"},
        {"name": "side", "source": "folder", "path": "camera", "poll_interval_s": 0.05, "settle_s": 0.0},
    ]  # fmt: skip
    device = Device(tmp_path / "device", seaweed, publisher.root_bytes, broker, cameras=cameras)
    yield device
    device.stop(signal.SIGKILL)


def test_a_trigger_takes_one_frame_of_a_network_camera_and_a_folder_goes_on_beside_it(
    device,
    publisher,
    broker,
    stream,
):
    """Each message takes one frame with its part, and a repeated one takes none. While the camera is lost, the line is
    told of each part that was not inspected; no later picture is taken for it.
    """
    line = Listener(broker.port)
    device.start()
    take(device, publisher, build_release(1))
    wait_for(lambda: device.get("/readyz")[0] == 200)

    def trigger(number: int) -> None:
        line.client.publish(TOPIC, json.dumps({"part_id": f"P-{number}", "id": f"m{number}"}), qos=1)

    def seen(camera: str) -> list[dict]:
        return [item for item in line.results if item["camera"] == camera]

    trigger(1)
    wait_for(lambda: len(seen("top")) == 1)
    trigger(1)
    device.feed("a.png", picture(*BAD))
    trigger(2)
    wait_for(lambda: len(seen("top")) == 2 and len(seen("side")) == 1)
    assert [item["part_id"] for item in seen("top")] == ["P-1", "P-2"]
    assert {item["verdict"] for item in line.results} == {"fail"}

    stream.stop()
    wait_for(lambda: "top" in device.status()["problem"])
    trigger(3)
    wait_for(lambda: len(seen("top")) == 3)
    missed = seen("top")[-1]
    assert (missed["part_id"], missed["trigger_id"], missed["verdict"]) == ("P-3", "m3", "not-inspected")
    assert (missed["reason"], missed["sha256"]) == ("camera-lost", None)
    device.feed("b.png", picture(*BAD, seed=2))
    wait_for(lambda: len(seen("side")) == 2)
    again = Stream(stream.port)
    again.value = 255
    try:
        wait_for(lambda: not device.status()["problem"], 30)
        trigger(4)
        wait_for(lambda: len(seen("top")) == 4)
        assert [(item["part_id"], item["verdict"]) for item in seen("top")] == [
            ("P-1", "fail"), ("P-2", "fail"), ("P-3", "not-inspected"), ("P-4", "fail")
        ]  # fmt: skip
        assert device.status()["frames"]["inspected"] == 5
        assert device.status()["frames"]["not_inspected"] == {"camera-lost": 1}
        assert b'kizu_frames_not_inspected_total{reason="camera-lost"} 1.0' in device.get("/metrics")[1]
    finally:
        again.stop()
        line.close()
    assert device.stop() == 0
