"""MLflow's tracking and registry: the calls that Kizu makes. It reads JSON and ONNX, never a pickle."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from components.settings import Settings

# mlflow reads these at import. Without them each call retries for minutes where the server does not answer.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

_log = logging.getLogger(__name__)

MODEL_FILE: Final = "model/model.onnx"
INT8_MODEL_FILE: Final = "model/model.int8.onnx"
TRAINING_RECORD: Final = "model/training.json"
EVALUATION_REPORT: Final = "evaluation/report.json"
GATE_REPORT: Final = "evaluation/gate.json"
LATENCY_REPORT: Final = "evaluation/latency.json"
EXAMPLES: Final = "evaluation/examples"
CURVES: Final = "evaluation/curves.json"
REPORT_PAGE: Final = "evaluation/report.html"
MODEL_CARD: Final = "model_card.md"
GOLDEN: Final = "golden/golden.json"
USE_CASE: Final = "use_case.json"
CHAMPION: Final = "champion"
CANDIDATE: Final = "candidate"
INT8_TAG: Final = "model_int8_sha256"
"""The tag with the digest of a version's int8 model, beside `model_sha256`; '' or absent where there is none."""
ROLLOUT_TAG: Final = "rollout"
"""The tag that says how a version's rollout ended: `failed` or `done`. The reconciler writes it."""
ROLLOUT_REASON_TAG: Final = "rollout_reason"
DATASET_MANIFEST: Final = "dataset/manifest.json"
PACKAGES: Final = "model/packages.txt"
MAX_DESCRIPTION: Final = 5000
"""The most characters of a version's description: the width of MLflow's column, which PostgreSQL enforces."""
APPROVAL_SERVER: Final = "/kizu-approval"
"""The path at which a server that enforces the rules of an approval says so."""


class ModelRegistryError(RuntimeError):
    """MLflow did not do what it was asked to, or did not answer."""


