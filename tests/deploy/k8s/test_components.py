"""`components` in the values file: what each adds to a cluster, what it needs, and what it leaves when taken out."""

from __future__ import annotations

from dataclasses import replace

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from components import container_images
from components.deployment import keys
from deploy.access.identities import RIGHTS, load
from deploy.access.layout import Layout, Ports
from deploy.k8s.checks import Level, judge
from deploy.k8s.component_folders import NAMES
from deploy.k8s.component_secrets import of_components, policies, take_keys
from deploy.k8s.credentials import Addresses, CredentialsError, make, with_database, with_label_studio_database
from deploy.k8s.facts import gather
from deploy.k8s.installation import Installation, InstallationError, namespaces_of
from deploy.k8s.peers import Peer
from deploy.k8s.shaping import containers_of
from deploy.k8s.tailoring import TailoringError
from deploy.k8s.values import Values, ValuesError, parse, read, write
from kizu.cli import app
from tests.deploy.k8s.cluster_in_memory import ClusterInMemory, document, of_a_new_cluster
from tests.manifests.references import dangling
from tests.manifests.schemas import validate

pytestmark = pytest.mark.manifests

OPERATORS = ("servicemonitors.monitoring.coreos.com", "clusterqueues.kueue.x-k8s.io", "certificates.cert-manager.io")
HOSTS = {
    "label_studio_public": "https://label.factory.test", "mlflow_host": "mlflow.factory.test",
    "fleet_host": "fleet.factory.test", "ingress_namespace": "ingress-nginx",
}  # fmt: skip
ALL = parse(
    {
        **HOSTS,
        "overlay": "airgap",
        "registry": "registry.factory.test/kizu",
        "image_pull_policy": "Always",
        "s3_public": "https://s3.factory.test:9000",
        "components": [name for name in NAMES if name != "postgres-external"],
        "s3": {
            "endpoint": "https://s3.factory.test:9000", "region": "factory", "addressing": "virtual", "ca_file": "x",
        },
        "ingress": {"class_name": "nginx", "cluster_issuer": "factory", "secrets": {"mlflow": "own-certificate"}},
        "monitoring": {"namespace": "observe", "pods": {"app": "prom"}, "labels": {"release": "prom"}},
        "mosquitto": {
            "service": "LoadBalancer", "allowed": ["192.0.2.0/24"], "accounts": ["press"], "host": "mqtt.test",
        },
        "edge": {
            "devices": [
                {"name": "line1"},
                {"name": "line2", "site": "osaka", "configuration": {"inference": {"threads": 2}}},
            ]
        },
        "gpu": {"limit": 4},
        "kueue": {"queue": "vision", "cpu": "16", "memory": "64Gi", "gpus": 4},
        "backup": {
            "schedule": "0 1 * * *", "keep": 30, "target": "s3://backups/kizu", "endpoint": "https://s3.other.test",
            "reach": [{"cidr": "192.0.2.9/32", "ports": [443]}],
        },
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the signer's keys."""
    place = tmp_path_factory.mktemp("secrets")
    keys.init(place / "root", place / "signer")
    return place


def secrets_of(folder, values):
    made = make(folder / "out", folder / "signer", Addresses(), pipelines_namespace="kubeflow")
    with_database(made, "postgresql://user:password@db.factory.test:5432/tables")
    made += of_components(Layout((folder / "out").resolve(), Ports(), folder), values, made)
    tls = {"type": "kubernetes.io/tls", "stringData": {"tls.crt": "x", "tls.key": "y"}}
    return [*made, {"apiVersion": "v1", **document("Secret", "mosquitto-tls", "kizu"), **tls}]


def installed(folder, values, cluster=None, **more):
    """A cluster with Kizu and its components, and what was said."""
    cluster = cluster or ClusterInMemory()
    for name in OPERATORS:
        found = document("CustomResourceDefinition", name)
        cluster.objects[ClusterInMemory._key(found)] = found
    said: list[str] = []
    made = Installation(cluster, values, said.append, said.append, ca=more.pop("ca", ""))
    made.apply_secrets(namespaces_of(made.overlay()), secrets_of(folder, values))
    made.install(made.facts(), **more)
    return cluster, said


@pytest.fixture(scope="module")
def everything(folder):
    """All components that can be together, on the overlay of a closed site."""
    return installed(folder, ALL, ca="PEM")[0]


def ours(cluster):
    """What was applied, without Secrets and without what a new cluster has."""
    before = {ClusterInMemory._key(item) for item in of_a_new_cluster()}
    kinds = ("Secret", "CustomResourceDefinition")
    return [item for key, item in cluster.objects.items() if key not in before and key[0] not in kinds]


def test_every_component_is_turned_on_by_the_values_file_alone(everything):
    """No example is left, every document fits its schema, and every reference leads somewhere."""
    documents = ours(everything)
    assert "kizu.example" not in str(documents)
    for item in documents:
        validate({key: value for key, value in item.items() if key != "status"}, kubernetes_validate.latest_version())
    assert not dangling(documents)


def test_a_closed_site_takes_every_image_from_one_registry_and_reaches_no_other_address(everything):
    """Images of others have their last name there; no document names a host or a registry of the internet."""
    documents = ours(everything)
    images = {container["image"] for item in documents for container in containers_of(item)}
    assert all(image.startswith("registry.factory.test/kizu/") for image in images)
    assert "registry.factory.test/kizu/" + container_images.POSTGRES.rpartition("/")[2] in images
    assert {c["imagePullPolicy"] for item in documents for c in containers_of(item)} == {"Always"}
    for public in ("docker.io", "quay.io", "ghcr.io", "github", "0.0.0.0/0"):
        assert public not in str([item for item in documents if item["metadata"]["name"] != "kizu-applied"]), public


def test_the_store_of_yours_is_the_one_of_every_server_device_and_rule(everything):
    """Address, region, addressing and authority are those of the values file; SeaweedFS is gone."""
    found = everything.objects
    assert not everything.names("StatefulSet") - {"postgres"}
    for name in ("bucket-setup", "reconciler", "fleet-page", "backup"):
        data = found["ConfigMap", "kizu", name]["data"]
        assert data["KIZU_S3_ENDPOINT"] == "https://s3.factory.test:9000", name
        assert (data["KIZU_S3_REGION"], data["KIZU_S3_ADDRESSING"]) == ("factory", "virtual")
        assert data["KIZU_S3_CA_FILE"] == "/etc/kizu/ca/ca.pem"
    mlflow = found["ConfigMap", "kizu", "mlflow"]["data"]
    assert (mlflow["MLFLOW_S3_ENDPOINT_URL"], mlflow["AWS_DEFAULT_REGION"]) == (
        "https://s3.factory.test:9000",
        "factory",
    )
    assert {key[1] for key in found if key[::2] == ("ConfigMap", "kizu-ca")} == {"kizu", "kizu-signer", "kubeflow"}
    for key in (
        ("kizu", "mlflow"),
        ("kizu-signer", "signer"),
        ("kubeflow", "kizu-pipelines"),
        ("kizu-edge", "edge-agent"),
    ):
        egress = found["NetworkPolicy", *key]["spec"]["egress"]
        assert {"ports": [{"protocol": "TCP", "port": 9000}]} in egress, key
    config = yaml.safe_load(found["ConfigMap", "kizu-edge", "edge-agent-line2"]["data"]["config.yaml"])
    assert config["s3"]["endpoint"] == "https://s3.factory.test:9000"
    assert config["s3"]["ca_file"] == "/identity/ca.pem"


def test_where_the_range_of_the_store_is_known_nobody_reaches_another(folder):
    """`s3.reach` takes the place of the port of every address."""
    store = ALL.s3.model_copy(update={"reach": (Peer("192.0.2.20/32", (9000,)),), "make_buckets": False})
    cluster, said = installed(folder, replace(ALL, s3=store))
    egress = cluster.objects["NetworkPolicy", "kizu", "mlflow"]["spec"]["egress"]
    assert egress[0] == {"to": [{"ipBlock": {"cidr": "192.0.2.20/32"}}], "ports": [{"protocol": "TCP", "port": 9000}]}
    assert not [key for key in cluster.objects if key[2] == "bucket-setup"]
    assert any("buckets: nobody makes them here" in line for line in said)


def test_both_servers_keep_their_tables_in_the_database_of_the_namespace_and_reach_no_other(everything):
    """Their Secrets name it, its policy lets in both and the backup, and each is alone in its database."""
    found = everything.objects
    uri = found["Secret", "kizu", "kizu-mlflow"]["stringData"]["MLFLOW_BACKEND_STORE_URI"]
    password = found["Secret", "kizu", "kizu-postgres"]["stringData"]["MLFLOW_PASSWORD"]
    assert uri == f"postgresql://mlflow:{password}@postgres.kizu.svc:5432/mlflow"
    assert found["Secret", "kizu", "kizu-labelstudio"]["stringData"]["POSTGRE_HOST"] == "postgres.kizu.svc"
    for name in ("mlflow", "labelstudio", "backup"):
        rules = [r for r in found["NetworkPolicy", "kizu", name]["spec"]["egress"] if r["ports"][0]["port"] == 5432]
        assert [rule["to"] for rule in rules] == [
            [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "postgres"}}}]
        ]
    assert found["ConfigMap", "kizu", "mlflow-tables"]["data"] == {
        "store": "postgresql", "label_studio": "postgresql", "objects": "external",
    }  # fmt: skip


