"""The runtimes behind the inference port: one contract, and what happens where the chosen one is not available."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from edge_agent.errors import BackendUnavailable, InferenceError
from edge_agent.inference import RuntimeChoice, load_model, load_release
from edge_agent.openvino_backend import load_openvino_model
from edge_agent.ota.trial import try_release_aside
from inspection import decode_image
from tests.edge_agent.environments import edge_python
from tests.edge_agent.models import BAD, DOUBTFUL, GOOD, SIDE, build_release, picture, quadrant_model

SHAPE = (1, 3, SIDE, SIDE)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["onnxruntime", "openvino"])
def choice(request) -> RuntimeChoice:
    """One of the runtimes; where it is missing the test is skipped, so that no fall-back hides behind a green test."""
    if request.param == "openvino":
        require_openvino()
    return RuntimeChoice(threads=1, backend=request.param)


def require_openvino() -> None:
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed: it comes with the extra edge-openvino")


def model_file(folder: Path, data: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(data)
    return path


def test_each_backend_gives_the_detections_worked_out_by_hand(tmp_path, choice, caplog):
    """Both runtimes agree with the expected scores within a thousandth, and no fall-back took place."""
    built = build_release()
    with caplog.at_level(logging.WARNING):
        loaded = load_release(built.write(tmp_path / "release"), built.digest, built.release, choice)
    assert caplog.records == []
    found = {}
    for kind in (GOOD, BAD, DOUBTFUL):
        inspection, _ = loaded.inspect(decode_image(picture(*kind)))
        found[kind] = (str(inspection.verdict), [(d.score, d.box.xyxy) for d in inspection.detections])
    assert found[GOOD] == ("pass", [])
    assert found[BAD] == ("fail", [(pytest.approx(1.0, abs=0.001), (0, 0, 32, 32))])
    assert found[DOUBTFUL] == ("uncertain", [(pytest.approx(128 / 255, abs=0.001), (0, 0, 32, 32))])


def test_each_backend_answers_a_new_array_for_every_frame(tmp_path, choice):
    """The next frame does not overwrite an answer that a caller keeps."""
    infer = load_model(model_file(tmp_path, quadrant_model()), SHAPE, choice)
    white, black = infer(np.ones(SHAPE, np.float32)), infer(np.zeros(SHAPE, np.float32))
    assert white.dtype == np.float32
    assert white.shape == (1, 5, 4)
    assert white[0, 4].tolist() == pytest.approx([1, 1, 1, 1])
    assert black[0, 4].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("side", [32, 128])
def test_each_backend_refuses_a_model_of_another_input(tmp_path, choice, side):
    """The release gives one size, and its model has another."""
    path = model_file(tmp_path, quadrant_model(side=side))
    with pytest.raises(InferenceError, match="expected one static float input of shape"):
        load_model(path, SHAPE, choice)


def test_each_backend_wraps_what_goes_wrong_while_running(tmp_path, choice):
    """Each backend turns an error while running into `InferenceError`, so that the loop sees no other error."""
    infer = load_model(model_file(tmp_path, quadrant_model()), SHAPE, choice)
    with pytest.raises(InferenceError, match="failed while running"):
        infer(np.zeros((1, 3, 2, 2), np.float32))


def test_each_backend_passes_the_trial_of_a_good_release(tmp_path, choice):
    """The trial's process uses the runtime that the device uses."""
    built = build_release()
    assert try_release_aside(built.write(tmp_path / "release"), built.digest, choice, threading.Event()).ok


def test_a_model_that_openvino_does_not_take_runs_on_onnxruntime_and_the_log_says_so(tmp_path, caplog):
    """The model has an operator of onnxruntime that OpenVINO does not know."""
    require_openvino()
    node = helper.make_node("Inverse", ["images"], ["output"], domain="com.microsoft")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, SIDE, SIDE]) for name in ("images", "output")]
    graph = helper.make_graph([node], "own operator", ends[:1], ends[1:])
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    path = model_file(tmp_path, helper.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString())
    with pytest.raises(BackendUnavailable, match=r"does not take model\.onnx: .*com\.microsoft\.Inverse"):
        load_openvino_model(path, SHAPE, 1)
    with caplog.at_level(logging.WARNING):
        infer = load_model(path, SHAPE, RuntimeChoice(threads=1, backend="openvino"))
    assert "falling back to onnxruntime" in caplog.text
    assert infer(np.tile(np.eye(SIDE, dtype=np.float32), (1, 3, 1, 1))).shape == SHAPE


def test_a_model_that_is_no_model_is_refused_by_both(tmp_path, choice):
    """A fall-back does not hide a damaged file."""
    with pytest.raises(InferenceError, match=r"cannot load model\.onnx"):
        load_model(model_file(tmp_path, b"no model"), SHAPE, choice)


_LOAD = """
import json, socket, sys, threading
from pathlib import Path
import numpy as np
reached = []
def refuse(*args, **kwargs):
    reached.append(repr(args[-1:]))
    raise OSError("no network in this test")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = socket.create_connection = refuse
import logging
logging.basicConfig(level=logging.WARNING)
from edge_agent.inference import RuntimeChoice, load_model
infer = load_model(Path(sys.argv[1]), (1, 3, 64, 64), RuntimeChoice(threads=1, backend="openvino"))
infer(np.zeros((1, 3, 64, 64), np.float32))
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join(10)
print(json.dumps({"reached": reached, "openvino": "openvino" in sys.modules}))
"""


def load_in(python: str, model: Path, home: Path) -> tuple[dict, str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([python, "-c", _LOAD, str(model)], capture_output=True, text=True, env=environment, cwd=home)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_openvino_reaches_for_no_network_and_leaves_nothing_in_the_home_folder(tmp_path):
    """The package as it comes would report each import to its maker."""
    require_openvino()
    home = tmp_path / "home"
    home.mkdir()
    answer, _ = load_in(sys.executable, model_file(tmp_path, quadrant_model()), home)
    assert answer == {"reached": [], "openvino": True}
    assert list(home.iterdir()) == []
    assert importlib.util.find_spec("openvino_telemetry") is None


def test_without_openvino_the_device_inspects_on_onnxruntime_and_the_log_says_what_to_install(tmp_path):
    """In the device's own environment, which has no OpenVINO, a wrong setting does not stop the line."""
    answer, log = load_in(edge_python(), model_file(tmp_path, quadrant_model()), tmp_path)
    assert answer["openvino"] is False
    assert "OpenVINO is not installed here" in log
    assert "falling back to onnxruntime" in log
