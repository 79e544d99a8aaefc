"""Registration and approval on a real MLflow server."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from components.registry.register import RegistrationError, register
from components.stores.models.approval import ApprovalError, decide_approval, require_approval
from components.stores.models.champion import champion
from components.stores.models.gate import GateReport
from components.stores.models.registry import (
    CANDIDATE,
    CHAMPION,
    EVALUATION_REPORT,
    GATE_REPORT,
    MODEL_FILE,
    ModelRegistry,
    ModelRegistryError,
    ModelVersion,
    NoSuchModel,
)
from inspection.image import sha256_of
from tests.components.model_runs import DATASET, evaluated_run, unique_use_case


@pytest.fixture
def use_case(mlflow):
    made = unique_use_case()
    mlflow.allow(made.name, "approver", "approver-2")
    return made


@pytest.fixture
def decide(mlflow, registry, use_case):
    """`kizu approve` and `kizu reject` with an account of MLflow. Elsewhere the tests use the trainer's account."""

    def act(decision, *, account="approver", reason=""):
        with mlflow.acting_as(account):
            return decide_approval(registry, use_case.name, 1, decision, reason=reason)

    return act


@pytest.fixture
def registered(registry, use_case):
    return register(registry, evaluated_run(registry, use_case), use_case, 7)


def test_a_model_that_passed_waits_for_a_person_with_its_lineage(registry, use_case, registered):
    """The version is pending and the candidate, its tags have every digest, and its description has the numbers."""
    found = registry.version(use_case.name, 1)
    assert found.approval == "pending"
    assert found.tags == {
        "approval": "pending", "registered_by": "trainer", "gate": "passed",
        "dataset_digest": DATASET, "code_digest": "c0de",
        "model_sha256": sha256_of(b"onnx"), "use_case_digest": use_case.digest, "label_version": "7",
        "evaluation_digest": sha256_of(registry.get_artifact(found.run_id, EVALUATION_REPORT)),
    }  # fmt: skip
    assert registry.by_alias(use_case.name, CANDIDATE).version == 1
    assert registry.by_alias(use_case.name, CHAMPION) is None
    assert champion(registry, use_case.name) is None
    description = registry._client.get_model_version(use_case.name, "1").description
    assert "mAP50 0.800" in description
    assert "| escape_rate |" in description


def test_registering_again_is_the_same_version(registry, use_case, registered):
    """A step that runs again makes no second version."""
    assert register(registry, registered.run_id, use_case, 7).version == registered.version
    assert len(registry.versions(use_case.name)) == 1


def test_a_run_that_was_evaluated_again_is_the_same_version_and_pending_again(registry, use_case, registered, decide):
    """After an evaluation under another policy the version is pending: the approval was for the earlier report."""
    decide("approved")
    stricter = use_case.model_copy(update={"gates": use_case.gates.model_copy(update={"min_map50": 0.75})})
    again = register(registry, registered.run_id, stricter, 8)
    assert (again.version, again.approval) == (1, "pending")
    assert again.tags["use_case_digest"] == stricter.digest
    with pytest.raises(ApprovalError, match="is pending"):
        require_approval(registry, use_case.name, 1)


def test_another_run_is_another_version(registry, use_case, registered):
    """Versions are listed newest first, and the alias `candidate` moves to the new one."""
    second = register(registry, evaluated_run(registry, use_case, onnx=b"other"), use_case, 8)
    assert [version.version for version in registry.versions(use_case.name)] == [2, 1]
    assert registry.by_alias(use_case.name, CANDIDATE).version == second.version == 2


def test_a_model_that_failed_its_gate_is_not_registered(registry, use_case):
    """The message names the check; no version is made."""
    run_id = evaluated_run(registry, use_case, map50=0.5)
    with pytest.raises(RegistrationError, match=r"test mAP50 is 0\.500, expected >= 0\.700"):
        register(registry, run_id, use_case, 7)
    assert registry.versions(use_case.name) == []