def test_an_ingress_has_the_host_the_class_and_the_certificate_of_the_values(everything):
    """A Secret of yours goes before the issuer; a store outside the cluster has no ingress here."""
    found = everything.objects
    mlflow, label = (found["Ingress", "kizu", name] for name in ("mlflow", "labelstudio"))
    assert mlflow["spec"]["tls"] == [{"hosts": ["mlflow.factory.test"], "secretName": "own-certificate"}]
    assert "cert-manager.io/cluster-issuer" not in mlflow["metadata"]["annotations"]
    assert label["metadata"]["annotations"]["cert-manager.io/cluster-issuer"] == "factory"
    assert (label["spec"]["rules"][0]["host"], label["spec"]["ingressClassName"]) == ("label.factory.test", "nginx")
    assert ("Ingress", "kizu", "seaweedfs") not in found
    assert "'kubernetes.io/metadata.name': 'ingress-nginx'" in str(found["NetworkPolicy", "kizu", "mlflow"])


def test_the_alert_rules_of_the_operator_are_those_of_the_one_file(everything):
    """What Prometheus reads from deploy/monitoring is what the PrometheusRule says; the labels choose the operator."""
    from deploy.access.layout import REPOSITORY

    text = (REPOSITORY / "deploy" / "monitoring" / "rules.yml").read_text(encoding="utf-8")
    rule = everything.objects["PrometheusRule", "kizu", "kizu"]
    assert rule["spec"] == yaml.safe_load(text)
    assert rule["metadata"]["labels"]["release"] == "prom"
    board = everything.objects["ConfigMap", "kizu", "kizu-dashboard"]["data"]["kizu.json"]
    assert board == (REPOSITORY / "deploy" / "monitoring" / "dashboard.json").read_text(encoding="utf-8")
    peer = everything.objects["NetworkPolicy", "kizu", "mlflow-metrics"]["spec"]["ingress"][0]["from"]
    assert peer == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observe"}},
         "podSelector": {"matchLabels": {"app": "prom"}}}
    ]  # fmt: skip


