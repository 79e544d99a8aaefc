"""One acceptance run: what its checks share, and the table that it prints at its end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from components.deployment import keys
from components.settings import Settings
from components.stores.models.mlflow_account import act_as
from components.stores.models.registry import ModelRegistry
from components.stores.objects.s3 import S3ObjectStore
from components.use_case import UseCase
from demo.choices import demo_use_case
from demo.data import DemoData, generated
from demo.state import DemoOptions
from deploy.access.identities import environment_for, store_for
from deploy.access.layout import Layout, Ports
from deploy.k8s import facts, values
from deploy.k8s.credentials import Addresses, make
from deploy.k8s.kubectl import KubectlProcess
from deploy.k8s.tailoring import tailor
from deploy.k8s.values import Values
from tests.cluster.kubectl import Forward, Kubectl
from tests.cluster.own_names import PIPELINES, OwnNames
from tests.cluster.table import Outcome, Row, markdown
from tests.manifests.rendered import render, script

PARTS = (16, 4)  # imported, and through the device's camera
OVERLAY = "local"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only `-m cluster` runs against a cluster: no other call may install anything on the one of KUBECONFIG."""
    if "cluster" in str(config.getoption("markexpr")):
        return
    ours = [item for item in items if item.get_closest_marker("cluster")]
    if ours:
        config.hook.pytest_deselected(items=ours)
        items[:] = [item for item in items if item not in ours]


@dataclass
class Acceptance:
    """The run. values: of this cluster. ports: where the servers are reached, forwarded. held: the checks that held."""

    kubectl: Kubectl
    names: OwnNames
    folder: Path
    values: Values
    use_case: UseCase
    data: DemoData
    kubeflow: bool
    about: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    remembered: SimpleNamespace = field(default_factory=SimpleNamespace)
    open: ExitStack = field(default_factory=ExitStack)
    ports: Ports = field(default_factory=Ports)
    kubeflow_port: int = 0

    @property
    def layout(self) -> Layout:
        """The installation as this process reaches it, through forwarded ports."""
        return Layout(self.folder / "secrets", self.ports, Path())

    @property
    def use_case_file(self) -> Path:
        """The use case of the run."""
        return self.folder / "use-case.yaml"

    def store(self, identity: str) -> S3ObjectStore:
        """S3 with the rights of an identity."""
        return store_for(self.layout, identity)

    def registry(self) -> ModelRegistry:
        """MLflow, as an account that can only read."""
        config = Settings.from_environment(self.environment("deployment"))
        act_as(config)
        return ModelRegistry.from_settings(config)

    def environment(self, identity: str) -> dict[str, str]:
        """The environment of a command with the rights of an identity."""
        return environment_for(self.layout, identity)

    def namespace(self, name: str) -> str:
        """The own name of a namespace of the manifests."""
        return self.names.namespaces[name]

    def documents(self) -> list[dict[str, Any]]:
        """The overlay as `kizu cluster install` makes it for this cluster: own names, and the use case of the run."""
        found = []
        for document in as_installed(self.values):
            renamed = self.names.rename(document)
            if renamed["kind"] == "ConfigMap" and renamed["metadata"]["name"] == "edge":
                config = yaml.safe_load(renamed["data"]["config.yaml"])
                config |= {"use_case": self.use_case.name, "group": self.use_case.rollout.group}
                config["intervals"] = {"update_poll_s": 2.0, "report_s": 5.0}
                renamed["data"]["config.yaml"] = yaml.safe_dump(config, sort_keys=False)
            found.append(renamed)
        return found

    def secrets(self) -> list[dict[str, Any]]:
        """The Secrets as `deploy.k8s.credentials` makes them, for the names of this run."""
        addresses = Addresses()
        own = Addresses(
            s3=self.names.host(addresses.s3),
            s3_public=self.names.host(addresses.s3_public),
            mlflow=self.names.host(addresses.mlflow),
            label_studio=self.names.host(addresses.label_studio),
            signer=self.names.host(addresses.signer),
        )
        made = make(
            self.folder / "secrets",
            self.folder / "signer-keys",
            own,
            pipelines_namespace=PIPELINES,
            use_cases=[self.use_case],
        )
        return [self.names.rename(secret) for secret in made]

    def forward(self) -> None:
        """Forward a local port to each server."""
        chosen = {}
        services = {
            "s3": ("kizu", "seaweedfs", 8333),
            "mlflow": ("kizu", "mlflow", 5000),
            "label_studio": ("kizu", "labelstudio", 8080),
            "fleet_page": ("kizu", "fleet-page", 8088),
        }
        for name, (namespace, service, port) in services.items():
            chosen[name] = self.open.enter_context(Forward(self.kubectl, self.namespace(namespace), service, port)).port
        self.ports = Ports(**chosen)
        if self.kubeflow:
            to_kubeflow = Forward(self.kubectl, self.names.pipelines, "ml-pipeline", 8888)
            self.kubeflow_port = self.open.enter_context(to_kubeflow).port

    def remember(self, name: str, value: Any) -> bool:
        """Keep what a later check asks for."""
        setattr(self.remembered, name, value)
        return True

    @contextmanager
    def check(self, name: str, *, key: str | None = None, needs: tuple[str, ...] = ()) -> Iterator[list[str]]:
        """One row of the table; what the block puts into the list is said there.

        key: how later checks name this one in `needs`. A check whose needs did not hold is left out.
        """
        began = time.monotonic()
        said: list[str] = []
        missing = [need for need in needs if need not in self.held]
        if missing:
            why = "no Kubeflow Pipelines" if "kubeflow" in missing else f"needs: {', '.join(missing)}"
            self.rows.append(Row(name, Outcome.LEFT_OUT, 0.0, why))
            pytest.skip(why)
        try:
            yield said
        except BaseException as e:
            text = "; ".join([*said, str(e) or type(e).__name__])
            self.rows.append(Row(name, Outcome.FAILED, time.monotonic() - began, text[:600]))
            raise
        self.rows.append(Row(name, Outcome.HELD, time.monotonic() - began, "; ".join(said)))
        if key:
            self.held.add(key)


