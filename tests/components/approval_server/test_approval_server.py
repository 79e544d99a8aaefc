"""Approval on the real server: who may, who may not, and that there is no way around."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest

from components.registry.register import register
from components.stores.models.approval import require_approval
from components.stores.models.registry import (
    CHAMPION,
    EVALUATION_REPORT,
    LATENCY_REPORT,
    MODEL_FILE,
    ROLLOUT_REASON_TAG,
    ROLLOUT_TAG,
    USE_CASE,
    ModelRegistryError,
)
from inspection.image import sha256_of
from reconciler.adapters import MlflowRollouts
from tests.components.guarded_mlflow import password_of, write
from tests.components.model_runs import champion_scores, evaluated_run, unique_use_case

STAMPS = ("approval_by", "approval_at", "approval_model_sha256")
V2 = "/api/2.0/mlflow"


@pytest.fixture
def use_case(mlflow):
    made = unique_use_case()
    mlflow.allow(made.name, "approver", "approver-2")
    return made


@pytest.fixture
def name(use_case):
    return use_case.name


@pytest.fixture
def registered(registry, use_case):
    """Registered by the trainer, pending."""
    return register(registry, evaluated_run(registry, use_case), use_case, 7)


@pytest.fixture
def approve(mlflow, name):
    def act(account="approver", value="approved", version=1):
        return mlflow.set_tag(account, name, version, "approval", value)

    return act


def refusal(answer, status=403):
    """What MLflow's page shows."""
    assert answer.status_code == status, answer.text
    return answer.json()["message"]


def stamps(registry, name, version=1):
    tags = registry.version(name, version).tags
    return {key: tags[key] for key in STAMPS if key in tags}


def test_an_approval_is_stamped_with_account_time_and_bytes(registry, name, registered, approve):
    """The server stamps an approval with account, time and model digest, and readers accept it."""
    before = datetime.now(UTC) - timedelta(seconds=1)
    assert approve().status_code == 200
    _, approval = require_approval(registry, name, 1)
    assert (approval.by, approval.model_sha256) == ("approver", sha256_of(b"onnx"))
    assert before <= approval.at <= datetime.now(UTC) + timedelta(seconds=1)


def test_who_registered_is_written_by_the_server(registry, name, registered):
    """The server writes `registered_by` from the account that sent the request."""
    assert registry.version(name, 1).tags["registered_by"] == "trainer"


@pytest.mark.parametrize(
    ("account", "said"),
    [
        ("trainer", "the approvers of tag-[0-9a-f]+ are approver, approver-2"),
        ("trainer-2", "the approvers of"),
        ("reconciler", "the approvers of"),
        ("admin", "the approvers of"),
    ],
)
def test_an_account_that_the_use_case_does_not_list_is_refused_with_the_reason(
    registry, name, registered, approve, account, said
):
    """Whatever it may do besides; nothing is written."""
    import re

    for value in ("approved", "rejected"):
        assert re.search(said, refusal(approve(account, value)))
    assert registry.version(name, 1).approval == "pending"
    assert stamps(registry, name) == {}


def test_without_an_account_nothing_is_answered_but_that_it_is_alive(mlflow, name, registered, approve):
    """401, which a browser asks for name and password at; probes need none."""
    answer = approve(None)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Basic realm="mlflow"')
    assert mlflow.ask(None, "GET", f"{V2}/registered-models/get?name={name}").status_code == 401
    assert mlflow.ask(None, "GET", "/health").text == "OK"


def test_an_account_that_only_reads_sets_no_tag(mlflow, registry, name, registered, approve):
    """The signer's: MLflow itself refuses it, in a form that its page can show."""
    assert "signer may not POST" in refusal(approve("signer"))
    assert mlflow.set_tag("signer", name, 1, "note", "x").status_code == 403
    assert mlflow.ask("signer", "GET", f"{V2}/registered-models/get?name={name}").status_code == 200


