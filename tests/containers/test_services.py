"""Every service of the loop, run as its manifest says: user, read-only root, no capabilities, limits, settings."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from base64 import b64encode

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.containers.conftest import workload
from tests.containers.pods import Cluster, Pod

pytestmark = pytest.mark.containers

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def s3_as(cluster: Cluster, seaweedfs: Pod, namespace: str, secret: str):
    """A client with the identity that a Secret holds."""
    key = cluster.secrets[namespace, secret]
    if "credentials.json" in key:
        device = json.loads(key["credentials.json"])
        key = {"AWS_ACCESS_KEY_ID": device["access_key"], "AWS_SECRET_ACCESS_KEY": device["secret_key"]}
    return boto3.client(
        "s3",
        endpoint_url=seaweedfs.url(),
        region_name="us-east-1",
        aws_access_key_id=key["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=key["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )


def test_the_buckets_are_made_and_each_identity_stays_in_its_own(cluster: Cluster, seaweedfs: Pod) -> None:
    """The Job made the buckets; a device's key may put below its own prefix and nowhere else."""
    admin = s3_as(cluster, seaweedfs, "kizu", "kizu-bucket-setup")
    assert {bucket["Name"] for bucket in admin.list_buckets()["Buckets"]} >= {"kizu-raw", "kizu-releases", "kizu-fleet"}
    device = s3_as(cluster, seaweedfs, "kizu-edge", "kizu-device-line1")
    device.put_object(Bucket="kizu-fleet", Key="line1/probe", Body=b"x")
    for bucket, key in (("kizu-fleet", "line2/probe"), ("kizu-releases", "metadata/1.root.json")):
        with pytest.raises(ClientError, match="AccessDenied"):
            device.put_object(Bucket=bucket, Key=key, Body=b"x")


def test_making_the_buckets_again_changes_nothing(cluster: Cluster, seaweedfs: Pod) -> None:
    """A second run of the Job finds the buckets there and changes nothing."""
    assert "are there" in cluster.run(workload("bucket-setup"))


def test_seaweedfs_listens_to_the_network_with_s3_alone(seaweedfs: Pod) -> None:
    """Only S3 listens to the network; SeaweedFS's other servers have no accounts, so they listen on loopback alone.

    In /proc/net/tcp, 0100007F is 127.0.0.1.
    """
    listening = [
        line.split()[1]
        for line in seaweedfs.execute("cat", "/proc/net/tcp", "/proc/net/tcp6").splitlines()
        if len(line.split()) > 3 and line.split()[3] == "0A"
    ]
    opened = {int(address.split(":")[1], 16) for address in listening if not address.startswith("0100007F:")}
    # Docker's own name server listens on a loopback address of its own (127.0.0.11).
    opened -= {int(a.split(":")[1], 16) for a in listening if a.startswith("0B00007F:")}
    # S3's own gRPC port goes where S3 goes; the Service does not have it and the network policy keeps it shut.
    assert opened <= {8333, 18333}, listening


def test_mlflow_keeps_artifacts_in_s3_and_refuses_unknown_host_names(cluster: Cluster, mlflow: Pod) -> None:
    """MLflow keeps artifacts through its own S3 identity, and refuses callers without an account and unknown hosts.

    Its tables are on the volume.
    """
    accounts = json.loads(cluster.secrets["kizu", "kizu-mlflow-accounts"]["accounts.json"])["accounts"]
    admin = {"Authorization": "Basic " + b64encode(f"admin:{accounts['admin']['password']}".encode()).decode()}
    base = f"{mlflow.url()}/api/2.0/mlflow-artifacts/artifacts/probe/file.txt"
    put = urllib.request.Request(base, data=b"kept", method="PUT", headers=admin)
    with OPENER.open(put, timeout=30) as answer:
        assert answer.status == 200
    with OPENER.open(urllib.request.Request(base, headers=admin), timeout=30) as answer:
        assert answer.read() == b"kept"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        OPENER.open(base, timeout=30)
    search = f"{mlflow.url()}/api/2.0/mlflow/experiments/search?max_results=1"
    known = urllib.request.Request(search, headers={"Host": "mlflow.kizu.svc:5000"} | admin)
    with OPENER.open(known, timeout=30) as answer:
        assert answer.status == 200
    unknown = urllib.request.Request(search, headers={"Host": "elsewhere.example"} | admin)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        OPENER.open(unknown, timeout=30)