class NoSuchModel(ModelRegistryError):
    """There is no such model, version, run or artifact."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A registered version and its tags."""

    name: str
    version: int
    run_id: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...] = ()

    @property
    def approval(self) -> str:
        """`pending`, `approved` or `rejected`; '' where the tag is missing."""
        return self.tags.get("approval", "")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A tracking run. status: MLflow's RUNNING, FINISHED, FAILED or KILLED. ended_at: None while the run goes on.

    experiment_id: of the experiment that it belongs to; part of the address of its page.
    """

    run_id: str
    status: str
    tags: Mapping[str, str]
    ended_at: datetime | None = None
    experiment_id: str = ""


class ModelRegistry:
    """A client of one MLflow server."""

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri
        self._client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)

    @classmethod
    def from_settings(cls, settings: Settings) -> ModelRegistry:
        """A client of the server that the settings name.

        Raises:
            SettingsError: they name none.
        """
        return cls(settings.required("mlflow_tracking_uri"))

    def stamps_approvals(self) -> bool:
        """Whether the server enforces the rules of an approval, so that nobody else can write its stamps.

        Raises:
            ModelRegistryError: the server does not answer.
        """
        try:
            answer = requests.get(self._uri.rstrip("/") + APPROVAL_SERVER, timeout=60, allow_redirects=False)
            return answer.status_code == 200 and answer.json() == {"approval_server": 1}
        except requests.JSONDecodeError:
            return False
        except requests.RequestException as e:
            raise ModelRegistryError(f"cannot reach {self._uri}: {e}") from e

    def experiment(self, name: str) -> str:
        """The id of an experiment; makes the experiment if there is none."""
        found = self._call("find the experiment", lambda: self._client.get_experiment_by_name(name))
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException:  # another process made it in between
            again = self._call("find the experiment", lambda: self._client.get_experiment_by_name(name))
            if again is None:
                raise
            return str(again.experiment_id)

    def start_run(self, experiment: str, name: str, tags: Mapping[str, str]) -> str:
        """Start a run, with status RUNNING, and return its id."""
        experiment_id = self.experiment(experiment)
        run = self._call("start a run", lambda: self._client.create_run(experiment_id, run_name=name, tags=dict(tags)))
        return str(run.info.run_id)

    def end_run(self, run_id: str, *, failed: bool = False) -> None:
        """End a run with the status FINISHED, or FAILED where `failed`."""
        self._call("end the run", lambda: self._client.set_terminated(run_id, "FAILED" if failed else "FINISHED"))

    def find_runs(self, experiment: str, tags: Mapping[str, str], *, finished: bool = True) -> list[RunInfo]:
        """The runs with all of these tags, newest first, at most a thousand. finished: only runs that are FINISHED."""
        found = self._call("find the experiment", lambda: self._client.get_experiment_by_name(experiment))
        if found is None:
            return []
        wanted = [f"tags.`{key}` = '{value}'" for key, value in tags.items()]
        text = " and ".join([*wanted, "status = 'FINISHED'"] if finished else wanted)
        runs = self._call(
            "search runs",
            lambda: self._client.search_runs([found.experiment_id], text, order_by=["attributes.start_time DESC"]),
        )
        return [_run(run) for run in runs]

    def run(self, run_id: str) -> RunInfo:
        """A run by its id."""
        return _run(self._call(f"read run {run_id}", lambda: self._client.get_run(run_id)))

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Log parameters of a run. The same value may be logged again."""
        for key, value in params.items():
            self._call("log a parameter", partial(self._client.log_param, run_id, key, value))

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log metrics of a run. step: the epoch, where there is one."""
        for key, value in metrics.items():
            self._call("log a metric", partial(self._client.log_metric, run_id, key, float(value), step=step))

    def set_run_tag(self, run_id: str, key: str, value: str) -> None:
        """Set a tag of a run."""
        self._call("tag the run", lambda: self._client.set_tag(run_id, key, value))

    def put_artifact(self, run_id: str, path: str, data: bytes) -> None:
        """Store bytes under `path` ("folder/file") of a run."""
        folder, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / name
            file.write_bytes(data)
            self._call(
                f"store the artifact {path}", lambda: self._client.log_artifact(run_id, str(file), folder or None)
            )

    def get_artifact(self, run_id: str, path: str) -> bytes:
        """The bytes of an artifact.

        Raises:
            NoSuchModel: the run has no such artifact.
        """
        if not self.has_artifact(run_id, path):
            raise NoSuchModel(f"run {run_id} has no artifact {path}")
        with tempfile.TemporaryDirectory() as directory:
            local = self._call(
                f"fetch the artifact {path}", lambda: self._client.download_artifacts(run_id, path, directory)
            )
            return Path(local).read_bytes()

    def find_artifact(self, run_id: str, path: str) -> bytes | None:
        """The bytes of an artifact; None where the run has none of this path."""
        try:
            return self.get_artifact(run_id, path)
        except NoSuchModel:
            return None

    def has_artifact(self, run_id: str, path: str) -> bool:
        """Whether the run has the artifact."""
        folder, _, _ = path.rpartition("/")
        listed = self._call("list artifacts", lambda: self._client.list_artifacts(run_id, folder or None))
        return any(item.path == path for item in listed)

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model, newest first; empty where the model is unknown."""
        found = self._call("list versions", lambda: self._client.search_model_versions(f"name = '{name}'"))
        return sorted((_version(item) for item in found), key=lambda v: -v.version)

    def newest_versions(self, name: str, tags: Mapping[str, str], at_most: int) -> list[ModelVersion]:
        """The newest versions with all of these tags, newest first; without their aliases.

        The server chooses, so the answer is as short for ten thousand versions as for ten.
        """
        wanted = [f"name = '{name}'", *(f"tags.`{key}` = '{value}'" for key, value in tags.items())]
        found = self._call(
            "find versions",
            lambda: self._client.search_model_versions(
                " and ".join(wanted), max_results=at_most, order_by=["version_number DESC"]
            ),
        )
        return [_version(item) for item in found]

    def newest_run(self, experiment: str, tags: Mapping[str, str]) -> RunInfo | None:
        """The run with all of these tags that finished last; None where there is none."""
        found = self._call("find the experiment", lambda: self._client.get_experiment_by_name(experiment))
        if found is None:
            return None
        text = " and ".join([*(f"tags.`{key}` = '{value}'" for key, value in tags.items()), "status = 'FINISHED'"])
        runs = self._call(
            "search runs",
            lambda: self._client.search_runs(
                [found.experiment_id], text, max_results=1, order_by=["attributes.end_time DESC"]
            ),
        )
        return next((_run(run) for run in runs), None)

    def version(self, name: str, version: int) -> ModelVersion:
        """A version, with its aliases.

        Raises:
            NoSuchModel: there is no such version.
        """
        return _version(
            self._call(f"read {name} version {version}", lambda: self._client.get_model_version(name, str(version)))
        )

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """The version that has an alias; None where no version has it."""
        try:
            return _version(self._call("read an alias", lambda: self._client.get_model_version_by_alias(name, alias)))
        except NoSuchModel:
            return None

    def create_version(self, name: str, run_id: str, tags: Mapping[str, str], description: str) -> ModelVersion:
        """Register the model of a run. A run that has a version keeps it: that version is returned as it is."""
        for known in self.versions(name):
            if known.run_id == run_id:
                return known
        try:
            self._client.create_registered_model(name)
        except MlflowException as e:
            if e.error_code != "RESOURCE_ALREADY_EXISTS":
                raise ModelRegistryError(f"cannot create the model {name}: {e.message}") from e
        created = self._call(
            "register the model",
            lambda: self._client.create_model_version(
                name, f"runs:/{run_id}/model", run_id, tags=dict(tags), description=description
            ),
        )
        return _version(created)

    def set_tag(self, version: ModelVersion, key: str, value: str) -> None:
        """Set a tag of a version."""
        self._call(
            "tag the version",
            lambda: self._client.set_model_version_tag(version.name, str(version.version), key, value),
        )

    def set_description(self, version: ModelVersion, text: str) -> None:
        """Set the description, Markdown, that MLflow's page shows of a version."""
        self._call(
            "describe the version",
            lambda: self._client.update_model_version(version.name, str(version.version), text),
        )

    def set_alias(self, version: ModelVersion, alias: str) -> None:
        """Move an alias to this version."""
        self._call(
            "move an alias",
            lambda: self._client.set_registered_model_alias(version.name, alias, str(version.version)),
        )

    def _call(self, act: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except MlflowException as e:
            if e.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE") and "alias" in str(e).lower():
                raise NoSuchModel(f"{act}: {e.message}") from e
            if e.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise NoSuchModel(f"{act}: {e.message}") from e
            raise ModelRegistryError(f"cannot {act} at {self._uri}: {e.message}") from e
        except OSError as e:
            raise ModelRegistryError(f"cannot {act} at {self._uri}: {e}") from e


def _run(item: Any) -> RunInfo:
    ended = item.info.end_time  # milliseconds
    at = datetime.fromtimestamp(ended / 1000, UTC) if ended else None
    return RunInfo(item.info.run_id, item.info.status, dict(item.data.tags), at, str(item.info.experiment_id))


def _version(item: Any) -> ModelVersion:
    return ModelVersion(
        name=item.name,
        version=int(item.version),
        run_id=item.run_id,
        tags=dict(item.tags),
        aliases=tuple(item.aliases or ()),
    )