@pytest.fixture
def by_approver(mlflow, registry, use_case, registered):
    """Version 2: the trainer's run, but registered by an account that is listed as approver."""
    tags = [
        {"key": key, "value": value}
        for key, value in registry.version(use_case.name, 1).tags.items()
        if key != "registered_by"
    ]
    run_id = registered.run_id
    source = registry._client.get_run(run_id).info.artifact_uri + "/model"
    body = {"name": use_case.name, "source": source, "run_id": run_id, "tags": tags}
    answer = mlflow.ask("approver", "POST", f"{V2}/model-versions/create", body)
    assert answer.status_code == 200, answer.text
    return 2


def test_who_registered_never_approves_even_where_it_is_listed(registry, name, by_approver, approve):
    """The account that registered a version cannot decide on it; another approver can."""
    for value in ("approved", "rejected"):
        assert "approver registered" in refusal(approve("approver", value, by_approver))
    assert approve("approver-2", version=by_approver).status_code == 200
    assert stamps(registry, name, by_approver)["approval_by"] == "approver-2"


def test_an_account_of_a_service_is_no_person(mlflow, name, registered, approve):
    """A service account cannot approve, even where the list of approvers names it."""
    mlflow.allow(name, "trainer-2")
    assert "a person's account" in refusal(approve("trainer-2"))


def test_approvers_that_a_run_names_are_not_asked(mlflow, registry, name, use_case, registered, approve):
    """The server ignores approvers in a run's use case, because the training account wrote that file."""
    forged = use_case.to_json().replace('"classes"', '"approvers":["approver-2"],"classes"').encode()
    registry.put_artifact(registered.run_id, USE_CASE, forged)
    mlflow.allow(name, "approver")
    assert "the approvers of" in refusal(approve("approver-2"))
    mlflow.allow(name)
    assert "knows no approvers" in refusal(approve("approver"))


@pytest.mark.parametrize("account", ["trainer", "approver", "admin"])
def test_the_servers_own_tags_are_nobody_elses_to_write(mlflow, registry, name, registered, approve, account):
    """Set, by both doors of MLflow; deleted; in a new version; before an approval and after it."""
    for when in ("before", "after"):
        tags = registry.version(name, 1).tags
        for key in (*STAMPS, "registered_by", "Approval_By", " approval_by", "APPROVAL"):
            for api in ("/api", "/ajax-api"):
                body = {"name": name, "version": "1", "key": key, "value": "mallory"}
                answer = mlflow.ask(account, "POST", f"{api}/2.0/mlflow/model-versions/set-tag", body)
                assert answer.status_code in (400, 403), answer.text
                body = {"name": name, "version": "1", "key": key}
                answer = mlflow.ask(account, "DELETE", f"{api}/2.0/mlflow/model-versions/delete-tag", body)
                assert answer.status_code in (400, 403), answer.text
            body = {"name": name, "source": f"models:/{name}/1", "tags": [{"key": key, "value": "mallory"}]}
            answer = mlflow.ask(account, "POST", f"{V2}/model-versions/create", body)
            assert answer.status_code in (400, 403), answer.text
        assert registry.version(name, 1).tags == tags
        assert len(registry.versions(name)) == 1
        if when == "before":
            assert approve().status_code == 200


def test_a_version_is_not_born_approved_nor_is_an_approval_copied(mlflow, registry, name, registered, approve):
    """A new version is never approved from the start, whether MLflow's API creates it or copies it."""
    body = {"name": name, "source": f"models:/{name}/1", "tags": [{"key": "approval", "value": "approved"}]}
    assert "approval=pending" in refusal(mlflow.ask("trainer", "POST", f"{V2}/model-versions/create", body))
    approve()
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match="cannot be copied"):
        registry._client.copy_model_version(f"models:/{name}/1", name)
    assert len(registry.versions(name)) == 1


