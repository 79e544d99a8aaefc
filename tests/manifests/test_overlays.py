"""Every overlay renders offline, fits the schemas, and keeps the rules of this repository."""

from __future__ import annotations

import re

import kubernetes_validate
import pytest

from components import container_images
from components.deployment import keys
from components.enrolment.bundle import CREDENTIALS_FILE, ROOT_FILE
from components.settings import Settings
from deploy.access.layout import Layout, Ports
from deploy.k8s.component_secrets import of_components
from deploy.k8s.credentials import Addresses, make, with_database, with_label_studio_database
from deploy.k8s.values import Values
from pipelines.wiring import CA_CONFIG_MAP, CA_FOLDER
from tests.manifests.references import dangling
from tests.manifests.rendered import (
    OVERLAYS,
    Workload,
    added,
    of_kind,
    overlay_names,
    render,
    rendered_names,
    secret_keys_used,
    workloads,
)
from tests.manifests.schemas import validate

pytestmark = pytest.mark.manifests

# The oldest that Kubeflow Pipelines 2.17 is run on, and the newest that the validator knows.
KUBERNETES = ("1.30", kubernetes_validate.latest_version())
EVERY_WORKLOAD = [
    pytest.param(overlay, workload, id=f"{overlay}-{workload}")
    for overlay in rendered_names()
    for workload in workloads(overlay)
    if workload.document in added(overlay)  # what a component leaves as it was is looked at once
]


YOUR_DATABASE = "postgresql://user:password@db.factory.test:5432/tables"


def in_registry(image: str) -> str:
    """The image's own name, whatever registry it comes from."""
    return image.removeprefix("registry.kizu.example/")


@pytest.mark.parametrize("overlay", rendered_names())
@pytest.mark.parametrize("version", KUBERNETES)
def test_every_document_fits_the_schema_strictly(overlay: str, version: str) -> None:
    """An unknown field or kind is an error, as an API server with strict validation would say."""
    for document in added(overlay):
        validate(document, version)


def test_overlays_need_no_network_to_render() -> None:
    """Each resource of an overlay is a path in this repository, and none is a URL."""
    for file in OVERLAYS.parent.rglob("kustomization.yaml"):
        for line in file.read_text(encoding="utf-8").splitlines():
            assert not re.match(r"\s*-\s+(https?:|git@|github\.com)", line), f"{file}: {line}"


@pytest.mark.parametrize("overlay", rendered_names())
def test_no_secret_value_is_in_the_manifests(overlay: str) -> None:
    """Pods refer to Secrets by name; no manifest contains a Secret or its value, which are made elsewhere."""
    assert not of_kind(overlay, "Secret")
    for (namespace, name), document in of_kind(overlay, "ConfigMap").items():
        for key in document["data"]:
            secretive = re.search("SECRET|PASSWORD|TOKEN|ACCESS_KEY|API_KEY", key)
            assert not secretive or key.startswith("LABEL_STUDIO_ENABLE_"), f"ConfigMap {namespace}/{name}: {key}"
    for workload in workloads(overlay):
        for container in (*workload.init_containers, *workload.containers):
            assert all("value" not in variable for variable in container.get("env", [])), str(workload)


@pytest.mark.parametrize("overlay", rendered_names())
def test_every_secret_that_a_pod_names_is_made_by_the_credentials_command(overlay: str, tmp_path) -> None:
    """The credentials command makes each Secret with the namespace, name and keys that a pod asks for.

    There are two exceptions: the certificate of the broker, and the device's bundle.
    """
    keys.init(tmp_path / "root", tmp_path / "signer")
    secrets = make(tmp_path / "out", tmp_path / "signer", Addresses(), pipelines_namespace="kubeflow")
    with_database(secrets, YOUR_DATABASE)
    if "postgres-external" in overlay:
        with_label_studio_database(secrets, YOUR_DATABASE)
    layout = Layout(tmp_path / "out", Ports(), tmp_path)
    secrets += of_components(layout, Values(components=tuple(overlay.split("+")[1:])), secrets)
    made = {(item["metadata"]["namespace"], item["metadata"]["name"]): set(item["stringData"]) for item in secrets}
    made["kizu-edge", "kizu-device-line1"] = {CREDENTIALS_FILE, ROOT_FILE}
    made["kizu", "mosquitto-tls"] = {"tls.crt", "tls.key"}
    for workload in workloads(overlay):
        for name, key in secret_keys_used(workload):
            assert (workload.namespace, name) in made, f"{workload} wants the Secret {name}"
            assert key is None or key in made[workload.namespace, name], f"{workload} wants {name}/{key}"


