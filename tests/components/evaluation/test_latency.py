"""The latency of the deployed path in processes of its own: which models are timed, and the figures of given times.

No test asserts how long anything takes.
"""

import os

import pytest

from components.evaluation.latency import InspectionSettings, LatencyError, measure, summarise
from inspection.decode import Nms
from inspection.verdict import ClassThreshold
from tests.components.evaluation.brightness_detector import brightness_model, png

SETTINGS = InspectionSettings(("scratch",), {"scratch": ClassThreshold(0.5, 0.25)}, Nms())


def test_the_figures_of_a_model_are_median_and_95th_percentile_of_its_frames():
    """The frames 1 to 99 ms have the median 50 ms and the 95th percentile 95 ms, in whatever order they came."""
    frames = [float(ms) for ms in range(99, 0, -1)]
    timed = summarise(frames, 120_000_000)
    assert (timed.deployed.latency_ms_p50, timed.deployed.latency_ms_p95) == (50.0, 95.0)
    assert (timed.deployed.frames, timed.deployed.threads, timed.deployed.peak_memory_bytes) == (99, 2, 120_000_000)
    assert timed.frames_ms == tuple(frames)


def test_two_models_are_timed_in_the_same_rounds_with_the_memory_of_each():
    """Each model has as many frames as the other, at least ten, and its process the memory of a runtime alone."""
    found = measure(
        {"fp32": brightness_model(), "int8": brightness_model(scale=0.5)}, [png(90, 1), png(200, 2)], SETTINGS
    )
    assert list(found) == ["fp32", "int8"]
    assert len({len(timed.frames_ms) for timed in found.values()}) == 1
    for timed in found.values():
        assert timed.deployed.frames == len(timed.frames_ms) >= 10
        assert timed.deployed.threads == 2
        assert 20e6 < timed.deployed.peak_memory_bytes < 400e6


def test_a_process_that_dies_is_reported_with_its_last_words():
    """When a process dies because the bytes are no model, the error carries what the process wrote last."""
    with pytest.raises(LatencyError, match="onnxruntime cannot load the model"):
        measure({"fp32": b"no onnx"}, [png(90, 1)], SETTINGS)


def test_without_an_image_nothing_is_timed():
    """Without an image, measuring raises an error that says that an image was expected."""
    with pytest.raises(LatencyError, match="expected an image"):
        measure({"fp32": brightness_model()}, [], SETTINGS)


def test_no_process_is_left():
    """When one of two timed processes dies, the other is ended too."""
    before = set(os.listdir("/proc"))
    with pytest.raises(LatencyError):
        measure({"fp32": brightness_model(), "int8": b""}, [png(90, 1)], SETTINGS)
    mine = []
    for pid in set(os.listdir("/proc")) - before:
        if pid.isdigit():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as stream:
                    command = stream.read()
                with open(f"/proc/{pid}/stat") as stream:
                    parent = int(stream.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if b"deployed_run" in command and parent == os.getpid():
                mine.append(command)
    assert mine == []