def test_what_an_approval_rests_on_does_not_change_below_it(mlflow, registry, name, registered, approve):
    """Digests and the gate: the registering account's, until somebody approves; then nobody's."""
    tags = ("gate", "model_sha256", "evaluation_digest", "use_case_digest", "dataset_digest", "code_digest")
    for account in ("approver", "trainer-2", "admin"):
        assert "only the account that registered" in refusal(mlflow.set_tag(account, name, 1, "gate", "failed"))
    assert mlflow.set_tag("trainer", name, 1, "code_digest", "c0de2").status_code == 200
    approve()
    for key in tags:
        assert "set approval to pending first" in refusal(mlflow.set_tag("trainer", name, 1, key, "x"))
    assert mlflow.set_tag("trainer", name, 1, "note", "free").status_code == 200


@pytest.mark.parametrize("account", ["trainer", "approver-2"])
def test_pending_takes_an_approval_back_with_its_stamps(registry, name, registered, approve, account):
    """The trainer's, who evaluated it again, or an approver's; no one else's."""
    approve()
    assert "takes a decision back" in refusal(approve("trainer-2", "pending"))
    assert approve(account, "pending").status_code == 200
    assert stamps(registry, name) == {}


def test_a_rejection_names_its_account_and_approves_no_bytes(mlflow, registry, name, registered, approve):
    """A rejection is stamped with account and time only, and removes an earlier approval's model digest.

    Only the account that rejected may give the reason, and the next decision removes it.
    """
    approve()
    assert approve("approver-2", "rejected").status_code == 200
    assert set(stamps(registry, name)) == {"approval_by", "approval_at"}
    assert stamps(registry, name)["approval_by"] == "approver-2"
    assert "is approver-2's" in refusal(mlflow.set_tag("approver", name, 1, "approval_reason", "not mine"))
    assert mlflow.set_tag("approver-2", name, 1, "approval_reason", "misses dents").status_code == 200
    assert registry.version(name, 1).tags["approval_reason"] == "misses dents"
    approve()
    assert "approval_reason" not in registry.version(name, 1).tags


@pytest.mark.parametrize("value", ["Approved", "approved ", "", "yes"])
def test_a_decision_is_one_of_three_words(registry, name, registered, approve, value):
    """Any value but approved, rejected or pending is refused, and the version stays pending."""
    assert "expected approval to be approved, rejected or pending" in refusal(approve(value=value), 400)
    assert registry.version(name, 1).approval == "pending"


@pytest.mark.parametrize(
    ("artifact", "data", "said"),
    [
        (MODEL_FILE, b"replaced", "its bytes are now"),
        (EVALUATION_REPORT, None, "the evaluation report is not the one that was registered"),
        (USE_CASE, b'{"name": "other"}', "mistake"),
    ],
)
def test_artifacts_that_are_not_what_was_registered_are_not_approved(
    registry, name, registered, approve, artifact, data, said
):
    """The server reads them itself; the message says which."""
    if data is None:
        data = registry.get_artifact(registered.run_id, artifact).replace(b'"map50":0.8', b'"map50":0.9')
    registry.put_artifact(registered.run_id, artifact, data)
    assert said in refusal(approve(), 409)
    assert registry.version(name, 1).approval == "pending"
    assert stamps(registry, name) == {}


def test_a_gate_that_did_not_pass_is_not_approved(mlflow, registry, name, use_case, registered, approve):
    """A version whose gate failed is not approved. The gate is judged again where the tag says that it passed."""
    mlflow.set_tag("trainer", name, 1, "gate", "failed")
    assert "expected its gate tag to be 'passed', but it is 'failed'" in refusal(approve(), 409)
    weak = evaluated_run(registry, use_case, onnx=b"weak", map50=0.5)
    tags = {
        "approval": "pending", "gate": "passed", "model_sha256": sha256_of(b"weak"),
        "use_case_digest": use_case.digest,
        "evaluation_digest": sha256_of(registry.get_artifact(weak, EVALUATION_REPORT)),
    }  # fmt: skip
    assert registry.create_version(name, weak, tags, "").version == 2
    assert "does not pass its gate: test mAP50 is 0.500" in refusal(approve(version=2), 409)