@pytest.mark.parametrize("overlay", rendered_names())
def test_every_pod_with_a_key_of_the_store_takes_the_session_token_of_a_temporary_one(overlay: str) -> None:
    """It comes from the same Secret, and the pod starts without it: most keys are not temporary."""
    seen = 0
    for workload in workloads(overlay):
        for container in (*workload.init_containers, *workload.containers):
            references = {
                variable["name"]: variable["valueFrom"]["secretKeyRef"]
                for variable in container.get("env", [])
                if "secretKeyRef" in variable.get("valueFrom", {})
            }
            if "AWS_ACCESS_KEY_ID" in references:
                seen += 1
                assert references["AWS_SESSION_TOKEN"] == {
                    "name": references["AWS_ACCESS_KEY_ID"]["name"], "key": "AWS_SESSION_TOKEN", "optional": True
                }, f"{workload}: {container['name']}"  # fmt: skip
    assert seen or overlay == "edge"


@pytest.mark.parametrize(("overlay", "workload"), EVERY_WORKLOAD)
def test_pods_run_without_root_and_with_a_root_file_system_that_is_read_only(overlay: str, workload: Workload) -> None:
    """Each pod meets the namespace's restricted policy, and has a read-only root file system and no host access."""
    pod = workload.pod["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] == pod["runAsGroup"] == pod["fsGroup"] == 10001
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*workload.init_containers, *workload.containers):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, f"{workload}: {container['name']}"
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        assert not workload.pod.get(field), f"{workload}: {field}"
    assert not [volume for volume in workload.volumes.values() if "hostPath" in volume]


@pytest.mark.parametrize(("overlay", "workload"), EVERY_WORKLOAD)
def test_pods_have_an_identity_of_their_own_and_no_token(overlay: str, workload: Workload) -> None:
    """Each pod has a ServiceAccount of its own in its namespace, and mounts no token for the API server."""
    account = of_kind(overlay, "ServiceAccount")[workload.namespace, workload.pod["serviceAccountName"]]
    assert workload.pod["serviceAccountName"] == workload.app
    assert account["automountServiceAccountToken"] is False
    assert workload.pod["automountServiceAccountToken"] is False
    assert workload.pod["enableServiceLinks"] is False


@pytest.mark.parametrize(("overlay", "workload"), EVERY_WORKLOAD)
def test_containers_ask_for_what_they_need_and_are_limited(overlay: str, workload: Workload) -> None:
    """Each container has requests and limits of CPU and memory, and each `emptyDir` has a size limit."""
    for container in (*workload.init_containers, *workload.containers):
        for side in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(container["resources"][side]), f"{workload}: {container['name']} {side}"
    for name, volume in workload.volumes.items():
        assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"], f"{workload}: {name} has no limit"


@pytest.mark.parametrize(("overlay", "workload"), EVERY_WORKLOAD)
def test_servers_are_probed_at_a_port_that_they_open(overlay: str, workload: Workload) -> None:
    """Deployments and StatefulSets have three probes at an open port; Jobs have a deadline instead."""
    if workload.kind not in ("Deployment", "StatefulSet", "DaemonSet"):
        assert "activeDeadlineSeconds" in str(workload.document["spec"]), f"{workload} may run for ever"
        return
    for container in workload.containers:
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container[probe].get("httpGet") or container[probe].get("tcpSocket")
            if asked is None:  # no HTTP, and a bare connection would be a line in its log each time
                assert (workload.app, container[probe]["exec"]["command"][0]) == ("postgres", "pg_isready")
            else:
                assert asked["port"] in ports, f"{workload}: {probe}"


@pytest.mark.parametrize(("overlay", "workload"), EVERY_WORKLOAD)
def test_images_are_those_of_the_repository_with_a_version(overlay: str, workload: Workload) -> None:
    """`container_images` names registry and tag; nothing is `latest`, and nothing is pulled from elsewhere."""
    for container in (*workload.init_containers, *workload.containers):
        name = in_registry(container["image"])
        if name in container_images.OF_OTHERS:  # the values file brings the registry: see test_components.py
            assert workload.app in ("postgres", "mosquitto", "backup")
            continue
        assert re.fullmatch(rf"{container_images.REGISTRY}/[a-z]+:{re.escape(container_images.TAG)}", name), (
            f"{workload}: {name}"
        )
        if workload.app not in ("backup", "edge-agent") and container["name"] != "tables":  # an overlay's own pods
            assert container["image"].startswith("registry.kizu.example/") == overlay.startswith("airgap")


