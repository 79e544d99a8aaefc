"""`kizu cluster`: what is applied to a cluster, what is refused, and what stays when it is removed."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from components.deployment import keys
from deploy.k8s.checks import Level, judge, refuse_empty_registry, too_small
from deploy.k8s.credentials import Addresses, CredentialsError, make, with_database
from deploy.k8s.facts import Facts, gather
from deploy.k8s.installation import Installation, InstallationError, namespaces_of
from deploy.k8s.kubectl import KubectlError, KubectlProcess, did
from deploy.k8s.migration import Migration
from deploy.k8s.tailoring import TailoringError
from deploy.k8s.values import Peer, Values, ValuesError, parse, read, write
from kizu.cli import app
from tests.deploy.k8s.cluster_in_memory import ClusterInMemory, document, of_a_new_cluster

pytestmark = pytest.mark.manifests


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """The Secrets of a new installation, and the one that a person makes for prod."""
    folder = tmp_path_factory.mktemp("secrets")
    keys.init(folder / "root", folder / "signer")
    return make(folder / "out", folder / "signer", Addresses(), pipelines_namespace="kubeflow")


def installation(cluster, values=None, **more):
    said: list[str] = []
    shown: list[str] = []
    made = Installation(cluster, values or Values(), said.append, shown.append, **more)
    return made, said, shown


def installed(secrets, values=None):
    """A cluster with Kizu on it, the installation, and the values that were found."""
    cluster = ClusterInMemory()
    made, _, _ = installation(cluster, values)
    made.apply_secrets(namespaces_of(made.overlay()), secrets)
    return cluster, made, made.install(made.facts())


PROD = Values(
    overlay="prod", label_studio_public="https://label.factory.test", mlflow_host="mlflow.factory.test",
    fleet_host="fleet.factory.test",
)  # fmt: skip


def test_the_facts_of_a_cluster_are_read_from_the_documents_that_it_sends():
    """Version, KFP, volumes, DNS and the API server on both sides of its Service."""
    facts = gather(ClusterInMemory(), "kubeflow")
    assert facts.version == (1, 36)
    assert facts.kfp_version == "2.17.0"
    assert facts.api_server == (("10.43.0.1", 443), ("192.0.2.10", 6443))
    assert facts.dns == {"k8s-app": "coredns"}
    assert facts.engine == "calico"
    assert [(item.name, item.default, item.expands) for item in facts.storage] == [
        ("local-path", True, False), ("fast", False, True),
    ]  # fmt: skip
    assert not facts.volumes
    assert not facts.missing_rights


def test_a_check_says_what_is_missing_and_what_to_do():
    """An old cluster without KFP, without a default class, and with a caller who may not make roles."""
    bare = [item for item in of_a_new_cluster() if item["metadata"]["name"] not in ("ml-pipeline", "local-path")]
    cluster = ClusterInMemory(bare, version="v1.27.4")
    cluster.refused = {"roles.rbac.authorization.k8s.io"}
    found = {item.what: item for item in judge(gather(cluster, "kubeflow"), Values())}
    missing = {what for what, item in found.items() if item.level is Level.MISSING}
    assert missing == {"Kubernetes", "Kubeflow Pipelines", "storage class", "your rights"}
    assert all(found[what].do for what in missing)
    made, _, _ = installation(cluster)
    with pytest.raises(InstallationError, match="storage class"):
        made.install(made.facts())
    assert cluster.calls == []


def test_an_installation_has_the_addresses_of_its_cluster_and_none_of_the_examples(secrets):
    """API server, DNS and images are those of the cluster and the values; steps reach no other address outside."""
    cluster, _, values = installed(secrets, Values(registry="registry.factory.test/kizu", ingress_namespace="ingress"))
    applied = str(list(cluster.objects.values()))
    assert "kube-dns" not in applied
    assert "10.96.0.1" not in applied
    assert "0.0.0.0/0" not in applied
    policy = cluster.objects["NetworkPolicy", "kubeflow", "kizu-pipelines-api-server"]["spec"]["egress"]
    assert [(rule["to"][0]["ipBlock"]["cidr"], rule["ports"][0]["port"]) for rule in policy] == [
        ("10.43.0.1/32", 443), ("192.0.2.10/32", 6443),
    ]  # fmt: skip
    banned = cluster.objects["ConfigMap", "kizu", "labelstudio"]["data"]["USER_ADDITIONAL_BANNED_SUBNETS"]
    assert "10.43.0.1/32" in banned
    images = {
        container["image"]
        for item in cluster.objects.values()
        for container in item.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ())
    }
    assert {image for image in images if "kizu" in image} == {
        f"registry.factory.test/kizu/{name}:0.1.0" for name in ("seaweedfs", "mlflow", "labelstudio", "control", "edge")
    }
    for server in ("labelstudio", "mlflow", "fleet-page", "seaweedfs"):
        rules = cluster.objects["NetworkPolicy", "kizu", server]["spec"]["ingress"]
        assert "'kubernetes.io/metadata.name': 'ingress'" in str(rules), server
    assert values.dns == {"k8s-app": "coredns"}


def test_installing_again_changes_nothing_and_a_job_that_is_there_is_in_nobodys_way(secrets):
    """An upgrade is the same command: the Job, which cannot be changed, is made anew."""
    cluster, made, _ = installed(secrets)
    cluster.objects["Job", "kizu", "bucket-setup"]["spec"]["backoffLimit"] = 1
    before = copy.deepcopy({key: item for key, item in cluster.objects.items() if key[0] != "Job"})
    made.install(made.facts())
    assert {key: item for key, item in cluster.objects.items() if key[0] != "Job"} == before


def test_without_secrets_nothing_but_namespaces_is_applied(secrets):
    """Pods that wait for Secrets look like a failure; the message names the command."""
    cluster = ClusterInMemory()
    made, _, _ = installation(cluster)
    with pytest.raises(InstallationError, match="kizu cluster secrets"):
        made.install(made.facts())
    assert not cluster.names("Deployment") - {"ml-pipeline"}


def test_a_dry_run_prints_what_it_would_apply_and_changes_nothing(secrets):
    """What is printed is YAML that could be applied by hand; no value of a Secret is in it."""
    cluster = ClusterInMemory()
    made, _, shown = installation(cluster, dry_run=True)
    made.apply_secrets(namespaces_of(made.overlay()), secrets)
    made.install(made.facts())
    made.uninstall(delete_data=True)
    assert cluster.calls == []
    text = "\n---\n".join(shown)
    kinds = {document["kind"] for document in yaml.safe_load_all(text) if document}
    assert {"Namespace", "Deployment", "NetworkPolicy"} <= kinds
    values = {value for secret in secrets for value in secret["stringData"].values() if len(value) > 12}
    assert not [value for value in values if value in text and not value.startswith("http")]


def test_a_dry_run_of_the_secrets_makes_no_file(tmp_path):
    """Keys that were only made for a look are not left in a folder; those that are there stay."""
    keys.init(tmp_path / "root", tmp_path / "signer-keys")
    script = tmp_path / "kubectl"
    script.write_text(f"#!/bin/sh\nexec {shutil.which('true')}\n")
    script.chmod(0o755)
    folder = tmp_path / "folder"
    words = ["cluster", "secrets", "--dry-run", "--folder", str(folder), "--kubectl", str(script)]
    done = CliRunner().invoke(app, [*words, "--signer-keys", str(tmp_path / "signer-keys")], catch_exceptions=False)
    assert "# Secret kubeflow/kizu-training with" in done.output
    assert not folder.exists()


def test_another_overlay_that_would_begin_an_empty_registry_is_refused(secrets):
    """From local to prod without a migration, version 1 would be another model than the devices' version 1."""
    cluster, made, _ = installed(secrets)
    prod = replace(made, values=PROD)
    before = copy.deepcopy(cluster.objects)
    with pytest.raises(InstallationError, match="kizu cluster migrate"):
        prod.install(prod.facts())
    assert cluster.objects == before


