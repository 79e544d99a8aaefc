"""The only place of this room that reads the environment."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsError(RuntimeError):
    """A setting that is missing or wrong; the message names it."""


def _env(name: str) -> Any:
    return AliasChoices(name)


class Settings(BaseSettings):
    """Where the servers are and who this process is. Secrets stay inside `SecretStr` until they are used."""

    model_config = SettingsConfigDict(case_sensitive=True, extra="ignore", populate_by_name=True, frozen=True)

    s3_endpoint: str | None = Field(default=None, validation_alias=_env("KIZU_S3_ENDPOINT"))
    s3_public_endpoint: str | None = Field(default=None, validation_alias=_env("KIZU_S3_PUBLIC_ENDPOINT"))
    s3_region: str = Field(default="us-east-1", validation_alias=_env("KIZU_S3_REGION"))
    s3_addressing: Literal["path", "virtual", "auto"] = Field(
        default="path", validation_alias=_env("KIZU_S3_ADDRESSING")
    )
    s3_ca_file: str | None = Field(default=None, validation_alias=_env("KIZU_S3_CA_FILE"))
    access_key_id: str | None = Field(default=None, validation_alias=_env("AWS_ACCESS_KEY_ID"))
    secret_access_key: SecretStr | None = Field(default=None, validation_alias=_env("AWS_SECRET_ACCESS_KEY"))
    # Another store, which `kizu import` reads from; without an endpoint it is AWS.
    source_s3_endpoint: str | None = Field(default=None, validation_alias=_env("KIZU_SOURCE_S3_ENDPOINT"))
    source_s3_region: str | None = Field(default=None, validation_alias=_env("KIZU_SOURCE_S3_REGION"))
    source_access_key_id: str | None = Field(default=None, validation_alias=_env("KIZU_SOURCE_ACCESS_KEY_ID"))
    source_secret_access_key: SecretStr | None = Field(
        default=None, validation_alias=_env("KIZU_SOURCE_SECRET_ACCESS_KEY")
    )
    source_session_token: SecretStr | None = Field(default=None, validation_alias=_env("KIZU_SOURCE_SESSION_TOKEN"))
    # The key of a device that is being enrolled, where somebody else made it.
    device_access_key_id: str | None = Field(default=None, validation_alias=_env("KIZU_DEVICE_ACCESS_KEY_ID"))
    device_secret_access_key: SecretStr | None = Field(
        default=None, validation_alias=_env("KIZU_DEVICE_SECRET_ACCESS_KEY")
    )
    bucket_prefix: str = Field(default="kizu-", validation_alias=_env("KIZU_BUCKET_PREFIX"))
    mlflow_tracking_uri: str | None = Field(default=None, validation_alias=_env("MLFLOW_TRACKING_URI"))
    # Files of the administrator of MLflow's server: its accounts, and who may approve which model.
    mlflow_accounts: str | None = Field(default=None, validation_alias=_env("KIZU_MLFLOW_ACCOUNTS"))
    mlflow_approvers: str | None = Field(default=None, validation_alias=_env("KIZU_MLFLOW_APPROVERS"))
    label_studio_url: str | None = Field(default=None, validation_alias=_env("LABEL_STUDIO_URL"))
    label_studio_api_key: SecretStr | None = Field(default=None, validation_alias=_env("LABEL_STUDIO_API_KEY"))
    label_studio_s3_access_key_id: str | None = Field(
        default=None, validation_alias=_env("LABEL_STUDIO_S3_ACCESS_KEY_ID")
    )
    label_studio_s3_secret_access_key: SecretStr | None = Field(
        default=None, validation_alias=_env("LABEL_STUDIO_S3_SECRET_ACCESS_KEY")
    )
    # Label Studio as a browser calls it, where that is another name than the server's own.
    label_studio_public_url: str | None = Field(default=None, validation_alias=_env("KIZU_LABEL_STUDIO_PUBLIC_URL"))
    # Hints that wake a waiting run: where this process listens (loopback), what Label Studio calls, and their secret.
    webhook_listen: str | None = Field(default=None, validation_alias=_env("KIZU_WEBHOOK_LISTEN"))
    webhook_url: str | None = Field(default=None, validation_alias=_env("KIZU_WEBHOOK_URL"))
    webhook_secret: SecretStr | None = Field(default=None, validation_alias=_env("KIZU_WEBHOOK_SECRET"))
    signer_url: str | None = Field(default=None, validation_alias=_env("KIZU_SIGNER_URL"))
    signer_keys: str | None = Field(default=None, validation_alias=_env("KIZU_SIGNER_KEYS"))
    signer_host: str = Field(default="127.0.0.1", validation_alias=_env("KIZU_SIGNER_HOST"))
    signer_port: int = Field(default=8085, validation_alias=_env("KIZU_PORT_SIGNER"))
    # Set by the runner on one machine, for the steps that it starts: the id of the run's record in the state bucket.
    local_run: str | None = Field(default=None, validation_alias=_env("KIZU_LOCAL_RUN"))
    # Where images of datasets are kept on this machine, for all steps that run on it; none is kept where it is not set.
    cache_dir: str | None = Field(default=None, validation_alias=_env("KIZU_CACHE_DIR"))
    cache_max_bytes: int = Field(default=20_000_000_000, ge=0, validation_alias=_env("KIZU_CACHE_MAX_BYTES"))
    training_image_digest: str | None = Field(default=None, validation_alias=_env("KIZU_TRAINING_IMAGE_DIGEST"))
    # On what a training runs: cpu, auto (a GPU where there is one), or GPUs by number (0 or 0,1); threads and loaders.
    training_device: str = Field(default="auto", validation_alias=_env("KIZU_TRAINING_DEVICE"))
    training_threads: int | None = Field(default=None, ge=1, validation_alias=_env("KIZU_TRAINING_THREADS"))
    training_workers: int = Field(default=0, ge=0, validation_alias=_env("KIZU_TRAINING_WORKERS"))
    # Seconds between two checkpoints of a training at the least; large or slow ones are kept less often.
    checkpoint_every_s: float = Field(default=60.0, ge=0.0, validation_alias=_env("KIZU_CHECKPOINT_EVERY_S"))

    def bucket(self, name: str) -> str:
        """The bucket of a role: `raw`, `labels`, `datasets`, `weights`, `mlflow`, `releases`, `fleet`, `state`."""
        return f"{self.bucket_prefix}{name}"

    def required(self, field: str) -> str:
        """The text of a setting that this step cannot work without.

        Raises:
            SettingsError: it is not set; the message names the environment variable.
        """
        value = getattr(self, field)
        if not value:
            alias = type(self).model_fields[field].validation_alias
            name = alias.choices[0] if isinstance(alias, AliasChoices) else field
            raise SettingsError(f"expected the environment variable {name} to be set, but it is empty")
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def settings() -> Settings:
    """Read the environment now.

    Raises:
        SettingsError: a value has the wrong form.
    """
    try:
        return Settings()
    except ValidationError as e:
        lines = "; ".join(f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}" for error in e.errors())
        raise SettingsError(f"the environment has a setting of the wrong form: {lines}") from None