def as_installed(of_cluster: Values) -> list[dict[str, Any]]:
    """The overlay with the addresses of a cluster, in the namespaces of the manifests."""
    return tailor(render(OVERLAY), replace(of_cluster, registry="", pipelines_namespace=PIPELINES), tables="sqlite")


def values_of_cluster(folder: str | None, command: str) -> Values:
    """The values that a person keeps for this cluster, completed with what is found on it. folder: None keeps none."""
    kept = values.read(Path(folder).expanduser()) if folder else Values()
    return kept.completed(facts.gather(KubectlProcess.found(command, None), kept.pipelines_namespace))


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Acceptance]:
    """The run against the cluster of KUBECONFIG. Its settings are those of `make test-cluster`."""
    if not os.environ.get("KUBECONFIG"):
        pytest.fail("expected KUBECONFIG to name the cluster: make test-cluster KUBECONFIG=<file>")
    kubectl = Kubectl(os.environ.get("KIZU_KUBECTL") or script("kubectl"))
    of_cluster = values_of_cluster(os.environ.get("KIZU_CLUSTER_FOLDER"), kubectl.command)
    beside = of_cluster.pipelines_namespace
    kubeflow = kubectl.exists("namespace", beside) and bool(
        kubectl.run("-n", beside, "get", "service", "ml-pipeline", "--ignore-not-found", "--output", "name")
    )
    prefix = os.environ.get("KIZU_CLUSTER_PREFIX") or "kizu-test"
    names = OwnNames(
        prefix,
        beside if kubeflow else f"{prefix}-pipelines",
        os.environ.get("KIZU_IMAGE_REGISTRY") or of_cluster.registry or None,
    )
    folder = tmp_path_factory.mktemp("cluster")
    keys.init(folder / "root-key", folder / "signer-keys")
    use_case, _ = demo_use_case(DemoOptions(quick=True))
    detector = os.environ.get("KIZU_CLUSTER_DETECTOR")
    if detector:
        training = use_case.training.model_copy(update={"detector": detector})
        use_case = UseCase.model_validate({**use_case.model_dump(), "training": training.model_dump()})
    acceptance = Acceptance(kubectl, names, folder, of_cluster, use_case, generated(*PARTS), kubeflow)
    acceptance.use_case_file.write_text(yaml.safe_dump(yaml.safe_load(use_case.to_json()), sort_keys=False))
    if kubeflow:
        acceptance.held.add("kubeflow")
    began = datetime.now(UTC)
    with acceptance.open:
        yield acceptance
    acceptance.about.append(
        f"{began:%Y-%m-%d}, {(datetime.now(UTC) - began).total_seconds() / 60:.0f} min; use case {use_case.name}; "
        f"{len(acceptance.data.first)} photographs of {PARTS[0]} parts, {len(acceptance.data.device)} for the device"
    )
    text = markdown(acceptance.about, acceptance.rows)
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n\n{text}\n")