@pytest.mark.parametrize(("overlay", "workload"), EVERY_WORKLOAD)
def test_volumes_and_settings_that_a_pod_names_are_there(overlay: str, workload: Workload) -> None:
    """Each mount has a volume, each claim and ConfigMap exists beside the pod."""
    templates = {claim["metadata"]["name"] for claim in workload.document["spec"].get("volumeClaimTemplates", [])}
    claims, maps = of_kind(overlay, "PersistentVolumeClaim"), of_kind(overlay, "ConfigMap")
    for container in (*workload.init_containers, *workload.containers):
        for mount in container["volumeMounts"]:
            assert mount["name"] in {*workload.volumes, *templates}, f"{workload}: {mount['name']}"
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                assert (workload.namespace, source["configMapRef"]["name"]) in maps
    for volume in workload.volumes.values():
        if "persistentVolumeClaim" in volume:
            assert (workload.namespace, volume["persistentVolumeClaim"]["claimName"]) in claims
        if "configMap" in volume and not volume["configMap"].get("optional"):
            assert (workload.namespace, volume["configMap"]["name"]) in maps
    mounted = {mount["name"] for c in (*workload.init_containers, *workload.containers) for mount in c["volumeMounts"]}
    assert set(workload.volumes) <= mounted, f"{workload} has a volume that nothing mounts"


@pytest.mark.parametrize(("overlay", "workload"), EVERY_WORKLOAD)
def test_a_pod_that_has_a_key_of_the_store_finds_the_certificates_of_your_own_authority(
    overlay: str, workload: Workload
) -> None:
    """The name of a file in a setting is of no use without the file. Pods start where there is none."""
    keys_of_s3 = {"AWS_SECRET_ACCESS_KEY"}
    speaks_s3 = any(keys_of_s3 & {v["name"] for v in container.get("env", ())} for container in workload.containers)
    if speaks_s3 or workload.name == "labelstudio":
        assert workload.volumes["ca"]["configMap"] == {"name": CA_CONFIG_MAP, "optional": True}
        for container in workload.containers:
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            assert mounts["ca"] == CA_FOLDER, f"{workload}: {mounts}"


@pytest.mark.parametrize("overlay", rendered_names())
def test_services_lead_to_pods(overlay: str) -> None:
    """The selector of each Service matches one workload, which opens the named port."""
    for (namespace, name), service in of_kind(overlay, "Service").items():
        behind = [
            workload
            for workload in workloads(overlay)
            if workload.namespace == namespace and service["spec"]["selector"].items() <= workload.labels.items()
        ]
        assert len(behind) == 1, f"Service {namespace}/{name}"
        opened = {port["name"] for container in behind[0].containers for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= opened


@pytest.mark.parametrize("overlay", rendered_names())
def test_traffic_is_refused_unless_a_policy_allows_it(overlay: str) -> None:
    """Each namespace denies traffic by default, and each workload has one policy of its own."""
    policies = of_kind(overlay, "NetworkPolicy")
    for document in render(overlay):
        if document["kind"] == "Namespace":
            policy = policies[document["metadata"]["name"], "default-deny"]["spec"]
            assert policy["podSelector"] == {}
            assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
            assert "ingress" not in policy
    for workload in workloads(overlay):
        selector = policies[workload.namespace, workload.app]["spec"]["podSelector"]["matchLabels"]
        assert selector.items() <= workload.labels.items(), str(workload)


@pytest.mark.parametrize("overlay", overlay_names())
def test_only_the_deployment_pipeline_the_reconciler_and_the_fleet_page_reach_the_signer(overlay: str) -> None:
    """Only these three may call the signer, and only the signer holds its keys."""
    callers = [
        (peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], peer["podSelector"]["matchLabels"])
        for rule in of_kind(overlay, "NetworkPolicy")["kizu-signer", "signer"]["spec"]["ingress"]
        for peer in rule["from"]
    ]
    assert callers == [
        ("kubeflow", {"kizu-pipeline": "deployment"}),
        ("kizu", {"app.kubernetes.io/name": "reconciler"}),
        ("kizu", {"app.kubernetes.io/name": "fleet-page"}),
    ]
    holders = {
        workload.name
        for workload in workloads(overlay)
        for name, _ in secret_keys_used(workload)
        if name == "kizu-signer-keys"
    }
    assert holders == {"signer"}


