"""Backups in a bucket of another store, with a real SeaweedFS on both sides."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import boto3
import pytest

from components.stores.objects.s3 import client_config
from deploy.access.identities import REGION, load, store_for
from deploy.backup.buckets import Buckets
from deploy.backup.creating import Making
from deploy.backup.documents import BackupError
from deploy.backup.restoring import Restoring, verify
from deploy.backup.targets import Shelf, StoreTarget

BUCKETS = ("releases", "raw")


@pytest.fixture
def admin(s3):
    """The administrator's client, and a bucket for backups and a second installation with the prefix `other-`."""
    key = load(s3.layout)["s3"]["admin"]
    client = boto3.client(
        "s3", endpoint_url=s3.layout.s3_endpoint, region_name=REGION, aws_access_key_id=key["access_key"],
        aws_secret_access_key=key["secret_key"], config=client_config("path", attempts=5),
    )  # fmt: skip
    names = ["backups", *(f"other-{name}" for name in BUCKETS)]
    for name in names:
        client.create_bucket(Bucket=name)
    client.put_bucket_versioning(Bucket="other-raw", VersioningConfiguration={"Status": "Enabled"})
    yield client
    client.close()


def test_a_backup_in_another_store_is_one_at_a_time_verified_pruned_and_restored(s3, admin, tmp_path):
    """Leases, listings and conditional writes of a real store; versions come back in their order, with their type."""
    tables = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(tables)) as server, server:
        server.execute("CREATE TABLE t (x)")
    importer = s3.store("importer")
    for number in range(3):
        importer.put("kizu-raw", "backup-test/a b.jpg", f"picture {number}".encode(), content_type="image/jpeg")
    s3.store("signer").put("kizu-releases", "metadata/timestamp.json", b"{}")
    shelf = Shelf(StoreTarget(store_for(s3.layout, "admin"), "backups", "factory/"))
    source = Buckets.from_settings(s3.settings("backup"))
    making = Making(source, shelf, {"mlflow": str(tables)}, lambda line: None, names=BUCKETS)
    making.make()
    with shelf.alone(), pytest.raises(BackupError, match="another backup"):
        making.make()
    made = making.make(keep=1)
    source.close()
    assert shelf.ids() == [made.id]
    assert verify(shelf, made) == []

    other = Buckets(admin, "other-")
    restoring = Restoring(other, shelf, {"mlflow": str(tmp_path / "restored.db")}, lambda line: None)
    restoring.restore(made)
    found = [item for item in other.list("raw") if item.key == "backup-test/a b.jpg"]
    taken = [other.get("raw", item.key, item.version) for item in found]
    assert [(item.data, item.content_type) for item in taken] == [
        (f"picture {number}".encode(), "image/jpeg") for number in range(3)
    ]
    with pytest.raises(BackupError, match="hold something"):
        restoring.restore(made)
    restoring.restore(made, over=True)
    assert len([item for item in other.list("raw") if item.key == "backup-test/a b.jpg"]) == 3
    with pytest.raises(BackupError, match="no such bucket"):
        Buckets(admin, "none-").is_empty("raw")