def test_a_version_that_was_compared_with_another_champion_is_not_approved(
    mlflow, registry, name, use_case, registered, approve
):
    """Version 2 was evaluated before version 1 became the champion, and version 3 beside it."""
    register(registry, evaluated_run(registry, use_case, onnx=b"before"), use_case, 7)
    with mlflow.acting_as("reconciler"):
        registry.set_alias(registered, CHAMPION)
    assert refusal(approve(version=2), 409).endswith(
        f"{name} version 2 was compared with no champion, but version 1 is the champion now; "
        "evaluate it again first: kizu train --evaluate 2"
    )
    assert stamps(registry, name, 2) == {}
    beside = champion_scores(registered)
    register(registry, evaluated_run(registry, use_case, onnx=b"beside", champion=beside), use_case, 7)
    assert approve(version=3).status_code == approve(version=1).status_code == 200


def test_the_latest_latency_is_judged_whichever_the_evaluation_had(registry, name, registered, approve):
    """A latency that is too high now refuses an approval, and the next measurement allows it; the report stays."""
    fast = registry.get_artifact(registered.run_id, LATENCY_REPORT)
    registry.put_artifact(
        registered.run_id, LATENCY_REPORT, fast.replace(b'"latency_ms_p95":2.5', b'"latency_ms_p95":900')
    )
    assert "does not pass its gate: latency p95 is 900.0 ms" in refusal(approve(), 409)
    registry.put_artifact(registered.run_id, LATENCY_REPORT, fast.replace(b'"model_sha256":"', b'"model_sha256":"0'))
    assert "the latency is that of another model" in refusal(approve(), 409)
    registry.put_artifact(registered.run_id, LATENCY_REPORT, fast)
    assert approve().status_code == 200


def test_artifacts_that_lie_elsewhere_are_not_approved(mlflow, registry, name, use_case, tmp_path, approve):
    """An experiment may keep its artifacts where the server does not look after them."""
    experiment = {"name": f"{name}-elsewhere", "artifact_location": "s3://elsewhere/folder"}
    made = mlflow.ask("trainer", "POST", f"{V2}/experiments/create", experiment).json()
    run = mlflow.ask("trainer", "POST", f"{V2}/runs/create", {"experiment_id": made["experiment_id"]}).json()["run"]
    registry._client.create_registered_model(name)
    body = {
        "name": name, "source": f"{run['info']['artifact_uri']}/model", "run_id": run["info"]["run_id"],
        "tags": [{"key": "gate", "value": "passed"}],
    }  # fmt: skip
    answer = mlflow.ask("trainer", "POST", f"{V2}/model-versions/create", body)
    assert answer.status_code == 200, answer.text
    assert "expected its artifacts behind this server" in refusal(approve(), 409)


def test_champion_is_moved_by_the_reconciler_alone(mlflow, registry, name, registered):
    """Only the reconciler can set or delete the champion alias; trainer, approver and admin are refused."""
    for account in ("trainer", "approver", "admin"):
        for method in ("POST", "DELETE"):
            body = {"name": name, "alias": CHAMPION, "version": "1"}
            answer = mlflow.ask(account, method, f"{V2}/registered-models/alias", body)
            # MLflow lets nobody delete an alias but who may manage the model.
            assert "the reconciler moves it" in refusal(answer) or f"{account} may not DELETE" in refusal(answer)
    with mlflow.acting_as("reconciler"):
        registry.set_alias(registered, CHAMPION)
    assert registry.by_alias(name, CHAMPION).version == 1


