"""A trainer in a process of its own that can reach no network, and what came of it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = {"width_multiple": 0.0625, "image_width": 96, "image_height": 64, "epochs": 2, "batch": 4, "seed": 3}

# Every look for a name and every connection is an error here, and is written down; so is every file that is written.
_SCRIPT = """
import importlib, json, os, socket, sys, tempfile
from pathlib import Path
reached, written = [], set()
def refuse(*args, **kwargs):
    reached.append(repr(args[-1:]))
    raise OSError("no network in this test")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = socket.create_connection = refuse
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
def watch(event, args):
    if event == "open" and isinstance(args[0], (str, bytes, os.PathLike)) and args[2] & WRITES:
        written.add(os.path.realpath(os.fsdecode(args[0])))
tempfile.gettempdir()  # it tries the folder by a file
telemetry_off = []
def watch_onnxruntime(event, args):
    if event == "import" and args[0] == "onnxruntime":
        telemetry_off.append(os.environ.get("ORT_DISABLE_TELEMETRY") == "1")
sys.addaudithook(watch)
sys.addaudithook(watch_onnxruntime)

from components.training.trainer import Checkpoint, DetectionDataset, TrainingError
from components.use_case import TrainingSettings

class Keeper:
    def __init__(self):
        self.kept = []
    def due(self):
        return True
    def keep(self, checkpoint):
        self.kept.append(checkpoint)

order = json.loads(sys.argv[1])
module, _, name = order["trainer"].partition(":")
known, answers = {}, []
for number, step in enumerate(order["steps"]):
    trainer = getattr(importlib.import_module(module), name)(1, Path(step["base"]) if step["base"] else None)
    dataset = DetectionDataset(
        Path(step["folder"]), Path(step["data_file"]), tuple(step["classes"]), step["images"], "d" * 64
    )
    resume = None
    if step["after"]:
        # A trainer of one pass keeps no checkpoint; it is given one that it never made.
        resume = known.get(step["after"]) or Checkpoint(step["after"], (), b"", {"torch": "0"})
        resume = Checkpoint(resume.epoch, resume.told, step["state"].encode() or resume.state,
                            {**resume.versions, **step["versions"]})
    keeper = Keeper()
    answer = {"epochs": [], "onnx": "", "record": None, "error": "", "kind": ""}
    try:
        trained = trainer.train(
            dataset, TrainingSettings(**step["settings"]), Path(order["workdir"]) / str(number),
            lambda epoch, numbers: answer["epochs"].append([epoch, dict(numbers)]),
            keeper=keeper, resume_from=resume,
        )
        answer["onnx"], answer["record"] = str(trained.onnx_path), dict(trained.record)
    except TrainingError as e:
        answer["error"], answer["kind"] = str(e), type(e).__name__
    known.update({checkpoint.epoch: checkpoint for checkpoint in keeper.kept})
    answer["kept"] = [checkpoint.epoch for checkpoint in keeper.kept]
    answers.append(answer)
found = {"steps": answers, "reached": reached, "written": sorted(written)}
Path(order["answer"]).write_text(json.dumps(found | {"telemetry_off": telemetry_off[:1] == [True]}))
"""


@dataclass(frozen=True)
class Step:
    """One training. after: go on from the checkpoint of this epoch of an earlier one, changed by state and versions.

    base: weights to begin from.
    """

    dataset: Any
    settings: Mapping[str, Any] | None = None
    after: int = 0
    state: str = ""
    versions: Mapping[str, str] | None = None
    base: Path | None = None

    def as_json(self, common: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "folder": str(self.dataset.folder),
            "data_file": str(self.dataset.data_file),
            "classes": self.dataset.classes,
            "images": dict(self.dataset.images),
            "settings": {**common, **(self.settings or {})},
            "after": self.after,
            "state": self.state,
            "versions": dict(self.versions or {}),
            "base": str(self.base or ""),
        }


def run(trainer: str, folder: Path, *steps: Step, common: Mapping[str, Any] = SETTINGS) -> dict[str, Any]:
    """Train one after the other, below `folder/work/<number>`. trainer: `module:Class`; common: settings of all."""
    order = {
        "trainer": trainer,
        "steps": [step.as_json(common) for step in steps],
        "workdir": str(folder / "work"),
        "answer": str(folder / "answer.json"),
    }
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, json.dumps(order)],
        cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "answer.json").read_text())