def test_each_device_of_the_values_is_a_daemonset_with_an_identity_of_its_own(everything):
    """By the label of its node; no pod mounts the Secret of another device."""
    assert everything.names("DaemonSet") == {"calico-node", "edge-agent-line1", "edge-agent-line2"}
    for name in ("line1", "line2"):
        spec = everything.objects["DaemonSet", "kizu-edge", f"edge-agent-{name}"]["spec"]
        assert spec["template"]["spec"]["nodeSelector"] == {"kizu-device": name}
        assert spec["selector"]["matchLabels"]["kizu-device"] == name
        volumes = spec["template"]["spec"]["volumes"]
        assert [v["secret"]["secretName"] for v in volumes if "secret" in v] == [f"kizu-device-{name}"]
        config = yaml.safe_load(
            everything.objects["ConfigMap", "kizu-edge", f"edge-agent-{name}"]["data"]["config.yaml"]
        )
        assert config["device"] == name
    assert config["site"] == "osaka"


def test_runs_wait_in_the_queue_of_the_values_and_ask_for_no_more_gpus_than_the_limit(everything):
    """The label of the reconciler's runs is the LocalQueue, which is of the ClusterQueue with the quotas."""
    assert everything.objects["ConfigMap", "kizu", "reconciler"]["data"]["KIZU_KUEUE_QUEUE"] == "vision"
    assert ("LocalQueue", "kubeflow", "vision") in everything.objects
    (group,) = everything.objects["ClusterQueue", "", "kizu"]["spec"]["resourceGroups"]
    assert group["coveredResources"] == ["cpu", "memory", "nvidia.com/gpu"]
    assert everything.objects["ResourceQuota", "kubeflow", "kizu-gpus"]["spec"]["hard"] == {
        "requests.nvidia.com/gpu": "4"
    }