def test_how_a_rollout_ended_is_written_by_the_reconciler_alone(mlflow, registry, name, registered):
    """Another account could keep a good version from its devices, or hide that one was stopped."""
    for account in ("trainer", "approver", "admin"):
        for key in (ROLLOUT_TAG, ROLLOUT_REASON_TAG):
            body = {"name": name, "version": "1", "key": key, "value": "failed"}
            assert "the reconciler writes it" in refusal(
                mlflow.ask(account, "POST", f"{V2}/model-versions/set-tag", body)
            )
    with mlflow.acting_as("reconciler"):
        MlflowRollouts(registry).note_rollout(name, 1, "failed", "canary: bad")
    assert MlflowRollouts(registry).rollout_of(name, 1) == "failed"
    assert registry.version(name, 1).tags[ROLLOUT_REASON_TAG] == "canary: bad"


def test_models_are_not_renamed_staged_or_deleted_past_their_approval(mlflow, registry, name, registered, approve):
    """Approvers belong to a name; a stage decides nothing; what devices run from is an administrator's to delete."""
    approve()
    for account in ("trainer", "approver", "admin"):
        body = {"name": name, "new_name": f"{name}-x"}
        answer = mlflow.ask(account, "POST", f"{V2}/registered-models/rename", body)
        assert "is not renamed" in refusal(answer)
        body = {"name": name, "version": "1", "stage": "Production", "archive_existing_versions": False}
        answer = mlflow.ask(account, "POST", f"{V2}/model-versions/transition-stage", body)
        assert "decides nothing" in refusal(answer)
    for path, body in (("model-versions", {"name": name, "version": "1"}), ("registered-models", {"name": name})):
        assert "only an administrator deletes it" in refusal(
            mlflow.ask("trainer", "DELETE", f"{V2}/{path}/delete", body)
        )
    assert stamps(registry, name)["approval_by"] == "approver"
    answer = mlflow.ask("admin", "DELETE", f"{V2}/registered-models/delete", {"name": name})
    assert answer.status_code == 200, answer.text
    assert registry.versions(name) == []


def test_a_model_made_again_under_its_old_name_is_not_approved(mlflow, registry, name, use_case, registered, approve):
    """A model that is created again under a deleted model's name is pending, and has no stamp of the earlier one."""
    approve()
    mlflow.ask("admin", "DELETE", f"{V2}/registered-models/delete", {"name": name})
    again = register(registry, registered.run_id, use_case, 7)
    assert (again.version, again.approval) == (1, "pending")
    assert stamps(registry, name) == {}


def test_no_writing_route_of_this_mlflow_passes_the_rules_by(mlflow, registry, name, registered, approve):
    """Every one that MLflow has, known to the door or not, asked by everybody to stamp or to approve."""
    from mlflow.server import app as flask_app
    from mlflow.server.fastapi_app import app as fastapi_app

    rules = [(rule.rule, rule.methods) for rule in flask_app.url_map.iter_rules()]
    rules += [(route.path, route.methods) for route in fastapi_app.routes if getattr(route, "methods", None)]
    routes = sorted({(m, path) for path, methods in rules for m in methods - {"GET", "HEAD", "OPTIONS"}})
    assert len(routes) > 200, "MLflow's routes were found"
    before = registry.version(name, 1).tags
    asked = 0
    for key, value in (("approval_by", "mallory"), ("approval", "approved")):
        body = {
            "name": name, "version": "1", "key": key, "value": value, "alias": CHAMPION, "new_name": name,
            "tags": [{"key": key, "value": value}], "source": f"models:/{name}/1", "model_version": "1",
            "query": f'mutation {{ testMutation(inputString: "{key}") {{ output }} }}', "stage": "Production",
        }  # fmt: skip
        for method, path in routes:
            concrete = path.replace("<path:artifact_path>", "x").replace("{artifact_path:path}", "x")
            concrete = "/".join("x" if part.startswith(("<", "{")) else part for part in concrete.split("/"))
            answer = mlflow.ask("trainer", method, concrete, body)
            assert answer.status_code < 500 or answer.status_code == 501, f"{method} {concrete}: {answer.text[:300]}"
            asked += 1
    assert asked == 2 * len(routes)
    after = {version.version: version.tags for version in registry.versions(name)}
    assert after.pop(1) == before
    for tags in after.values():  # versions that `create` made are the trainer's, and pending
        assert tags["registered_by"] == "trainer"
        assert not set(tags) & set(STAMPS)
    assert registry.by_alias(name, CHAMPION) is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/ajax-api/3.0/mlflow/assistant/message"),
        ("POST", "/ajax-api/3.0/jobs"),
        ("POST", "/ajax-api/3.0/mlflow/demo/generate"),
        ("POST", "/gateway/mlflow/v1/chat/completions"),
        ("POST", "/v1/traces"),
        ("POST", "/api/2.0/mlflow/model-versions/set-tags"),
        ("POST", "/api/2.0/mlflow//model-versions/set-tag"),
        ("POST", "/api/4.0/mlflow/model-versions/set-tag"),
        ("PUT", "/api/2.0/mlflow/model-versions/set-tag"),
    ],
)
def test_a_writing_route_that_is_not_known_is_refused_at_the_door(mlflow, method, path):
    """An unknown route that writes is refused before MLflow sees it, for an administrator too.

    A route that a later MLflow adds can therefore write no tag.
    """
    assert "does not take" in refusal(mlflow.ask("admin", method, path, {}))