@pytest.mark.parametrize(
    ("volumes", "tables", "wanted", "refused"),
    [
        (set(), None, "sqlite", False),  # new
        (set(), None, "postgresql", False),
        ({"data-seaweedfs-0", "mlflow"}, None, "sqlite", False),  # of a version without the marker
        ({"data-seaweedfs-0", "mlflow"}, None, "postgresql", True),
        ({"data-seaweedfs-0", "mlflow"}, "postgresql", "postgresql", False),  # after a migration
        ({"data-seaweedfs-0", "mlflow"}, "postgresql", "sqlite", True),  # back to the old tables
        ({"data-seaweedfs-0"}, "sqlite", "sqlite", True),  # MLflow's volume was lost
        ({"data-seaweedfs-0"}, None, "postgresql", True),
    ],
)
def test_a_registry_begins_empty_only_beside_a_store_that_begins_empty(volumes, tables, wanted, refused):
    """The store's volume with releases and the tables of their versions belong together."""
    facts = Facts((1, 36), volumes=dict.fromkeys(volumes, "5Gi"), tables=tables)
    assert (refuse_empty_registry(facts, wanted) is not None) == refused


def test_prod_is_not_applied_with_the_host_names_of_the_example(secrets):
    """Nobody patches a file by hand: the names come from the values, and their absence is an error."""
    made, _, _ = installation(ClusterInMemory(), Values(overlay="prod"))
    with pytest.raises(TailoringError, match="label_studio_public"):
        made.install(made.facts())


