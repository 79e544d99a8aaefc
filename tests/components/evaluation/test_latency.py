"""The deployed path in processes of its own. What it takes is measured here, and asserted nowhere."""

import os

import pytest

from components.evaluation.latency import InspectionSettings, LatencyError, measure
from inspection.decode import Nms
from inspection.verdict import ClassThreshold
from tests.components.evaluation.brightness_detector import brightness_model, png

SETTINGS = InspectionSettings(("scratch",), {"scratch": ClassThreshold(0.5, 0.25)}, Nms())


def test_two_models_are_timed_in_the_same_rounds_with_the_memory_of_each():
    """As many frames each; memory of a process with a runtime in it, but without this one's libraries."""
    found = measure(
        {"fp32": brightness_model(), "int8": brightness_model(scale=0.5)}, [png(90, 1), png(200, 2)], SETTINGS
    )
    assert list(found) == ["fp32", "int8"]
    for timed in found.values():
        assert timed.deployed.frames == len(timed.frames_ms) == 60
        assert 0 < timed.deployed.latency_ms_p50 <= timed.deployed.latency_ms_p95
        assert timed.deployed.threads == 2
        assert 20e6 < timed.deployed.peak_memory_bytes < 400e6


def test_a_process_that_dies_says_its_last_words():
    """No model at all."""
    with pytest.raises(LatencyError, match="onnxruntime cannot load the model"):
        measure({"fp32": b"no onnx"}, [png(90, 1)], SETTINGS)


def test_without_an_image_there_is_nothing_to_time_it_on():
    """The message says what is missing."""
    with pytest.raises(LatencyError, match="expected an image"):
        measure({"fp32": brightness_model()}, [], SETTINGS)


def test_no_process_is_left(monkeypatch):
    """Not where one of two dies either."""
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