def test_backups_go_where_and_when_the_values_say(everything):
    """To another store: then there is no volume for them, and the pod reaches that store alone besides its sources."""
    job = everything.objects["CronJob", "kizu", "backup"]["spec"]
    assert job["schedule"] == "0 1 * * *"
    assert ("PersistentVolumeClaim", "kizu", "backup") not in everything.objects
    data = everything.objects["ConfigMap", "kizu", "backup"]["data"]
    assert (data["KIZU_BACKUP_TARGET"], data["KIZU_BACKUP_KEEP"]) == ("s3://backups/kizu", "30")
    rules = everything.objects["NetworkPolicy", "kizu", "backup"]["spec"]["egress"]
    assert {"to": [{"ipBlock": {"cidr": "192.0.2.9/32"}}], "ports": [{"protocol": "TCP", "port": 443}]} in rules


def test_a_component_that_is_taken_out_leaves_nothing_but_its_volumes(folder):
    """What an earlier call applied and this one does not is removed, and a volume with data is named."""
    base = Values(components=("mosquitto", "kueue", "backup"))
    cluster, _ = installed(folder, base)
    without, said = installed(folder, Values(), cluster)
    plain, _ = installed(folder, Values())
    left = {key for key in without.objects if key not in plain.objects}
    assert left == {
        ("PersistentVolumeClaim", "kizu", "mosquitto"), ("PersistentVolumeClaim", "kizu", "backup"),
        ("Secret", "kizu", "kizu-mosquitto"),
    }  # fmt: skip
    assert any("kizu/mosquitto stays" in line for line in said)
    made = Installation(without, base, said.append, said.append)
    made.install(made.facts())
    made.uninstall(delete_data=False)  # whatever the values say by then
    kinds = {key[0] for key in without.objects} - {"Secret", "PersistentVolumeClaim", "CustomResourceDefinition"}
    assert kinds <= {item["kind"] for item in of_a_new_cluster()} | {"ConfigMap"}
    assert without.names("ConfigMap") == {"mlflow-tables"}


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        (Values(), replace(ALL, overlay="local", components=("storage-external",)), "images, labels"),
        (Values(), Values(components=("postgres",)), "MLflow"),
        (
            Values(components=("postgres",)),
            Values(components=("postgres-external", "monitoring")),
            None,  # from one PostgreSQL to another: nobody can see that from outside
        ),
    ],
)
def test_a_store_or_a_database_with_data_is_not_left_by_a_change_of_components(folder, before, after, what):
    """The cluster would begin empty. Nothing is changed, and the message says what would be missing."""
    cluster, _ = installed(folder, before)
    if what is None:
        return
    kept = set(cluster.objects)
    with pytest.raises(InstallationError, match=what):
        installed(folder, after, cluster)
    assert kept <= set(cluster.objects)


@pytest.mark.parametrize(
    ("document", "match"),
    [
        ({"components": ["mongodb"]}, "mongodb"),
        ({"components": ["postgres", "postgres-external"]}, "both"),
        ({"components": ["gpu", "gpu"]}, "each once"),
        ({"components": "gpu"}, "list"),
        ({"s3": {"endpont": "https://x"}}, "s3.endpont"),
        ({"s3": {"endpoint": "https://user:password@x"}}, "s3.endpoint"),
        ({"edge": {"devices": [{"name": "Line 1"}]}}, "edge.devices.0.name"),
        ({"edge": {"devices": [{"name": "a"}, {"name": "a"}]}}, "names of their own"),
        ({"mosquitto": {"allowed": ["everybody"]}}, "IP range"),
        ({"backup": {"keep": 0}}, "backup.keep"),
        ({"backup": {"target": "/somewhere"}}, "backup.target"),
        ({"image_pull_policy": "Sometimes"}, "image_pull_policy"),
    ],
)  # fmt: skip
def test_a_wrong_word_in_a_section_is_an_error_with_its_place(document, match):
    """A typing error is not taken for a default."""
    with pytest.raises(ValuesError, match=match):
        parse(document)