@pytest.mark.parametrize("overlay", overlay_names())
def test_s3_is_the_only_port_of_seaweedfs_that_leaves_its_pod(overlay: str) -> None:
    """Only S3 listens beyond loopback, because SeaweedFS's other servers have no accounts."""
    service = of_kind(overlay, "Service")["kizu", "seaweedfs"]
    assert [port["port"] for port in service["spec"]["ports"]] == [8333]
    (container,) = next(w for w in workloads(overlay) if w.name == "seaweedfs").containers
    assert "-ip.bind=127.0.0.1" in container["args"]
    assert [argument for argument in container["args"] if "0.0.0.0" in argument] == ["-s3.ip.bind=0.0.0.0"]


@pytest.mark.parametrize("overlay", overlay_names())
def test_two_reconcilers_run_and_both_start_without_products_notices_or_webhooks(overlay: str) -> None:
    """What a new installation lacks may be missing: the use cases that run by themselves, and the options."""
    (reconciler,) = (workload for workload in workloads(overlay) if workload.name == "reconciler")
    assert (reconciler.kind, reconciler.document["spec"]["replicas"]) == ("Deployment", 2)
    assert reconciler.volumes["use-cases"]["configMap"] == {"name": "kizu-use-cases", "optional": True}
    (container,) = reconciler.containers
    assert {"secretRef": {"name": "kizu-reconciler-options", "optional": True}} in container["envFrom"]
    settings = of_kind(overlay, "ConfigMap")["kizu", "reconciler"]["data"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert settings["KIZU_USE_CASES"] == mounts["use-cases"]
    assert set(settings) <= {field.validation_alias.choices[0] for field in Settings.model_fields.values()}


@pytest.mark.parametrize("overlay", overlay_names())
def test_the_reconciler_reaches_each_server_that_its_settings_name(overlay: str) -> None:
    """Each address in its ConfigMap has an egress rule with that port, and a server of ours lets it in."""
    settings = of_kind(overlay, "ConfigMap")["kizu", "reconciler"]["data"]
    policies = of_kind(overlay, "NetworkPolicy")
    rules = policies["kizu", "reconciler"]["spec"]["egress"]
    allowed = {
        (peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], port["port"])
        for rule in rules
        for peer in rule["to"]
        for port in rule["ports"]
    }
    for name, value in settings.items():
        found = re.fullmatch(r"http://([a-z-]+)\.([a-z-]+)\.svc:(\d+)", value)
        if found is None:
            assert not value.startswith("http"), f"{name}: {value}"
            continue
        server, namespace, port = found[1], found[2], int(found[3])
        assert (namespace, port) in allowed, f"{name}: {value}"
        if namespace != "kubeflow":
            ingress = policies[namespace, server]["spec"]["ingress"]
            assert "'app.kubernetes.io/name': 'reconciler'" in str(ingress), f"{server} does not let it in"


@pytest.mark.parametrize("overlay", rendered_names())
def test_a_node_can_be_emptied_and_takes_one_of_several_replicas_at_a_time(overlay: str) -> None:
    """What runs more than once has a budget that selects it; a single pod has none, which would block the node."""
    budgets = of_kind(overlay, "PodDisruptionBudget")
    for workload in workloads(overlay):
        several = workload.document["spec"].get("replicas", 1) > 1
        assert ((workload.namespace, workload.name) in budgets) == several, str(workload)
        if several:
            budget = budgets[workload.namespace, workload.name]["spec"]
            assert budget["selector"]["matchLabels"].items() <= workload.labels.items()
            assert budget["maxUnavailable"] == 1


@pytest.mark.parametrize("overlay", rendered_names())
def test_every_selector_and_reference_leads_somewhere(overlay: str) -> None:
    """Policies, ingresses, monitors, queues and affinities name pods, Services and ports that are there."""
    assert not dangling(render(overlay))


@pytest.mark.parametrize("overlay", rendered_names())
def test_nobody_reaches_a_store_or_a_database_that_is_not_there(overlay: str) -> None:
    """Where a component takes SeaweedFS or the SQLite files away, no setting, mount and address of them is left."""
    documents = [item for item in render(overlay) if item["metadata"].get("namespace") != "kubeflow"]
    if "storage-external" in overlay:
        left = [item["metadata"]["name"] for item in documents if "seaweedfs" in str(item)]
        # `kizu cluster install` makes devices with your store of the pattern: see test_components.py.
        assert set(left) <= {"seaweedfs", "edge-agent-line1"}
        assert {item["kind"] for item in documents if item["metadata"]["name"] == "seaweedfs"} <= {"Ingress"}
    if "postgres" in overlay:
        assert "sqlite" not in str(documents)
        assert "/databases/" not in str(documents)
