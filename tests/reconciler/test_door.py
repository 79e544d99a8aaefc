"""The reconciler's door: who may shorten the wait, and what it tells of itself."""

from __future__ import annotations

import json
import threading
import time

import httpx
import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature

from components.settings import Settings, SettingsError
from components.webhooks.receiver import SECRET_HEADER
from reconciler.counters import Counters
from reconciler.decisions import Decision
from reconciler.door import LABEL_STUDIO_PATH, MLFLOW_PATH, Door, HintSecrets
from tests.reconciler.pass_world import NOW

SECRETS = HintSecrets("label-studio-secret", "mlflow-secret-1234")
BODY = json.dumps({"entity": "model_version_tag", "data": {"name": "metal-tag"}})


@pytest.fixture
def door():
    counters = Counters()
    with Door("127.0.0.1:0", SECRETS, counters.text, lambda: True, counters.hinted) as door:
        yield door


def post(door: Door, path: str, headers: dict[str, str], body: str = BODY) -> int:
    url = f"http://127.0.0.1:{door.port}{path}"
    return httpx.post(url, content=body, headers=headers, trust_env=False).status_code


def from_mlflow(secret: str = SECRETS.mlflow, *, body: str = BODY, age_s: int = 0, **changes: str) -> dict[str, str]:
    """The headers of MLflow's own code."""
    at = str(int(time.time()) - age_s)
    headers = {
        "X-MLflow-Delivery-Id": "d1", "X-MLflow-Timestamp": at,
        "X-MLflow-Signature": _generate_hmac_signature(secret, "d1", at, body),
    }  # fmt: skip
    return {**headers, **changes}


def test_a_hint_of_label_studio_or_mlflow_ends_the_wait(door):
    """Each is known by its own secret; the wait ends long before its time."""
    for path, headers in (
        (LABEL_STUDIO_PATH, {SECRET_HEADER: SECRETS.label_studio}), (MLFLOW_PATH, from_mlflow()),
    ):  # fmt: skip
        began = time.monotonic()
        sender = threading.Thread(target=post, args=(door, path, headers))
        sender.start()
        assert door.wait(30)
        sender.join()
        assert time.monotonic() - began < 15
    assert not door.wait(0.01)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (LABEL_STUDIO_PATH, {}, 401),
        (LABEL_STUDIO_PATH, {SECRET_HEADER: "mlflow-secret-1234"}, 401),
        (MLFLOW_PATH, {}, 401),
        (MLFLOW_PATH, from_mlflow("another-secret-12345"), 401),
        (MLFLOW_PATH, from_mlflow(body="{}"), 401),
        (MLFLOW_PATH, {"X-MLflow-Timestamp": "²"}, 401),
        ("/hints/else", {}, 404),
    ],
)
def test_a_hint_of_nobody_is_refused_and_ends_no_wait(door, path, headers, status):
    """A wrong secret, a signature of another body and an unknown address wake nobody."""
    encoded = {name: value.encode() for name, value in headers.items()}
    assert post(door, path, encoded) == status
    assert not door.wait(0.01)


def test_a_signed_hint_that_is_sent_again_later_is_refused(door):
    """A recorded hint is good for five minutes only."""
    assert post(door, MLFLOW_PATH, from_mlflow(age_s=290)) == 204
    door.wait(1)
    assert post(door, MLFLOW_PATH, from_mlflow(age_s=310)) == 401
    assert post(door, MLFLOW_PATH, from_mlflow(age_s=-310)) == 401


def test_a_body_is_bounded_and_read_only_from_whom_is_known(door):
    """A body beyond 64 KiB, or of unknown length, is not read."""
    known = {SECRET_HEADER: SECRETS.label_studio}
    assert post(door, LABEL_STUDIO_PATH, known, "x" * 65_537) == 413
    url = f"http://127.0.0.1:{door.port}{LABEL_STUDIO_PATH}"
    chunked = httpx.post(url, content=iter([b"x"]), headers=known, trust_env=False)
    assert chunked.status_code == 411
    assert not door.wait(0.01)


def test_without_a_secret_there_is_no_such_address():
    """An installation that sets no secret opens nothing; health and metrics are there."""
    with Door("127.0.0.1:0", HintSecrets(), lambda: b"", lambda: False) as door:
        assert post(door, LABEL_STUDIO_PATH, {SECRET_HEADER: ""}) == 404
        assert post(door, MLFLOW_PATH, from_mlflow("")) == 404
        assert httpx.get(f"http://127.0.0.1:{door.port}/healthz", trust_env=False).status_code == 503


def test_a_short_secret_is_refused_by_name():
    """Sixteen characters at least."""
    with pytest.raises(SettingsError, match="KIZU_MLFLOW_WEBHOOK_SECRET of at least 16"):
        HintSecrets.from_settings(Settings.from_environment({"KIZU_MLFLOW_WEBHOOK_SECRET": "short"}))


def test_metrics_count_decisions_passes_and_failures():
    """Prometheus' text form, with a counter for each act of a product."""
    counters = Counters()
    decision = Decision(use_case="metal-tag", act="start-training", subject="r1", why="due", at=NOW)
    counters.decided([decision, decision])
    counters.passed(0.5, NOW)
    counters.failed(3)
    counters.serves(2, 1)
    with Door("127.0.0.1:0", SECRETS, counters.text, lambda: True) as door:
        answer = httpx.get(f"http://127.0.0.1:{door.port}/metrics", trust_env=False)
    assert answer.headers["Content-Type"].startswith("text/plain")
    for line in (
        'kizu_reconciler_decisions_total{act="start-training",use_case="metal-tag"} 2.0',
        "kizu_reconciler_passes_total 1.0",
        "kizu_reconciler_failures_total 3.0",
        'kizu_reconciler_products{state="damaged"} 1.0',
    ):
        assert line in answer.text