def test_sections_come_back_as_they_were_written(tmp_path):
    """The file that install writes holds them all."""
    write(tmp_path, ALL)
    assert read(tmp_path) == ALL


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (Values(components=("ingress-tls",)), "ingress_namespace"),
        (Values(components=("ingress-tls",), ingress_namespace="i"), "mlflow_host"),
        (replace(parse(HOSTS), components=("ingress-tls",)), "issuer"),
        (Values(components=("storage-external",)), "s3.endpoint"),
        (Values(components=("edge-daemonset",)), "edge.devices"),
    ],
)
def test_what_only_the_values_can_say_is_asked_for(folder, values, match):
    """A component with the names of its example is not applied."""
    with pytest.raises(TailoringError, match=match):
        installed(folder, values)


def test_a_component_whose_operator_is_not_there_is_missing_something():
    """The API server would refuse its objects halfway; the check says whom to install."""
    facts = gather(ClusterInMemory(), "kubeflow")
    values = replace(ALL, components=("monitoring", "kueue", "ingress-tls"))
    found = {item.what: item for item in judge(facts, values)}
    assert {found[name].level for name in values.components} == {Level.MISSING}
    assert "Prometheus Operator" in found["monitoring"].do
    found = {item.what: item for item in judge(replace(facts, kinds=None), values)}
    assert {found[name].level for name in values.components} == {Level.WARNING}


def test_the_rights_in_a_store_of_yours_are_those_of_each_identity_here(tmp_path):
    """One policy for each, none that may delete an image or an entry of the audit log, and a backup that only reads."""
    done = CliRunner().invoke(app, ["cluster", "s3-policies", str(tmp_path / "policies")], catch_exceptions=False)
    assert done.exit_code == 0
    assert {path.stem for path in (tmp_path / "policies").iterdir()} == {"admin", *RIGHTS}
    found = policies()
    acts = {name: {act for s in found[name]["Statement"] for act in s["Action"]} for name in found}
    assert acts["backup"] == {
        "s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketVersioning", "s3:GetObject", "s3:GetObjectVersion"
    }  # fmt: skip
    for name, policy in found.items():
        for statement in policy["Statement"]:
            if "s3:DeleteObject" in statement["Action"]:
                assert "arn:aws:s3:::kizu-raw/*" not in statement["Resource"], name
    assert acts["fleet-page"] >= {"s3:PutObject"}
    assert "s3:DeleteObject" not in acts["fleet-page"]


def test_the_keys_of_a_store_of_yours_take_the_place_of_those_that_were_made(folder, tmp_path):
    """All of them or none: a key that is missing would be found out by a server days later."""
    layout = Layout(tmp_path.resolve(), Ports(), tmp_path)
    load(layout)
    given = {name: {"access_key": f"key-{name}", "secret_key": "secret"} for name in ("admin", *RIGHTS)}
    take_keys(layout, given)
    assert load(layout)["s3"]["training"] == {"access_key": "key-training", "secret_key": "secret"}
    for wrong in ({}, [], {**given, "someone": given["admin"]}, {**given, "admin": {"access_key": "x"}}):
        with pytest.raises(CredentialsError):
            take_keys(layout, wrong)


def test_the_parts_of_a_databases_address_are_read_with_their_escapes_and_never_shown(folder):
    """Label Studio takes parts, not an address; a password may have any character."""
    made = make(folder / "out", folder / "signer", Addresses(), pipelines_namespace="kubeflow")
    with_label_studio_database(made, "postgresql://label:p%40ss%2Fword@db.factory.test:6432/labels?sslmode=verify-full")
    secret = next(item["stringData"] for item in made if item["metadata"]["name"] == "kizu-labelstudio")
    assert (secret["POSTGRE_PASSWORD"], secret["POSTGRE_PORT"]) == ("p@ss/word", "6432")
    assert secret["PGSSLMODE"] == "verify-full"
    for wrong in ("mysql://a:secret-word@h/d", "postgresql://a@h/d", "postgresql://a:secret-word@h:port/d", "x y"):
        with pytest.raises(CredentialsError) as caught:
            with_label_studio_database(made, wrong)
        assert "secret-word" not in str(caught.value)