def test_bytes_that_were_not_evaluated_are_not_registered(registry, use_case):
    """A model that was replaced after the evaluation is refused."""
    run_id = evaluated_run(registry, use_case)
    registry.put_artifact(run_id, MODEL_FILE, b"replaced")
    with pytest.raises(RegistrationError, match="was evaluated, but the model is"):
        register(registry, run_id, use_case, 7)
    assert registry.versions(use_case.name) == []


def test_a_gate_that_judged_another_model_registers_nothing(registry, use_case):
    """The run's gate document must have judged the model of the run's evaluation report."""
    run_id = evaluated_run(registry, use_case)
    gate = GateReport.from_json(registry.get_artifact(run_id, GATE_REPORT))
    registry.put_artifact(run_id, GATE_REPORT, replace(gate, model_sha256="ab" * 32).to_json())
    with pytest.raises(RegistrationError, match="was evaluated, but the gate judged ab"):
        register(registry, run_id, use_case, 7)
    assert registry.versions(use_case.name) == []


def test_a_run_without_evaluation_is_not_registered(registry, use_case):
    """A run without an evaluation report is refused."""
    run_id = registry.start_run(use_case.name, "bare", {})
    with pytest.raises(NoSuchModel, match=r"has no artifact evaluation/report\.json"):
        register(registry, run_id, use_case, 7)


def test_an_approval_is_that_of_an_account_with_time_and_bytes(registry, use_case, registered, decide):
    """The approval has the server's stamps, and the version keeps the reason."""
    before = datetime.now(UTC).replace(microsecond=0)
    decide("approved", reason="looks right")
    version, approval = require_approval(registry, use_case.name, 1)
    assert (approval.by, approval.model_sha256) == ("approver", sha256_of(b"onnx"))
    assert before <= approval.at <= datetime.now(UTC)
    assert version.tags["approval_reason"] == "looks right"


def test_an_approval_in_mlflows_page_is_one_tag_and_the_same(mlflow, registry, use_case, registered):
    """The server stamps an approval at once, and reading it changes nothing."""
    assert mlflow.set_tag("approver", use_case.name, 1, "approval", "approved").status_code == 200
    version, approval = require_approval(registry, use_case.name, 1)
    assert approval.by == version.tags["approval_by"] == "approver"
    assert require_approval(registry, use_case.name, 1)[1] == approval


def test_the_account_that_registered_does_not_approve(registry, use_case, registered, decide):
    """The server refuses, and the error has the server's words."""
    with pytest.raises(ModelRegistryError, match=r"trainer may not approve .*the approvers of .* are approver"):
        decide("approved", account="trainer")
    assert registry.version(use_case.name, 1).approval == "pending"


def test_a_version_that_waits_is_not_approved(registry, use_case, registered):
    """The message says that the version is pending, and what to do."""
    with pytest.raises(ApprovalError, match=r"is pending, expected approved; .*kizu approve 1 --model"):
        require_approval(registry, use_case.name, 1)


def test_a_rejection_takes_an_approval_back(registry, use_case, registered, decide):
    """A rejection after an approval makes the version rejected, because the last decision counts."""
    decide("approved")
    found = decide("rejected", reason="misses dents")
    assert (found.tags["approval_by"], found.tags["approval_reason"]) == ("approver", "misses dents")
    with pytest.raises(ApprovalError, match="is rejected"):
        require_approval(registry, use_case.name, 1)


def test_bytes_that_changed_cannot_be_approved_nor_used(registry, use_case, registered, decide):
    """A model that was replaced can be neither used under its earlier approval nor approved again."""
    decide("approved")
    registry.put_artifact(registered.run_id, MODEL_FILE, b"replaced")
    with pytest.raises(ApprovalError, match="its bytes are now"):
        require_approval(registry, use_case.name, 1)
    with pytest.raises(ModelRegistryError, match="its bytes are now"):
        decide("approved")


STAMPED = {
    "approval": "approved", "gate": "passed", "model_sha256": sha256_of(b"onnx"), "registered_by": "trainer",
    "approval_by": "approver", "approval_at": "2025-04-01T12:00:00+00:00", "approval_model_sha256": sha256_of(b"onnx"),
}  # fmt: skip


