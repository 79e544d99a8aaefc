"""Check the artifacts that an approval rests on. The server reads them from its own artifact store."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse

from mlflow.exceptions import MlflowException
from mlflow.server import handlers

from components.stores.models.approval_evidence import EvidenceError, check_evidence
from components.stores.models.comparison import RunningChampion, why_not

# The same paths as in components/stores/models/registry.py, which is the client's side.
MODEL_FILE = "model/model.onnx"
EVALUATION_REPORT = "evaluation/report.json"
USE_CASE = "use_case.json"
LATENCY_REPORT = "evaluation/latency.json"


def check_version(
    model: str, number: str, run_id: str | None, tags: Mapping[str, str], running: RunningChampion | None
) -> str:
    """Check that tags, artifacts and gate of a version agree, and return the SHA-256 of the model's bytes.

    running: the champion of now, with which the report has to compare.

    Raises:
        EvidenceError: they do not agree, the version was compared with another champion, it names no run, or this
            server does not keep or cannot read an artifact.
    """
    where = f"{model} version {number}"
    if not run_id:
        raise EvidenceError(f"{where} names no run, so that there is no model and no evaluation to look at")
    evidence = check_evidence(
        model,
        int(number),
        tags,
        onnx=_artifact(run_id, MODEL_FILE, where),
        report=_artifact(run_id, EVALUATION_REPORT, where),
        use_case=_artifact(run_id, USE_CASE, where),
        latency=_optional(run_id, LATENCY_REPORT, where),
    )
    if stale := why_not(where, int(number), evidence.report, running):
        raise EvidenceError(stale)
    return tags["model_sha256"]


def _optional(run_id: str, path: str, where: str) -> bytes | None:
    """The bytes of an artifact; None where it is not there. The gate judges what is missing as not measured."""
    try:
        return _artifact(run_id, path, where)
    except EvidenceError:
        return None


def _artifact(run_id: str, path: str, where: str) -> bytes:
    try:
        root = handlers._get_tracking_store().get_run(run_id).info.artifact_uri
    except MlflowException as e:
        raise EvidenceError(f"{where}: its run {run_id} cannot be read: {e.message}") from e
    parsed = urlparse(root)
    if parsed.scheme != "mlflow-artifacts" or parsed.netloc:
        raise EvidenceError(f"{where}: expected its artifacts behind this server, but they are at {root}")
    stored = handlers._get_proxied_run_artifact_destination_path(root, path)
    with tempfile.TemporaryDirectory() as folder:
        try:
            local = handlers._get_artifact_repo_mlflow_artifacts().download_artifacts(stored, dst_path=folder)
            return Path(local).read_bytes()
        except Exception as e:  # each type of store raises its own errors; with any of them the bytes are not there
            raise EvidenceError(f"{where}: its artifact {path} cannot be read ({type(e).__name__})") from e