def test_label_studio_knows_the_account_of_its_secret(cluster: Cluster, labelstudio: Pod) -> None:
    """The token that the labeling pipeline is given opens the API."""
    token = cluster.secrets["kubeflow", "kizu-labeling"]["LABEL_STUDIO_API_KEY"]
    headers = {"Authorization": f"Token {token}"}
    request = urllib.request.Request(f"{labelstudio.url()}/api/current-user/whoami", headers=headers)
    with OPENER.open(request, timeout=30) as answer:
        assert (
            json.loads(answer.read())["email"] == cluster.secrets["kizu", "kizu-labelstudio"]["LABEL_STUDIO_USERNAME"]
        )


def test_the_signer_publishes_metadata_and_its_keys_are_its_own(cluster: Cluster, seaweedfs: Pod, signer: Pod) -> None:
    """The signer starts with the keys of its Secret, which only its group can read, and signs an empty repository."""
    modes = signer.execute("stat", "--dereference", "--format", "%a", "/keys/targets.pem", "/keys/timestamp.pem")
    assert modes.split() == ["440", "440"]
    reader = s3_as(cluster, seaweedfs, "kizu-edge", "kizu-device-line1")
    timestamp = json.loads(reader.get_object(Bucket="kizu-releases", Key="metadata/timestamp.json")["Body"].read())
    assert timestamp["signed"]["_type"] == "timestamp"


def test_the_reconciler_passes_where_nothing_was_released(cluster: Cluster, signer: Pod) -> None:
    """It starts as its Deployment says, takes the lease, and its passes end without a failure."""
    reconciler = cluster.start(workload("reconciler"))
    deadline = time.monotonic() + 90
    while True:
        try:
            with OPENER.open(f"{reconciler.url()}/metrics", timeout=30) as answer:
                said = answer.read().decode()
        except OSError:
            said = ""
        if "kizu_reconciler_passes_total 1.0" in said:
            break
        assert time.monotonic() < deadline, reconciler.logs()
        time.sleep(1)
    assert reconciler.probe("livenessProbe")[0] == 200
    assert "kizu_reconciler_acting 1.0" in said
    assert "kizu_reconciler_failures_total 0.0" in said


def test_the_edge_agent_is_alive_without_a_release_and_reports(cluster: Cluster, seaweedfs: Pod, edge: Pod) -> None:
    """Without a release the agent is alive and not ready, and its device report arrives under its own name."""
    assert edge.probe("livenessProbe")[0] == 200
    status, said = edge.probe("readinessProbe")
    assert (status, "no release" in said) == (503, True), said
    reader = s3_as(cluster, seaweedfs, "kizu", "kizu-reconciler")
    deadline = time.monotonic() + 90
    while True:
        try:
            reported = json.loads(reader.get_object(Bucket="kizu-fleet", Key="line1/reported.json")["Body"].read())
            break
        except ClientError:
            assert time.monotonic() < deadline, edge.logs()
            time.sleep(1)
    assert reported["device"] == "line1"
    assert reported.get("running") is None


def test_no_server_was_killed_for_want_of_memory(
    cluster: Cluster, seaweedfs: Pod, mlflow: Pod, labelstudio: Pod, signer: Pod, edge: Pod
) -> None:
    """The memory limits of the manifests are enough for an idle system; -s prints what each server takes."""
    for pod in (seaweedfs, mlflow, labelstudio, signer, edge):
        state = cluster.docker.run("inspect", "--format", "{{.State.Running}} {{.State.OOMKilled}}", pod.container)
        assert state == "true false", f"{pod.workload}:\n{pod.logs()}"
        used = cluster.docker.run("stats", "--no-stream", "--format", "{{.MemUsage}}", pod.container)
        print(f"{pod.workload}: {used}")