def test_who_may_approve_changes_without_a_restart(mlflow, registry, name, registered, approve):
    """A new person's account, from the administrator's files."""
    from tests.components.guarded_mlflow import ROLES

    mlflow.write_accounts(ROLES | {"hanako": "approver"})
    mlflow.allow(name, "hanako")
    try:
        assert approve("hanako").status_code == 200
        assert stamps(registry, name)["approval_by"] == "hanako"
    finally:
        mlflow.write_accounts()


def test_an_account_that_an_administrator_made_in_mlflow_may_be_an_approver(
    mlflow, registry, name, registered, approve
):
    """An account that an administrator made in MLflow may approve without an entry in the file of accounts."""
    body = {"username": f"person-{name}", "password": password_of(f"person-{name}")}
    assert mlflow.ask("admin", "POST", f"{V2}/users/create", body).status_code == 200
    mlflow.allow(name, body["username"])
    assert approve(body["username"]).status_code == 200
    assert stamps(registry, name)["approval_by"] == body["username"]


def test_no_account_but_an_administrators_makes_accounts_or_gives_rights(mlflow, name, registered):
    """Only an administrator may make accounts, give rights, or set another account's password."""
    user = {"username": "mallory", "password": "mallory-mallory"}
    for account in ("trainer", "approver"):
        assert mlflow.ask(account, "POST", f"{V2}/users/create", user).status_code == 403
        body = {"username": "approver-2", "password": "mallory-mallory"}
        assert mlflow.ask(account, "PATCH", f"{V2}/users/update-password", body).status_code == 403
        body = {"username": account, "is_admin": True}
        assert mlflow.ask(account, "PATCH", f"{V2}/users/update-admin", body).status_code == 403


def test_a_damaged_list_of_approvers_approves_nothing(mlflow, registry, name, registered, approve):
    """While the list of approvers cannot be read, the server refuses an approval and answers other requests."""
    whole = mlflow.approvers.read_bytes()
    mlflow.approvers.write_bytes(b"{")
    try:
        assert "cannot be read" in refusal(approve(), 500)
        assert registry.version(name, 1).approval == "pending"
    finally:
        mlflow.approvers.write_bytes(whole)
    assert approve().status_code == 200


def test_a_header_that_names_another_account_changes_nothing(mlflow, registry, name, registered):
    """Only name and password identify a caller; a header that names another account is ignored."""
    import httpx

    body = {"name": name, "version": "1", "key": "approval", "value": "approved"}
    forged = base64.b64encode(b"approver:wrong-password").decode()
    answer = httpx.post(
        f"{mlflow.uri}{V2}/model-versions/set-tag", json=body, trust_env=False,
        headers={"Authorization": f"Basic {forged}", "X-Forwarded-User": "approver", "X-MLflow-Authorization": "x"},
    )  # fmt: skip
    assert answer.status_code == 401
    assert registry.version(name, 1).approval == "pending"