@dataclass
class UnguardedRegistry:
    """One version as a server without Kizu's rules could show it. Tests only read it."""

    tags: dict[str, str]

    def version(self, model, version):
        return ModelVersion(model, version, "run", self.tags)

    def get_artifact(self, run_id, path):
        return b"onnx"


def test_the_three_stamps_are_what_is_believed():
    """Account, time and bytes of an approval are those of the tags."""
    _, approval = require_approval(UnguardedRegistry(STAMPED), "tag", 1)
    assert (approval.by, approval.at) == ("approver", datetime(2025, 4, 1, 12, tzinfo=UTC))
    assert approval.model_sha256 == sha256_of(b"onnx")


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"approval": ""}, "without an approval tag, expected approved"),
        ({"approval": "Approved"}, "is Approved, expected approved"),
        ({"approval_by": ""}, "is approved by nobody, expected an account"),
        ({"approval_by": "unauthenticated"}, "is approved by unauthenticated, expected an account"),
        ({"approval_by": "trainer"}, "did not register it"),
        ({"approval_model_sha256": ""}, r"was approved for model \(none recorded\)"),
        ({"approval_model_sha256": "ab" * 32}, "approve it again"),
        ({"approval_at": ""}, "expected a time with a zone"),
        ({"approval_at": "yesterday"}, "expected a time with a zone"),
        ({"approval_at": "2025-04-01T12:00:00"}, "expected a time with a zone"),
        ({"gate": "failed"}, "expected its gate tag to be 'passed'"),
        ({"model_sha256": "ab" * 32}, "its bytes are now"),
    ],
)
def test_a_stamp_that_is_missing_or_none_is_no_approval(tags, said):
    """A version with a missing or wrong stamp is not approved, whichever server or earlier version wrote it."""
    with pytest.raises(ApprovalError, match=said):
        require_approval(UnguardedRegistry(STAMPED | tags), "tag", 1)


def test_the_champion_is_the_version_with_the_alias(mlflow, registry, use_case, registered):
    """The champion has the version's bytes and report."""
    with mlflow.acting_as("reconciler"):
        registry.set_alias(registered, CHAMPION)
    found = champion(registry, use_case.name)
    assert (found.version.version, found.onnx, found.report.test.map50) == (1, b"onnx", 0.8)


def test_what_is_not_there_is_said_by_name(registry, use_case, registered):
    """The error names the version, model, alias, artifact or run that does not exist."""
    with pytest.raises(NoSuchModel, match="version 9"):
        registry.version(use_case.name, 9)
    with pytest.raises(NoSuchModel, match="no-such-model version 1"):
        registry.version("no-such-model", 1)
    with pytest.raises(NoSuchModel):
        registry.run("0" * 32)
    assert registry.by_alias("no-such-model", CHAMPION) is None
    assert registry.by_alias(use_case.name, "no-such-alias") is None
    assert registry.versions("no-such-model") == []
    assert not registry.has_artifact(registered.run_id, "no/such.file")


def test_runs_are_found_by_all_of_their_tags_and_only_when_finished(registry, use_case):
    """Running and failed runs are not found, nor runs with another tag."""
    done = evaluated_run(registry, use_case)
    registry.start_run(use_case.name, "still running", {"dataset_digest": DATASET})
    failed = registry.start_run(use_case.name, "failed", {"dataset_digest": DATASET})
    registry.end_run(failed, failed=True)
    assert [run.run_id for run in registry.find_runs(use_case.name, {"dataset_digest": DATASET})] == [done]
    assert registry.find_runs(use_case.name, {"dataset_digest": DATASET, "code_digest": "other"}) == []


def test_a_server_that_is_away_is_one_error_that_names_it(monkeypatch):
    """Nothing listens on port 9. (The client waits between its four attempts; here it makes one.)"""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ModelRegistryError, match=r"127\.0\.0\.1:9"):
        ModelRegistry("http://127.0.0.1:9").versions("metal-tag")
