"""The reconciler on one machine, with the real servers: an approval is followed by a deployment, once."""

from __future__ import annotations

import pytest
import yaml

from components.registry.register import register
from components.stores.models.registry import ModelRegistry
from components.stores.objects.s3 import S3ObjectStore
from components.stores.releases.signer_client import SignerClient
from deploy.access.identities import allow_approvers, mlflow_account
from kizu.reconciling import compose
from reconciler.decisions import Decision
from reconciler.products import Products
from tests.components.model_runs import evaluated_run, unique_use_case


@pytest.fixture
def product(stack, tmp_path, monkeypatch):
    """A use case that is automated in a folder of its own, so that the stack's own reconciler does not see it."""
    use_case = unique_use_case(approvers=["approver"])
    allow_approvers(stack.layout, use_case)
    file = tmp_path / "product.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(use_case.to_json()), "approvers": ["approver"]}), encoding="utf-8")
    products = Products(tmp_path / "use-cases")
    products.put(file)
    for name, value in stack.environment("reconciler").items():
        monkeypatch.setenv(name, value)
    for name in ("s3", "mlflow", "label_studio", "signer"):
        monkeypatch.setenv(f"KIZU_PORT_{name.upper()}", str(getattr(stack.layout.ports, name)))
    return use_case, products


def approved(stack, use_case) -> int:
    """Register a version as a training does, and approve it as a person does."""
    registry = ModelRegistry.from_settings(stack.settings("training"))
    with stack.acting_as("training"):
        version = register(registry, evaluated_run(registry, use_case), use_case, 1)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in mlflow_account(stack.layout, "approver").items():
            patch.setenv(name, value)
        registry.set_tag(version, "approval", "approved")
    return version.version


def test_an_approved_version_is_deployed_by_one_pass_and_by_no_later_one(stack, product):
    """The pipeline runs with its own identity, the signer publishes, and the decision says why."""
    use_case, products = product
    config = stack.settings("reconciler")
    reconciling = compose(config, products)
    (report,) = reconciling.run().products
    assert report.does == ()
    assert "deployment: no version is approved" in report.waits
    version = approved(stack, use_case)

    result = reconciling.run()
    reconciling.wait_for_runs()
    assert result.failures == 0
    (does,) = result.products[0].does
    assert "started deployment" in does
    desired = SignerClient.from_settings(config).desired(use_case.name, use_case.rollout.group)
    assert desired is not None
    assert SignerClient.from_settings(config).release(desired.ordered).version == version
    store = S3ObjectStore.from_settings(config)
    (key,) = (info.key for info in store.list("kizu-state", f"decisions/{use_case.name}/"))
    decision = Decision.from_json(store.get("kizu-state", key))
    assert (decision.act, decision.facts["version"]) == ("start-deployment", version)
    assert "approved by approver" in decision.why

    reconciling.close()

    new = compose(config, products)
    (report,) = new.run().products
    new.close()
    assert report.does == ()
    assert f"version {version} is desired already" in "\n".join(report.waits)