def test_a_volume_that_cannot_become_another_size_stays_and_that_is_said(secrets):
    """No volume shrinks, and one grows only where its class lets it: an API server refuses all else."""
    cluster, made, _ = installed(secrets)
    smaller = replace(made, values=replace(made.values, sizes={"data-seaweedfs-0": "10Gi"}))
    smaller.install(smaller.facts())
    claim = cluster.objects["PersistentVolumeClaim", "kizu", "data-seaweedfs-0"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "50Gi"
    facts = made.facts()
    bigger = Values(sizes={"data-seaweedfs-0": "500Gi"})
    assert "cannot grow" in too_small(facts, bigger)["data-seaweedfs-0"]
    assert not too_small(facts, replace(bigger, storage_class="fast"))


def test_the_store_of_an_earlier_version_gets_a_volume_that_can_grow_and_keeps_its_data(secrets):
    """Its StatefulSet made the claim itself, in a field that cannot change: it is replaced, its claim stays."""
    cluster, made, _ = installed(secrets)
    old = cluster.objects["StatefulSet", "kizu", "seaweedfs"]["spec"]
    old["volumeClaimTemplates"] = [{"metadata": {"name": "data"}}]
    made.install(made.facts())
    assert ("delete", "statefulset", "seaweedfs", "-n", "kizu", "--cascade=orphan", "--ignore-not-found",
            "--wait=true") in cluster.calls  # fmt: skip
    assert "volumeClaimTemplates" not in cluster.objects["StatefulSet", "kizu", "seaweedfs"]["spec"]
    assert "data-seaweedfs-0" in cluster.names("PersistentVolumeClaim")


def test_removing_keeps_data_unless_told_and_says_what_stays(secrets):
    """Images, labels and models survive; --delete-data leaves nothing of ours."""
    cluster, made, _ = installed(secrets)
    others = {key for key in cluster.objects if key in {ClusterInMemory._key(item) for item in of_a_new_cluster()}}
    stays = " ".join(made.uninstall(delete_data=False))
    assert not cluster.names("Deployment") - {"ml-pipeline"}
    assert not cluster.names("NetworkPolicy")
    assert cluster.names("PersistentVolumeClaim") >= {"data-seaweedfs-0", "mlflow", "labelstudio"}
    assert "kizu/data-seaweedfs-0" in stays
    assert "kizu-training" in stays
    made.install(made.facts())  # and it comes back with its data
    volume = document(
        "PersistentVolume", "pvc-1", spec={"claimRef": {"namespace": "kizu"}, "persistentVolumeReclaimPolicy": "Retain"}
    )
    cluster.objects["PersistentVolume", "", "pvc-1"] = volume
    assert "pvc-1" in " ".join(made.uninstall(delete_data=True))  # its class keeps the disk, and that is said
    assert set(cluster.objects) == {*others, ("PersistentVolume", "", "pvc-1")}


def test_a_server_that_is_not_up_yet_is_waited_for_and_not_missing(secrets):
    """Somebody who looks a minute after the installation sees how many are ready, and what to look at."""
    cluster, made, _ = installed(secrets)
    cluster.objects["Deployment", "kizu", "mlflow"]["status"] = {"readyReplicas": 1}
    found = {item.what: item for item in made.status()}
    assert found["kizu/mlflow"].level is Level.OK
    assert (found["kizu/reconciler"].level, found["kizu/reconciler"].found) == (Level.WAITING, "0 of 2 ready")


def test_values_come_back_as_they_were_written_and_a_wrong_key_is_refused(tmp_path):
    """What was found or asked for once is in the file; a typing error in it is not taken for a default."""
    values = replace(
        PROD, api_server=(Peer("10.43.0.1/32", (443,)),), postgresql=Peer("192.0.2.7/32", (5432,)), dns={"a": "b"}
    )
    path = write(tmp_path / "cluster", values)
    assert read(tmp_path / "cluster") == values
    assert path.stat().st_mode & 0o077 == 0
    assert read(tmp_path / "none") == Values()
    for wrong in ({"registri": "x"}, {"sizes": {"mlflow": "much"}}, {"api_server": [{"cidr": "x", "ports": [1]}]},
                  {"schema_version": 2}, {"overlay": 3}):  # fmt: skip
        with pytest.raises(ValuesError):
            parse(wrong)


def test_a_cluster_that_does_not_answer_is_an_error_with_kubectls_words():
    """kubectl prints the version of itself even then."""

    class Away(ClusterInMemory):
        def _version(self, words, stdin):
            from deploy.k8s.kubectl import Answer

            return Answer(1, json.dumps({"clientVersion": {}}), "connection refused")

    with pytest.raises(KubectlError, match="connection refused"):
        gather(Away(), "kubeflow")


def with_a_database(secrets):
    """The Secrets as `kizu cluster secrets --mlflow-database` makes them."""
    made = copy.deepcopy(secrets)
    with_database(made, "postgresql://kizu:a-long-password@db.factory.test:5432/mlflow")
    return made


def test_from_local_to_prod_the_tables_are_moved_and_then_prod_is_installed(secrets):
    """MLflow stands still while its tables move; the Job has the image, the volume and the security of MLflow."""
    cluster, made, _ = installed(with_a_database(secrets), Values(registry="registry.factory.test/kizu"))
    cluster.job_ends = True
    jobs = []
    apply, cluster._apply = cluster._apply, lambda w, text: (jobs.extend(yaml.safe_load_all(text)), apply(w, text))[1]
    Migration(made, sleep=lambda _: None).run(made.facts())
    job = next(item for item in jobs if item["kind"] == "Job")
    pod, mlflow = job["spec"]["template"]["spec"], cluster.objects["Deployment", "kizu", "mlflow"]
    assert mlflow["spec"]["replicas"] == 0
    theirs = mlflow["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == theirs["containers"][0]["image"]
    assert pod["securityContext"] == theirs["securityContext"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "mlflow"}} in pod["volumes"]
    for version in ("1.30", kubernetes_validate.latest_version()):
        for item in jobs:
            kubernetes_validate.validate({**item}, version, strict=True)
    prod = replace(made, values=replace(PROD, registry="registry.factory.test/kizu"))
    prod.install(prod.facts())
    assert cluster.objects["Deployment", "kizu", "mlflow"]["spec"]["replicas"] == 1
    with pytest.raises(InstallationError, match="already"):
        Migration(made, sleep=lambda _: None).run(made.facts())


def test_a_move_that_failed_leaves_mlflow_running_on_its_volume(secrets):
    """What the Job said is the error, and `prod` stays refused."""
    cluster, made, _ = installed(with_a_database(secrets))
    cluster.job_ends = False
    with pytest.raises(InstallationError, match="a database refused"):
        Migration(made, sleep=lambda _: None).run(made.facts())
    assert cluster.objects["Deployment", "kizu", "mlflow"]["spec"]["replicas"] == 1
    prod = replace(made, values=PROD)
    with pytest.raises(InstallationError, match="migrate"):
        prod.install(prod.facts())


def test_nothing_is_stopped_for_a_move_without_a_database(secrets):
    """The Secret has to name it first; the message says how."""
    cluster, made, _ = installed(secrets)
    with pytest.raises(InstallationError, match="--mlflow-database"):
        Migration(made, sleep=lambda _: None).run(made.facts())
    assert not [call for call in cluster.calls if call[0] == "scale"]
    with pytest.raises(CredentialsError, match="postgresql://"):
        with_database(copy.deepcopy(secrets), "mysql://x")


def test_kubectl_is_called_as_told_and_its_refusal_is_the_error(tmp_path):
    """The command that was named gets the context, the words and the input; what it says on failure is passed on."""
    script = tmp_path / "kubectl"
    script.write_text('#!/bin/sh\necho "$@"\ncat\n[ "$3" != refuse ] || { echo "forbidden: no" >&2; exit 1; }\n')
    script.chmod(0o755)
    kubectl = KubectlProcess.found(str(script), "factory")
    assert did(kubectl, "apply", "-f", "-", stdin="a: 1\n") == "--context factory apply -f -\na: 1\n"
    assert did(kubectl, "kustomize", "x") == "kustomize x\n"
    with pytest.raises(KubectlError, match="forbidden: no"):
        did(kubectl, "refuse")
    with pytest.raises(KubectlError, match="--kubectl"):
        KubectlProcess.found(str(tmp_path / "none"), None)


def test_the_command_checks_a_cluster_and_ends_with_an_error_where_something_is_missing(tmp_path):
    """As a person calls it: a kubectl that knows a version and no more."""
    script = tmp_path / "kubectl"
    version, nothing = '{"serverVersion": {"gitVersion": "v1.36.2"}}', '{"items": []}'
    script.write_text(
        f"#!/bin/sh\ncase $1 in version) echo '{version}';; auth) echo yes;; *) echo '{nothing}';; esac\n"
    )
    script.chmod(0o755)
    words = ["cluster", "check", "--folder", str(tmp_path / "folder"), "--kubectl", str(script)]
    done = CliRunner().invoke(app, words)
    assert "1.36" in done.output
    assert "ml-pipeline" in done.output
    assert "storage class" in str(done.exception)
    assert "  → mark one as default, or name one: --storage-class\n" in done.output
    assert not (tmp_path / "folder").exists()
