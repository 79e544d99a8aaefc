"""The public photographs of metal tags with their Feature Store export, by the command, as the importer."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from components.stores.labels.store import LabelStatus, LabelStore

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def public():
    folder = os.environ.get("KIZU_PUBLIC_TAGS")
    if not folder:
        pytest.skip("KIZU_PUBLIC_TAGS does not name a folder with the public metal tags")
    return Path(folder)


def test_the_public_set_is_157_approved_rows_with_358_boxes_in_20_parts(public, s3, tmp_path):
    """The importer's identity imports the public set once, again without change, and the training identity reads it."""
    name = f"public-{uuid.uuid4().hex[:8]}"
    use_case = tmp_path / "use-case.yaml"
    text = (REPOSITORY / "use_cases" / "metal-tag-public.yaml").read_text(encoding="utf-8")
    use_case.write_text(text.replace("name: metal-tag-public", f"name: {name}"), encoding="utf-8")

    def take():
        return subprocess.run(
            [sys.executable, "-m", "kizu", "import", "ground-truth", str(public / "labels.csv"),
             "--images", str(public / "images"), "--use-case", str(use_case), "--trust-status"],
            cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True,
            env=s3.environment("importer") | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"},
        ).stdout  # fmt: skip

    assert "157 rows (157 approved) with 358 boxes; 157 new" in take()
    assert "157 rows (157 approved) with 358 boxes; 0 new, 0 new images; 0 set aside" in take()
    labels = LabelStore.open(s3.settings("training"))
    approved = labels.latest_approved(name)
    assert len(approved) == len(labels.events(use_case=name)) == 157
    assert sum(len(event.boxes) for event in approved.values()) == 358
    assert {(event.status, event.verifier) for event in approved.values()} == {(LabelStatus.APPROVED, None)}
    assert {event.reason for event in approved.values()} == {"imported; the source said 'APPROVED'; status trusted"}
    groups = {event.group for event in approved.values()}
    assert all(group.startswith("part-") for group in groups)
    assert len(groups) == 20
