"""The settings of a process. This module alone reads the environment in `components`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError


class SettingsError(RuntimeError):
    """A setting is missing or has the wrong form; the message names it."""


def _env(name: str) -> Any:
    return AliasChoices(name)


class Settings(BaseModel):
    """Where the servers are, and which identity and accounts this process has. Secrets are `SecretStr` until used."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True, frozen=True)

    s3_endpoint: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_S3_ENDPOINT"),
        description="The S3 store: `http(s)://host:port`. Without it, AWS.",
    )
    s3_public_endpoint: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_S3_PUBLIC_ENDPOINT"),
        description="The same store as a browser or a device reaches it, where that is another address.",
    )
    s3_region: str = Field(
        default="us-east-1",
        validation_alias=_env("KIZU_S3_REGION"),
        description="The region of the store; part of each signature.",
    )
    s3_addressing: Literal["path", "virtual", "auto"] = Field(
        default="path",
        validation_alias=_env("KIZU_S3_ADDRESSING"),
        description="Where the bucket stands in an address: in the path, or in the host name.",
    )
    s3_ca_file: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_S3_CA_FILE"),
        description="PEM file with the authority of the store's certificate, where it is your own.",
    )
    access_key_id: str | None = Field(
        default=None,
        validation_alias=_env("AWS_ACCESS_KEY_ID"),
        description="The S3 identity of this process.",
    )
    secret_access_key: SecretStr | None = Field(
        default=None,
        validation_alias=_env("AWS_SECRET_ACCESS_KEY"),
        description="The secret of `AWS_ACCESS_KEY_ID`.",
    )
    session_token: SecretStr | None = Field(
        default=None,
        validation_alias=_env("AWS_SESSION_TOKEN"),
        description="The session token of `AWS_ACCESS_KEY_ID`, where the key is temporary.",
    )
    source_s3_endpoint: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_SOURCE_S3_ENDPOINT"),
        description="Another store for `kizu import` to read. Without it: AWS if a source key is set, else your own.",
    )
    source_s3_region: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_SOURCE_S3_REGION"),
        description="The region of that store.",
    )
    source_access_key_id: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_SOURCE_ACCESS_KEY_ID"),
        description="The key that `kizu import` reads that store with.",
    )
    source_secret_access_key: SecretStr | None = Field(
        default=None,
        validation_alias=_env("KIZU_SOURCE_SECRET_ACCESS_KEY"),
        description="The secret of `KIZU_SOURCE_ACCESS_KEY_ID`.",
    )
    source_session_token: SecretStr | None = Field(
        default=None,
        validation_alias=_env("KIZU_SOURCE_SESSION_TOKEN"),
        description="The session token of that key, where the key is temporary.",
    )
    device_access_key_id: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_DEVICE_ACCESS_KEY_ID"),
        description="The key of a device that is being enrolled, where somebody else made it.",
    )
    device_secret_access_key: SecretStr | None = Field(
        default=None,
        validation_alias=_env("KIZU_DEVICE_SECRET_ACCESS_KEY"),
        description="The secret of `KIZU_DEVICE_ACCESS_KEY_ID`.",
    )
    backup_target: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_BACKUP_TARGET"),
        description="Where `kizu backup` keeps backups: a folder, or `s3://bucket/folder` of another store.",
    )
    backup_keep: int | None = Field(
        default=None,
        ge=1,
        validation_alias=_env("KIZU_BACKUP_KEEP"),
        description="How many backups stay after a new one. Without it: all.",
    )
    backup_s3_endpoint: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_BACKUP_S3_ENDPOINT"),
        description="The store of `s3://…` in `KIZU_BACKUP_TARGET`. Without it, AWS.",
    )
    backup_s3_region: str = Field(
        default="us-east-1",
        validation_alias=_env("KIZU_BACKUP_S3_REGION"),
        description="The region of that store.",
    )
    backup_s3_addressing: Literal["path", "virtual", "auto"] = Field(
        default="path",
        validation_alias=_env("KIZU_BACKUP_S3_ADDRESSING"),
        description="Where the bucket stands in an address of that store.",
    )
    backup_s3_ca_file: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_BACKUP_S3_CA_FILE"),
        description="PEM file with the authority of its certificate, where it is your own.",
    )
    backup_access_key_id: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_BACKUP_ACCESS_KEY_ID"),
        description="The key that writes and reads backups there.",
    )
    backup_secret_access_key: SecretStr | None = Field(
        default=None,
        validation_alias=_env("KIZU_BACKUP_SECRET_ACCESS_KEY"),
        description="The secret of `KIZU_BACKUP_ACCESS_KEY_ID`.",
    )
    kfp_token: SecretStr | None = Field(
        default=None,
        validation_alias=_env("KIZU_KFP_TOKEN"),
        description="A bearer token for Kubeflow Pipelines behind a login, for `kizu submit`.",
    )
    kfp_cookie: SecretStr | None = Field(
        default=None,
        validation_alias=_env("KIZU_KFP_COOKIE"),
        description="A session's cookie for Kubeflow Pipelines behind a login, as a browser sends it: `name=value`.",
    )
    kfp_token_file: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_KFP_TOKEN_FILE"),
        description="A file with such a token, which is read again for each request: that of a ServiceAccount.",
    )
    kfp_ca_file: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_KFP_CA_FILE"),
        description="PEM file with the authority of the certificate of Kubeflow Pipelines, where it is your own.",
    )
    kfp_page: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_KFP_PAGE"),
        description="The page of Kubeflow Pipelines as a browser calls it, for links. Without it, `KIZU_KFP_ENDPOINT`.",
    )
    use_cases: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_USE_CASES"),
        description="For the reconciler: the folder with the use case files that it serves.",
    )
    kfp_endpoint: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_KFP_ENDPOINT"),
        description="The API of Kubeflow Pipelines. With it, the reconciler starts its runs there.",
    )
    kfp_namespace: str = Field(
        default="kubeflow",
        validation_alias=_env("KIZU_KFP_NAMESPACE"),
        description="The namespace of the pipelines: that of Kubeflow Pipelines, or a profile.",
    )
    image_registry: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_IMAGE_REGISTRY"),
        description="The registry that the cluster pulls the images of runs from.",
    )
    steps_small: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_STEPS_SMALL"),
        description="Requests and limits of small steps on a cluster. Without it: `cpu=100m/1 memory=256Mi/2Gi`.",
    )
    steps_large: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_STEPS_LARGE"),
        description="Those of steps that read many images. Without it: `cpu=500m/4 memory=1Gi/8Gi`.",
    )
    steps_training: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_STEPS_TRAINING"),
        description="Those of steps that train, for use cases whose `resources` have no cpu or memory. Without it: "
        "`cpu=500m/8 memory=2Gi/16Gi`.",
    )
    kueue_queue: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_KUEUE_QUEUE"),
        description="Kueue's LocalQueue in the namespace of the pipelines. With it, each step's pod waits in it.",
    )
    mlflow_public_url: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_MLFLOW_PUBLIC_URL"),
        description="MLflow as a browser calls it, for the links in notices, where that is another name.",
    )
    mlflow_webhook_secret: SecretStr | None = Field(
        default=None,
        validation_alias=_env("KIZU_MLFLOW_WEBHOOK_SECRET"),
        description="The secret with which MLflow signs its webhooks to the reconciler: at least 16 characters.",
    )
    notify_webhook: SecretStr | None = Field(
        default=None,
        validation_alias=_env("KIZU_NOTIFY_WEBHOOK"),
        description="Where the reconciler posts its notices as JSON.",
    )
    notify_secret: SecretStr | None = Field(
        default=None,
        validation_alias=_env("KIZU_NOTIFY_SECRET"),
        description="The secret with which it signs them, in the header `X-Kizu-Signature`.",
    )
    notify_to: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_NOTIFY_TO"),
        description="Who gets notices by e-mail: addresses, with commas between them.",
    )
    smtp_host: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_SMTP_HOST"),
        description="The mail server for notices.",
    )
    smtp_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        validation_alias=_env("KIZU_SMTP_PORT"),
        description="Its port. Without it: 587 with `starttls`, 465 with `tls`, 25 with `none`.",
    )
    smtp_tls: Literal["starttls", "tls", "none"] = Field(
        default="starttls",
        validation_alias=_env("KIZU_SMTP_TLS"),
        description="How the connection to it is encrypted. An account needs `starttls` or `tls`.",
    )
    smtp_username: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_SMTP_USERNAME"),
        description="The account at the mail server, where it asks for one.",
    )
    smtp_password: SecretStr | None = Field(
        default=None,
        validation_alias=_env("KIZU_SMTP_PASSWORD"),
        description="The password of that account.",
    )
    smtp_from: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_SMTP_FROM"),
        description="The sender of notices. Without it, the first of `KIZU_NOTIFY_TO`.",
    )
    bucket_prefix: str = Field(
        default="kizu-",
        validation_alias=_env("KIZU_BUCKET_PREFIX"),
        description="Bucket names begin with it: `kizu-raw`, `kizu-labels` and so on.",
    )
    mlflow_tracking_uri: str | None = Field(
        default=None,
        validation_alias=_env("MLFLOW_TRACKING_URI"),
        description="MLflow's server.",
    )
    mlflow_tracking_username: str | None = Field(
        default=None,
        validation_alias=_env("MLFLOW_TRACKING_USERNAME"),
        description="The account of MLflow that this process acts as.",
    )
    mlflow_tracking_password: SecretStr | None = Field(
        default=None,
        validation_alias=_env("MLFLOW_TRACKING_PASSWORD"),
        description="The password of that account.",
    )
    mlflow_accounts: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_MLFLOW_ACCOUNTS"),
        description="For MLflow's server: the administrator's file with its accounts.",
    )
    mlflow_approvers: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_MLFLOW_APPROVERS"),
        description="For MLflow's server: the administrator's file that says who may approve which model.",
    )
    mlflow_backend_store_uri: SecretStr | None = Field(
        default=None,
        validation_alias=_env("MLFLOW_BACKEND_STORE_URI"),
        description="For moving MLflow's tables: the address of the new database.",
    )
    label_studio_url: str | None = Field(
        default=None,
        validation_alias=_env("LABEL_STUDIO_URL"),
        description="Label Studio, as this process calls it.",
    )
    label_studio_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=_env("LABEL_STUDIO_API_KEY"),
        description="The token of the Label Studio account that makes projects and tasks.",
    )
    label_studio_s3_access_key_id: str | None = Field(
        default=None,
        validation_alias=_env("LABEL_STUDIO_S3_ACCESS_KEY_ID"),
        description="The S3 identity with which Label Studio signs the URLs of images; it can only read them.",
    )
    label_studio_s3_secret_access_key: SecretStr | None = Field(
        default=None,
        validation_alias=_env("LABEL_STUDIO_S3_SECRET_ACCESS_KEY"),
        description="The secret of `LABEL_STUDIO_S3_ACCESS_KEY_ID`.",
    )
    label_studio_public_url: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_LABEL_STUDIO_PUBLIC_URL"),
        description="Label Studio as a browser calls it, where that is another name. `kizu doctor` checks it.",
    )
    webhook_listen: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_WEBHOOK_LISTEN"),
        description="Where a waiting labeling run listens for Label Studio's webhooks, on loopback: `127.0.0.1:8099`.",
    )
    webhook_url: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_WEBHOOK_URL"),
        description="What Label Studio calls to reach that address.",
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        validation_alias=_env("KIZU_WEBHOOK_SECRET"),
        description="The secret that a webhook has to carry: at least 16 characters.",
    )
    signer_url: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_SIGNER_URL"),
        description="The signer, as the `deployment` pipeline and the reconciler call it.",
    )
    signer_token: SecretStr | None = Field(
        default=None,
        validation_alias=_env("KIZU_SIGNER_TOKEN"),
        description="The token that says to the signer who calls.",
    )
    signer_ca_file: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_SIGNER_CA_FILE"),
        description="PEM file with the authority of the signer's certificate, where it has one.",
    )
    signer_client_cert_file: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_SIGNER_CLIENT_CERT_FILE"),
        description="PEM file with the caller's certificate, where the signer asks for one.",
    )
    signer_client_key_file: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_SIGNER_CLIENT_KEY_FILE"),
        description="PEM file with the key of that certificate.",
    )
    signer_callers: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_SIGNER_CALLERS"),
        description="For the signer: the administrator's file that says who may call it.",
    )
    signer_cert_file: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_SIGNER_CERT_FILE"),
        description="For the signer: PEM file with its certificate. With it, the signer speaks HTTPS only.",
    )
    signer_key_file: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_SIGNER_KEY_FILE"),
        description="For the signer: PEM file with the key of that certificate.",
    )
    signer_client_ca_file: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_SIGNER_CLIENT_CA_FILE"),
        description="For the signer: PEM file with the authority of callers. With it, a caller needs a certificate.",
    )
    signer_keys: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_SIGNER_KEYS"),
        description="For the signer: the folder with its four keys and `root.json`.",
    )
    signer_host: str = Field(
        default="127.0.0.1",
        validation_alias=_env("KIZU_SIGNER_HOST"),
        description="For the signer: the address that it listens on.",
    )
    signer_port: int = Field(
        default=8085,
        validation_alias=_env("KIZU_PORT_SIGNER"),
        description="For the signer: the port that it listens on.",
    )
    fleet_page_host: str = Field(
        default="127.0.0.1",
        validation_alias=_env("KIZU_FLEET_PAGE_HOST"),
        description="For the fleet page: the address that it listens on.",
    )
    fleet_page_port: int = Field(
        default=8088,
        validation_alias=_env("KIZU_PORT_FLEET_PAGE"),
        description="For the fleet page: the port that it listens on.",
    )
    fleet_page_hosts: str = Field(
        default="",
        validation_alias=_env("KIZU_FLEET_PAGE_HOSTS"),
        description="For the fleet page: names under which browsers call it, with commas between them.",
    )
    fleet_page_proxies: str = Field(
        default="",
        validation_alias=_env("KIZU_FLEET_PAGE_PROXIES"),
        description="For the fleet page: addresses or networks of the proxies whose `X-Forwarded-*` headers count.",
    )
    fleet_page_data: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_FLEET_PAGE_DATA"),
        description="For the fleet page: the folder of its history, at most about 100 MB.",
    )
    local_run: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_LOCAL_RUN"),
        description="The id of the run's record in the state bucket. The runner on one machine sets it for its steps.",
    )
    cache_dir: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_CACHE_DIR"),
        description="The folder where all steps on this machine keep images of datasets, and results of comparing "
        "images. Without it, none are kept.",
    )
    cache_max_bytes: int = Field(
        default=20_000_000_000,
        ge=0,
        validation_alias=_env("KIZU_CACHE_MAX_BYTES"),
        description="How many bytes that folder may hold.",
    )
    training_image_digest: str | None = Field(
        default=None,
        validation_alias=_env("KIZU_TRAINING_IMAGE_DIGEST"),
        description="The digest of the training image. It becomes the code digest of a model trained in that image.",
    )
    training_device: str = Field(
        default="auto",
        validation_alias=_env("KIZU_TRAINING_DEVICE"),
        description="What a training runs on: `cpu`, `auto` (a GPU if there is one), or GPUs by number (`0`; `0,1`).",
    )
    training_threads: int | None = Field(
        default=None,
        ge=1,
        validation_alias=_env("KIZU_TRAINING_THREADS"),
        description="Threads of a training on processors. Without it, one for each processor that the process may use.",
    )
    training_workers: int = Field(
        default=0,
        ge=0,
        validation_alias=_env("KIZU_TRAINING_WORKERS"),
        description="Processes that load images, for each GPU. On processors none is used.",
    )
    checkpoint_every_s: float = Field(
        default=60.0,
        ge=0.0,
        validation_alias=_env("KIZU_CHECKPOINT_EVERY_S"),
        description="The least number of seconds between two checkpoints. Large or slow ones are kept less often.",
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """The settings in a mapping of environment variables. The process's own environment is not read.

        Raises:
            SettingsError: a value has the wrong form.
        """
        try:
            return cls.model_validate(dict(environment), by_alias=True, by_name=False)
        except ValidationError as e:
            lines = "; ".join(f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}" for error in e.errors())
            raise SettingsError(f"the environment has a setting of the wrong form: {lines}") from None

    def bucket(self, name: str) -> str:
        """The bucket of a role: `raw`, `labels`, `datasets`, `weights`, `mlflow`, `releases`, `fleet`, `state`."""
        return f"{self.bucket_prefix}{name}"

    def required(self, field: str) -> str:
        """The value, as text, of a setting that the caller needs.

        Raises:
            SettingsError: the setting is empty; the message names the environment variable.
        """
        value = getattr(self, field)
        if not value:
            alias = type(self).model_fields[field].validation_alias
            name = alias.choices[0] if isinstance(alias, AliasChoices) else field
            raise SettingsError(f"expected the environment variable {name} to be set, but it is empty")
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def settings() -> Settings:
    """Read the settings from the environment, as it is now.

    Raises:
        SettingsError: a value has the wrong form.
    """
    return Settings.from_environment(os.environ)
