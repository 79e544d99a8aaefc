"""A backup of the real servers while they run, and what a new home has after a restore."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from dataclasses import replace

import httpx
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from components.registry.register import register
from components.stores.labels.store import LabelStore
from components.stores.models.registry import ModelRegistry
from components.stores.objects.s3 import AccessDenied
from components.stores.releases.signer_client import SignerClient
from deploy.access.identities import allow_approvers, load, mlflow_account, store_for
from deploy.access.layout import Layout
from deploy.local.store_alone import store_alone
from edge_agent.config import Credentials
from edge_agent.object_store import S3ObjectStore as DeviceStore
from edge_agent.ota.release_client import ReleaseClient
from inspection.image import sha256_of
from kizu.cli import app
from tests.components.model_runs import evaluated_run, unique_use_case
from tests.components.stores.labels.label_events import event
from tests.deploy.stack_fixture import Servers, free_ports

PICTURE = b"a picture of a tag"
KEY = f"factory/line1/2030/01/30/{sha256_of(PICTURE)}.jpg"


@pytest.fixture
def released(stack, monkeypatch):
    """A use case with an approved version that a group should run; its name."""
    use_case = unique_use_case(approvers=["approver"])
    allow_approvers(stack.layout, use_case)
    registry = ModelRegistry.from_settings(stack.settings("training"))
    with stack.acting_as("training"):
        version = register(registry, evaluated_run(registry, use_case), use_case, 1)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in mlflow_account(stack.layout, "approver").items():
            patch.setenv(name, value)
        registry.set_tag(version, "approval", "approved")
    signer = SignerClient.from_settings(stack.settings("deployment"))
    signer.publish_release(use_case.name, version.version)
    signer.publish_desired(use_case.name, version.version)
    return use_case


def kizu(monkeypatch, layout: Layout, *words: str):
    """The command, in a home."""
    with monkeypatch.context() as patch:
        for name, value in {**layout.ports.environment(), "KIZU_HOME": str(layout.home)}.items():
            patch.setenv(name, value)
        for name in ("KIZU_S3_ENDPOINT", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        return CliRunner().invoke(app, list(words))


def test_a_wiped_machine_has_everything_again_from_a_backup_that_was_made_while_all_servers_ran(
    stack, released, tmp_path, monkeypatch
):
    """Pictures with their versions, label events, an approved version, a project of Label Studio, and a release that a
    device verifies by the root that it pinned. The identity of the backup can read all of it and write nothing."""
    importer = stack.store("importer")
    importer.put("kizu-raw", KEY, PICTURE, content_type="image/jpeg")
    importer.put("kizu-raw", KEY, b"overwritten", content_type="image/jpeg")
    LabelStore.open(stack.settings("importer")).append([event(released.name)])
    token = {"Authorization": f"Token {load(stack.layout)['label_studio']['token']}"}
    project = {"title": f"restored {released.name}"}
    httpx.post(f"{stack.layout.label_studio_url}/api/projects", json=project, headers=token).raise_for_status()
    with pytest.raises(AccessDenied):
        stack.store("backup").put("kizu-raw", "mine", b"x")

    target = str(tmp_path / "backups")
    for _ in range(2):
        done = kizu(monkeypatch, stack.layout, "backup", "create", "--target", target)
        assert done.exit_code == 0, (done.output, done.exception)
    refused = kizu(monkeypatch, stack.layout, "backup", "restore", "newest", "--target", target)
    assert "kizu down" in str(refused.exception)

    home = tmp_path / "new"
    home.mkdir()
    shutil.copy(stack.layout.identities_file, home)  # keys and passwords are not in a backup
    layout = replace(stack.layout, home=home, ports=free_ports())
    done = kizu(monkeypatch, layout, "backup", "restore", "newest", "--target", target)
    assert done.exit_code == 0, (done.output, done.exception)

    with store_alone(layout):
        assert store_for(layout, "importer").get_oldest_matching("kizu-raw", KEY, sha256_of(PICTURE)) == PICTURE
        assert store_for(layout, "importer").get("kizu-raw", KEY) == b"overwritten"
        (found,) = LabelStore.open(Servers(layout).settings("importer")).events(use_case=released.name)
        assert found.event_id == f"{released.name}-e"
        key = load(layout)["s3"]["signer"]
        store = DeviceStore(
            layout.s3_endpoint, "us-east-1", Credentials(key["access_key"], SecretStr(key["secret_key"]))
        )
        client = ReleaseClient(store, "kizu-releases", (stack.layout.keys / "root.json").read_bytes(), tmp_path / "tuf")
        client.refresh()
        desired = client.desired_state(released.name, released.rollout.group)
        assert client.fetch_release(desired.ordered, tmp_path / "release").version == 1
        assert any(True for _ in store_for(layout, "mlflow").list("kizu-mlflow"))
    with contextlib.closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as tables:
        query = "SELECT value FROM model_version_tags WHERE name = ? AND key = 'approval'"
        assert tables.execute(query, (released.name,)).fetchall() == [("approved",)]
    with contextlib.closing(sqlite3.connect(home / "label-studio" / "label_studio.sqlite3")) as tables:
        assert tables.execute("SELECT count(*) FROM project WHERE title = ?", (project["title"],)).fetchone() == (1,)