def test_what_is_not_there_is_told_from_what_is_forbidden(mlflow, registry, name, registered):
    """A pipeline asks for the champion before there is a model of that name."""
    for path in (
        "model-versions/get?name=none&version=1",
        "registered-models/alias?name=none&alias=champion",
        f"model-versions/get?name={name}&version=9",
        f"runs/get?run_id={'0' * 32}",
        "experiments/get?experiment_id=4711",
    ):
        answer = mlflow.ask("signer", "GET", f"{V2}/{path}")
        assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST"), answer.text


def test_the_clients_error_carries_the_servers_words(registry, registered):
    """A refused tag raises an error with the server's message, which `kizu approve` prints."""
    with pytest.raises(ModelRegistryError, match=r"the approvers of .* are approver, approver-2"):
        registry.set_tag(registered, "approval", "approved")


def test_a_file_of_accounts_without_an_administrator_is_refused(tmp_path):
    """A bad file of accounts is refused before the server starts, and the message repeats no password."""
    from components.approval_server.accounts import AccountsError, read_accounts

    file = tmp_path / "accounts.json"
    for entry, said in (
        ({"role": "trainer", "password": "long-enough-1"}, "role admin"),
        ({"role": "admin", "password": "short"}, "at least 12"),
        ({"role": "boss", "password": "long-enough-1"}, "expected a role"),
        ({"role": "admin"}, "expected {"),
    ):
        write(file, {"schema_version": 1, "accounts": {"x": entry}})
        with pytest.raises(AccountsError, match=said) as found:
            read_accounts(file)
        assert "long-enough" not in str(found.value)
        assert "'short'" not in str(found.value)


def test_the_account_for_a_plugin_records_runs_of_its_own_and_comes_no_way_round_an_approval(
    mlflow, registry, name, registered
):
    """It makes an experiment and a run in it. A training's run, a version, a tag of an approval and an alias are
    refused, and so is a version of a model that the account made itself."""
    own = mlflow.ask("auditor", "POST", f"{V2}/experiments/create", {"name": f"plugin of {name}"})
    run = mlflow.ask("auditor", "POST", f"{V2}/runs/create", {"experiment_id": own.json()["experiment_id"]})
    assert (own.status_code, run.status_code) == (200, 200)
    run_id = run.json()["run"]["info"]["run_id"]
    metric = {"run_id": run_id, "key": "steps", "value": 3, "timestamp": 1, "step": 0}
    assert mlflow.ask("auditor", "POST", f"{V2}/runs/log-metric", metric).status_code == 200
    model = f"model of the plugin {name}"
    assert mlflow.ask("auditor", "POST", f"{V2}/registered-models/create", {"name": model}).status_code == 200
    source = run.json()["run"]["info"]["artifact_uri"] + "/model"
    for act, body in (
        ("runs/log-metric", metric | {"run_id": registered.run_id}),
        ("model-versions/create", {"name": name, "source": source, "run_id": run_id}),
        ("model-versions/create", {"name": model, "source": source, "run_id": run_id}),
        ("model-versions/set-tag", {"name": name, "version": "1", "key": "approval", "value": "approved"}),
        ("model-versions/set-tag", {"name": name, "version": "1", "key": "gate", "value": "passed"}),
        ("registered-models/alias", {"name": name, "version": "1", "alias": "candidate"}),
    ):
        assert mlflow.ask("auditor", "POST", f"{V2}/{act}", body).status_code == 403, act
    assert registry.version(name, 1).approval == "pending"
    assert registry.version(name, 1).tags["gate"] == registered.tags["gate"]
