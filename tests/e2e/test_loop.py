"""The whole loop on one machine, twice round, as `make demo` runs it, killed once on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from components.stores.datasets.manifest import SplitName, load_manifest
from components.stores.models.champion import champion
from components.stores.models.registry import ModelRegistry
from components.stores.raw_images.images import RawImages
from demo.device import EDGE_PYTHON
from deploy.access.identities import mlflow_account, store_for
from deploy.local import stack
from inspection.documents import Reported
from tests.deploy.stack_fixture import make_layout

MODEL = "metal-tag-quick"


def demo(layout, log: Path, *options: str) -> subprocess.Popen[bytes]:
    ports = {f"KIZU_PORT_{name.upper()}": str(port) for name, port in asdict(layout.ports).items()}
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "kizu", "--debug", "demo", "--quick", *options],
            env=dict(os.environ) | ports | {"KIZU_HOME": str(layout.home), "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@pytest.mark.skipif(not EDGE_PYTHON.exists(), reason="needs the device's environment: make setup")
def test_the_loop_turns_twice_and_a_killed_or_finished_demo_goes_on_where_it_was(tmp_path, monkeypatch):
    """The demo runs the loop twice, and continues where it was after a kill or an end."""
    layout = make_layout(tmp_path / "home")
    log = tmp_path / "demo.log"
    running = []
    try:
        first = demo(layout, log)
        running.append(first)
        progress = layout.home / "demo" / "progress.json"
        deadline = time.monotonic() + 900
        while not (progress.exists() and "label-1" in json.loads(progress.read_bytes())["steps"]):
            assert first.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.5)
        os.killpg(first.pid, signal.SIGKILL)  # in the middle of the first training
        first.wait()

        second = demo(layout, log)
        running.append(second)
        assert second.wait(1500) == 0, log.read_text()[-5000:]
        said = log.read_text()
        assert "the loop turned twice" in said
        assert "stand-in" in said
        assert f"as approver; its password is in {layout.mlflow_accounts}" in said
        assert said.count("1/7  raw images") == 2
        for picture in ("labels.png", "round-1.png", "round-2.png"):
            file = layout.home / "demo" / picture
            assert f": {file}" in said, "each picture is named as soon as it is there"
            assert file.stat().st_size > 10_000
        steps = json.loads(progress.read_bytes())["steps"]

        for setting, value in mlflow_account(layout, "signer").items():
            monkeypatch.setenv(setting, value)
        registry = ModelRegistry(layout.mlflow_url)
        versions = registry.versions(MODEL)
        assert [v.version for v in versions] == [2, 1]
        assert all(v.approval == "approved" and v.tags["approval_by"] == "approver" for v in versions)
        current = champion(registry, MODEL)
        assert current is not None
        assert current.version.version == 2
        assert current.report.champion is not None, "round two was compared with round one's model"
        assert current.report.champion.version == 1

        reported = Reported.from_json(store_for(layout, "reconciler").get("kizu-fleet", "line1/reported.json"))
        assert reported.running_release == steps["deploy-2"]["release_digest"]
        assert reported.pending_release is None

        training = store_for(layout, "training")
        first_set = load_manifest(training, "kizu-datasets", steps["train-1"]["dataset_digest"])
        second_set = load_manifest(training, "kizu-datasets", steps["train-2"]["dataset_digest"])
        sent = steps["inspect"]
        assert sent > 0
        assert len(second_set.images) == len(first_set.images) + sent
        kept = {path.name for path in (layout.cache / "images").rglob("*") if path.is_file()}
        assert kept == {image.sha256 for image in second_set.images}, "steps share the images that they read"
        old_test = {image.group for image in first_set.of(SplitName.TEST)}
        assert old_test <= {image.group for image in second_set.of(SplitName.TEST)}, "old test parts stay in test"
        for manifest in (first_set, second_set):
            splits: dict[str, set[str]] = {}
            for image in manifest.images:
                splits.setdefault(image.group, set()).add(image.split)
            assert all(len(found) == 1 for found in splits.values()), "a part never falls on both sides"
        from_device = [
            i for i in RawImages(store_for(layout, "importer"), "kizu-raw").list_images() if i.device == "line1"
        ]
        assert len(from_device) == sent
        sheet = layout.home / "demo" / "contact-sheet.png"
        assert sheet.stat().st_size > 10_000

        sheet.unlink()
        again = demo(layout, tmp_path / "again.log", "--stop")
        running.append(again)
        said = tmp_path / "again.log"
        assert again.wait(300) == 0, said.read_text()[-5000:]
        assert "the loop turned twice" in said.read_text()
        assert "all servers are stopped" in said.read_text()
        assert json.loads(progress.read_bytes())["steps"] == steps, "a finished demo does nothing anew"
        assert sheet.stat().st_size > 10_000, "the servers stop after the last picture"
        assert not stack.status(layout).services
    finally:
        for process in running:
            process.kill()
            process.wait()
        stack.down(layout)
