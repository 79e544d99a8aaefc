"""The notebooks run from the first cell to the last, on real stores."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.registry.register import register
from components.stores.labels.store import LabelEvent, LabelStatus, LabelStore
from components.stores.raw_images.images import RawImages, capture_id_for
from inspection import Box, Capture, Detection, LabelledBox, LineTally, Reason, Reported, Verdict, sha256_of
from tests.components.model_runs import evaluated_run, unique_use_case

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
NOW = datetime.now(UTC)


def run(name):
    """Run the code cells in order, in one namespace; what the cells leave behind."""
    left = {}
    for number, cell in enumerate(json.loads((FOLDER / name).read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{name}, cell {number}", "exec"), left)
    return left


@pytest.fixture
def as_auditor(installation, mlflow_uri, monkeypatch):
    """The environment of somebody who looks at this installation."""
    for key, value in {
        "KIZU_S3_ENDPOINT": installation.s3_endpoint,
        "AWS_ACCESS_KEY_ID": installation.access_key_id,
        "AWS_SECRET_ACCESS_KEY": installation.secret_access_key.get_secret_value(),
        "KIZU_BUCKET_PREFIX": installation.bucket_prefix,
        "MLFLOW_TRACKING_URI": mlflow_uri,
    }.items():
        monkeypatch.setenv(key, value)
    return monkeypatch


def test_each_notebook_is_tested_here_and_holds_no_output():
    """Outputs are of somebody's installation, and make every change large."""
    assert NOTEBOOKS == ["device-live.ipynb", "labels-as-of.ipynb", "two-releases.ipynb"]
    for name in NOTEBOOKS:
        for cell in json.loads((FOLDER / name).read_text(encoding="utf-8"))["cells"]:
            assert cell.get("outputs", []) == []
            assert cell.get("execution_count") is None


def test_a_device_is_watched_live(as_auditor, installation, store, capsys):
    """Its report is read twice, and the frame that it sent back is drawn with its box."""
    report = Reported(
        device="nb-device", group="line", reported_at=NOW, state="running", running_release="a" * 64,
        verdicts={"pass": 9, "fail": 1},
        tallies=(LineTally(release_digest="a" * 64, since=NOW, frames=10, fail=1, p95_ms=30.0),),
    )  # fmt: skip
    store.put(installation.bucket("fleet"), "nb-device/reported.json", report.to_json())
    data = cv2.imencode(".png", np.full((12, 16, 3), 90, np.uint8))[1].tobytes()
    digest = sha256_of(data)
    RawImages(store, installation.bucket("raw")).put(
        data,
        Capture(
            capture_id=capture_id_for(digest, "uncertain", NOW), sha256=digest, device="nb-device", camera="top",
            captured_at=NOW, reason=Reason.UNCERTAIN, detections=(Detection("scratch", 0.4, Box(1, 1, 4, 4)),),
            verdict=Verdict.UNCERTAIN,
        ),
        site="plant",
    )  # fmt: skip
    as_auditor.setenv("KIZU_DEVICE", "nb-device")
    as_auditor.setenv("KIZU_ROUNDS", "2")
    as_auditor.setenv("KIZU_EVERY_S", "0")
    left = run("device-live.ipynb")
    said = capsys.readouterr().out
    assert said.count("'fail': 1") == 2
    assert "of the latest 10 frames: 1 fail" in said
    assert "uncertain uncertain: scratch 0.40" in said
    assert len(left["figure"].axes) == 1


def test_labels_are_shown_as_of_a_time(as_auditor, installation, capsys):
    """A box that was added after that time is in force now, and was not then."""
    name, store = unique_use_case().name, LabelStore.open(installation)

    def event(number, boxes):
        return LabelEvent(
            event_id=f"{name}-{number}", use_case=name, image_uri=f"s3://raw/{name}.png", sha256=f"{'b' * 64}",
            width=9, height=9, boxes=boxes, status=LabelStatus.APPROVED, at=NOW + timedelta(seconds=number),
            group="g", source="test",
        )  # fmt: skip

    store.append([event(1, ())])
    between = datetime.now(UTC)
    store.append([event(2, (LabelledBox("scratch", Box(1, 1, 3, 3)),))])
    as_auditor.setenv("KIZU_USE_CASE_NAME", name)
    as_auditor.setenv("KIZU_AS_OF", between.isoformat())
    left = run("labels-as-of.ipynb")
    assert (len(left["new"]), len(left["gone"]), len(left["changed"])) == (0, 0, 1)
    assert "0 boxes then,      1 now" in capsys.readouterr().out


def test_two_releases_are_compared(as_auditor, registry, capsys):
    """The newest two versions, with what differs between them."""
    use_case = unique_use_case()
    for number, map50 in ((1, 0.8), (2, 0.9)):
        register(registry, evaluated_run(registry, use_case, onnx=b"v%d" % number, map50=map50), use_case, number)
    as_auditor.setenv("KIZU_USE_CASE_NAME", use_case.name)
    left = run("two-releases.ipynb")
    said = capsys.readouterr().out
    assert [version.version for version in left["versions"]] == [1, 2]
    assert "0.800" in said
    assert "0.900" in said
    assert "different datasets" not in said
