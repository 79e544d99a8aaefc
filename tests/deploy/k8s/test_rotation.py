"""`kizu cluster secrets --rotate`: new keys, and a restart of exactly those who read them."""

from __future__ import annotations

import json

import pytest

from components.deployment import keys
from deploy.access.identities import load
from deploy.access.layout import Layout, Ports
from deploy.k8s.credentials import Addresses, CredentialsError, make
from deploy.k8s.installation import Installation, namespaces_of
from deploy.k8s.rotation import NAMES, changed, readers, rotate
from deploy.k8s.values import Values
from kizu.commands import cluster as commands
from tests.deploy.k8s.cluster_in_memory import ClusterInMemory
from tests.manifests.rendered import render

pytestmark = pytest.mark.manifests


@pytest.fixture
def folder(tmp_path):
    keys.init(tmp_path / "root", tmp_path / "signer-keys")
    return tmp_path.resolve()


def secrets_of(folder):
    return make(folder, folder / "signer-keys", Addresses(), pipelines_namespace="kubeflow")


def layout_of(folder):
    return Layout(folder, Ports(), folder)


def test_an_identity_that_is_rotated_has_nothing_of_before_and_no_other_has_changed(folder):
    """S3 key, account of MLflow and token of the signer, all of them, on both sides."""
    before = secrets_of(folder)
    old = load(layout_of(folder))
    rotate(layout_of(folder), ["reconciler"], own_store=True)
    after = secrets_of(folder)
    new = load(layout_of(folder))
    for place in (("s3",), ("mlflow", "accounts"), ("signer",)):
        was, now = old, new
        for step in place:
            was, now = was[step], now[step]
        assert {name for name in was if was[name] != now[name]} == {"reconciler"}, place
    assert changed(before, after) == {
        ("kizu", "seaweedfs-identities"), ("kizu", "kizu-reconciler"), ("kizu", "kizu-mlflow-accounts"),
        ("kizu-signer", "kizu-signer-callers"),
    }  # fmt: skip
    assert [name for _, _, name in readers(render("local"), changed(before, after))] == [
        "seaweedfs", "mlflow", "reconciler", "signer",
    ]  # fmt: skip


def test_all_changes_every_key_that_is_made_here_and_no_account_of_a_person(folder):
    """People change their passwords themselves, and the signer's keys have a command of their own."""
    before, old = secrets_of(folder), load(layout_of(folder))
    rotate(layout_of(folder), ["all"], own_store=True)
    after, new = secrets_of(folder), load(layout_of(folder))
    assert all(old["s3"][name] != new["s3"][name] for name in old["s3"])
    assert old["mlflow"]["secret_key"] != new["mlflow"]["secret_key"]
    assert old["people"] == new["people"]
    assert old["label_studio"] == new["label_studio"]
    assert old["mlflow"]["accounts"]["approver"] == new["mlflow"]["accounts"]["approver"]
    assert ("kizu-signer", "kizu-signer-keys") not in changed(before, after)
    assert all(old["signer"][name] != new["signer"][name] for name in old["signer"])


def test_keys_of_a_store_of_yours_are_not_made_up(folder):
    """Nothing here could bring them into that store; what else the identity has is rotated."""
    secrets_of(folder)
    old = load(layout_of(folder))
    rotate(layout_of(folder), ["training"], own_store=False)
    assert load(layout_of(folder))["s3"] == old["s3"]
    assert load(layout_of(folder))["mlflow"]["accounts"]["trainer"] != old["mlflow"]["accounts"]["trainer"]
    with pytest.raises(CredentialsError, match="--s3-keys"):
        rotate(layout_of(folder), ["importer"], own_store=False)
    with pytest.raises(CredentialsError, match="expected some of"):
        rotate(layout_of(folder), ["trainer"], own_store=True)


def test_the_command_applies_the_new_secrets_and_restarts_their_readers_on_the_cluster(folder, monkeypatch):
    """Store first. The file of the folder and the cluster have the same keys afterwards, and nothing prints one."""
    cluster, said = ClusterInMemory(), []
    made = Installation(cluster, Values(), said.append, said.append)
    made.apply_secrets(namespaces_of(made.overlay()), secrets_of(folder))
    made.install(made.facts())
    monkeypatch.setattr(commands, "_installation", lambda *words, dry_run, **more: made)
    cluster.calls.clear()
    commands.secrets(folder=folder, rotate=["signer"])
    restarted = [call[2] for call in cluster.calls if call[:2] == ("rollout", "restart")]
    assert restarted == ["statefulset/seaweedfs", "deployment/mlflow", "deployment/signer"]
    secret = cluster.objects["Secret", "kizu-signer", "kizu-signer"]["stringData"]
    known = load(layout_of(folder))["s3"]["signer"]
    assert secret["AWS_SECRET_ACCESS_KEY"] == known["secret_key"]
    identities = json.loads(cluster.objects["Secret", "kizu", "seaweedfs-identities"]["stringData"]["s3.json"])
    signer = next(item for item in identities["identities"] if item["name"] == "signer")
    assert signer["credentials"][0]["secretKey"] == known["secret_key"]
    assert known["secret_key"] not in " ".join(said)


def test_each_name_that_can_be_rotated_is_one_of_the_how_to():
    """A person finds what to write."""
    from deploy.access.layout import REPOSITORY

    text = (REPOSITORY / "docs" / "guides" / "administrator" / "rotation.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in NAMES)
