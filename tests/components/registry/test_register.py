"""Registration and approval on a real MLflow server."""

from datetime import UTC, datetime

import pytest

from components.approval import ApprovalError, decide_approval, require_approval
from components.champion import champion
from components.model_registry import (
    CANDIDATE,
    CHAMPION,
    EVALUATION_REPORT,
    MODEL_FILE,
    ModelRegistry,
    ModelRegistryError,
    NoSuchModel,
)
from components.registry.register import RegistrationError, register
from inspection.image import sha256_of
from tests.components.model_runs import DATASET, evaluated_run, unique_use_case

NOON = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)


def at_noon():
    return NOON


@pytest.fixture
def use_case():
    return unique_use_case()


@pytest.fixture
def registered(registry, use_case):
    return register(registry, evaluated_run(registry, use_case), use_case, 7)


def test_a_model_that_passed_waits_for_a_person_with_its_lineage(registry, use_case, registered):
    """Pending, candidate, and every digest of the chain; the description shows the numbers."""
    found = registry.version(use_case.name, 1)
    assert found.approval == "pending"
    assert found.tags == {
        "approval": "pending", "gate": "passed", "dataset_digest": DATASET, "code_digest": "c0de",
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
    """A step that is run again makes no second version."""
    assert register(registry, registered.run_id, use_case, 7).version == registered.version
    assert len(registry.versions(use_case.name)) == 1


def test_a_run_that_was_evaluated_again_is_the_same_version_and_pending_again(registry, use_case, registered):
    """Another policy, the same training: what was approved was the earlier report."""
    decide_approval(registry, use_case.name, 1, "approved")
    stricter = use_case.model_copy(update={"gates": use_case.gates.model_copy(update={"min_map50": 0.75})})
    again = register(registry, registered.run_id, stricter, 8)
    assert (again.version, again.approval) == (1, "pending")
    assert again.tags["use_case_digest"] == stricter.digest
    with pytest.raises(ApprovalError, match="is pending"):
        require_approval(registry, use_case.name, 1)


def test_another_run_is_another_version(registry, use_case, registered):
    """Newest first, and the candidate moves on."""
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
    """The model was replaced between evaluation and registration."""
    run_id = evaluated_run(registry, use_case)
    registry.put_artifact(run_id, MODEL_FILE, b"replaced")
    with pytest.raises(RegistrationError, match="was evaluated, but the model is"):
        register(registry, run_id, use_case, 7)
    assert registry.versions(use_case.name) == []


def test_a_run_without_evaluation_is_not_registered(registry, use_case):
    """There is nothing to judge."""
    run_id = registry.start_run(use_case.name, "bare", {})
    with pytest.raises(NoSuchModel, match=r"has no artifact evaluation/report\.json"):
        register(registry, run_id, use_case, 7)


def test_an_approval_is_stamped_with_time_bytes_and_no_name(registry, use_case, registered):
    """Until MLflow knows who it was, it says so."""
    decide_approval(registry, use_case.name, 1, "approved", reason="looks right", now=at_noon)
    version, approval = require_approval(registry, use_case.name, 1)
    assert (approval.by, approval.at, approval.model_sha256) == ("unauthenticated", NOON, sha256_of(b"onnx"))
    assert version.tags["approval_reason"] == "looks right"


def test_an_approval_in_mlflows_page_is_one_tag_and_is_stamped_when_it_is_used(registry, use_case, registered):
    """Time and bytes are added at the first look, and stay."""
    registry.set_tag(registered, "approval", "approved")
    _, approval = require_approval(registry, use_case.name, 1, now=at_noon)
    assert (approval.by, approval.at, approval.model_sha256) == ("unauthenticated", NOON, sha256_of(b"onnx"))
    _, again = require_approval(registry, use_case.name, 1, now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    assert again == approval


def test_a_name_that_somebody_wrote_into_a_tag_is_not_believed(registry, use_case, registered):
    """approval_by is a tag like others: anybody may write it."""
    decide_approval(registry, use_case.name, 1, "approved")
    registry.set_tag(registered, "approval_by", "the factory manager")
    assert require_approval(registry, use_case.name, 1)[1].by == "unauthenticated"


@pytest.mark.parametrize("state", ["pending", "rejected", "", "Approved", "approved "])
def test_nothing_but_approved_is_approved(registry, use_case, registered, state):
    """The message says what it is and what to do."""
    registry.set_tag(registered, "approval", state)
    with pytest.raises(ApprovalError, match=r"expected approved; .*kizu approve 1 --model"):
        require_approval(registry, use_case.name, 1)


def test_a_rejection_takes_an_approval_back(registry, use_case, registered):
    """The last word counts."""
    decide_approval(registry, use_case.name, 1, "approved")
    decide_approval(registry, use_case.name, 1, "rejected", reason="misses dents")
    with pytest.raises(ApprovalError, match="is rejected"):
        require_approval(registry, use_case.name, 1)


def test_a_version_whose_gate_tag_was_changed_cannot_be_approved(registry, use_case, registered):
    """By the command, nor by the tag."""
    registry.set_tag(registered, "gate", "failed")
    with pytest.raises(ApprovalError, match="expected its gate tag to be 'passed', but it is 'failed'"):
        decide_approval(registry, use_case.name, 1, "approved")
    assert registry.version(use_case.name, 1).approval == "pending"
    registry.set_tag(registered, "approval", "approved")
    with pytest.raises(ApprovalError, match="gate tag"):
        require_approval(registry, use_case.name, 1)


def test_bytes_that_changed_cannot_be_approved_nor_used(registry, use_case, registered):
    """Neither before the approval, nor after it."""
    decide_approval(registry, use_case.name, 1, "approved")
    registry.put_artifact(registered.run_id, MODEL_FILE, b"replaced")
    with pytest.raises(ApprovalError, match="its bytes are now"):
        require_approval(registry, use_case.name, 1)
    with pytest.raises(ApprovalError, match="its bytes are now"):
        decide_approval(registry, use_case.name, 1, "approved")


def test_an_approval_of_other_bytes_is_not_one_of_these(registry, use_case, registered):
    """Model and tag were both replaced after the approval: approve again."""
    decide_approval(registry, use_case.name, 1, "approved")
    registry.put_artifact(registered.run_id, MODEL_FILE, b"replaced")
    registry.set_tag(registered, "model_sha256", sha256_of(b"replaced"))
    with pytest.raises(ApprovalError, match=r"was approved for model .* approve it again"):
        require_approval(registry, use_case.name, 1)


@pytest.mark.parametrize("at", ["yesterday", "2025-04-01T12:00:00"])
def test_a_stamp_with_a_time_that_is_none_is_refused(registry, use_case, registered, at):
    """A tag that a person wrote."""
    decide_approval(registry, use_case.name, 1, "approved")
    registry.set_tag(registered, "approval_at", at)
    with pytest.raises(ApprovalError, match="expected a time with a zone"):
        require_approval(registry, use_case.name, 1)


def test_the_champion_is_the_version_with_the_alias(registry, use_case, registered):
    """With its bytes and its report."""
    registry.set_alias(registered, CHAMPION)
    found = champion(registry, use_case.name)
    assert (found.version.version, found.onnx, found.report.test.map50) == (1, b"onnx", 0.8)


def test_what_is_not_there_is_said_by_name(registry, use_case, registered):
    """Version, model, alias, artifact, run."""
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
    """So that the same inputs are not trained twice."""
    done = evaluated_run(registry, use_case)
    registry.start_run(use_case.name, "still running", {"dataset_digest": DATASET})
    failed = registry.start_run(use_case.name, "failed", {"dataset_digest": DATASET})
    registry.end_run(failed, failed=True)
    assert [run.run_id for run in registry.find_runs(use_case.name, {"dataset_digest": DATASET})] == [done]
    assert registry.find_runs(use_case.name, {"dataset_digest": DATASET, "code_digest": "other"}) == []


def test_a_server_that_is_away_is_one_error_that_names_it(monkeypatch):
    """Nobody listens on port 9. (The client waits between its four attempts; here it makes one.)"""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ModelRegistryError, match=r"127\.0\.0\.1:9"):
        ModelRegistry("http://127.0.0.1:9").versions("metal-tag")
