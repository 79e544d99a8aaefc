"""What every task of a pipeline gets: its settings from the Secret of the pipeline, and no kfp cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kfp import dsl, kubernetes

from pipelines.step_pods import SIZES, ask_of_every_step, size_of

_S3: Final = (
    "KIZU_S3_ENDPOINT",
    "KIZU_S3_PUBLIC_ENDPOINT",
    "KIZU_S3_REGION",
    "KIZU_S3_ADDRESSING",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
)
SECRET_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "labeling": (
        *_S3,
        "LABEL_STUDIO_URL",
        "LABEL_STUDIO_API_KEY",
        "LABEL_STUDIO_S3_ACCESS_KEY_ID",
        "LABEL_STUDIO_S3_SECRET_ACCESS_KEY",
        "MLFLOW_TRACKING_URI",
    ),
    "training": (*_S3, "MLFLOW_TRACKING_URI"),
    "deployment": (*_S3, "MLFLOW_TRACKING_URI", "KIZU_SIGNER_URL", "KIZU_SIGNER_TOKEN"),
}
"""The keys of the Secret `kizu-<identity>`, each an environment variable of the same name."""

IDENTITIES: Final[Mapping[str, str]] = {
    "labeling": "labeling",
    "training": "training",
    "evaluation": "training",
    "deployment": "deployment",
}
"""Pipeline -> the identity that it runs with."""

OPTIONAL_KEYS: Final = (
    "AWS_SESSION_TOKEN",
    "KIZU_S3_CA_FILE",
    "KIZU_SIGNER_CA_FILE",
    "KIZU_SIGNER_CLIENT_CERT_FILE",
    "KIZU_SIGNER_CLIENT_KEY_FILE",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "KIZU_CACHE_DIR",
    "KIZU_CACHE_MAX_BYTES",
    "KIZU_CHECKPOINT_EVERY_S",
)
"""Keys that the Secret may have as well."""

CA_CONFIG_MAP: Final = "kizu-ca"
"""The ConfigMap with the certificates of an authority of your own, key `ca.pem`. It may be missing."""

CA_FOLDER: Final = "/etc/kizu/ca"
"""Where each pod finds the files of that ConfigMap. `KIZU_S3_CA_FILE` is then `/etc/kizu/ca/ca.pem`."""


_DAY_S: Final = 24 * 3600


def pipeline_config(*, days: int) -> dsl.PipelineConfig:
    """How long a run may take, and how long its objects stay on the cluster. Kubeflow Pipelines keeps its own record.

    Args:
        days: after which a run is ended from outside.
    """
    return dsl.PipelineConfig(
        ttl_seconds_after_success=_DAY_S, ttl_seconds_after_failure=7 * _DAY_S, active_deadline_seconds=days * _DAY_S
    )


def settled(task: Any, pipeline: str) -> Any:
    """The task with its settings, certificates, size, account and pod labels, and kfp's cache off.

    Settings come from the Secret `kizu-<pipeline>`, certificates from the ConfigMap `kizu-ca`.

    kfp's cache is off because its key does not contain the code digest. A step either reads state that changes, or
    finds its own earlier work by digests, the code digest among them.
    """
    secret = f"kizu-{pipeline}"
    kubernetes.use_secret_as_env(task, secret, {key: key for key in SECRET_KEYS[pipeline]})
    kubernetes.use_secret_as_env(task, secret, {key: key for key in OPTIONAL_KEYS}, optional=True)
    # The name of a file is of no use without the file.
    kubernetes.use_config_map_as_volume(task, CA_CONFIG_MAP, CA_FOLDER, optional=True)
    # The network policies of the signer and of Label Studio select a pipeline's pods by this label.
    kubernetes.add_pod_label(task, "kizu-pipeline", pipeline)
    kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "kizu")
    ask_of_every_step(task, SIZES[size_of(task.name)])
    return task.set_caching_options(False)
