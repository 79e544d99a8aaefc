"""Which account of MLflow this process acts as."""

from __future__ import annotations

import os

from components.settings import Settings


def act_as(settings: Settings) -> None:
    """Make MLflow's clients in this process use the account in the settings; without one, nothing changes.

    MLflow's client has no argument for an account. It reads two environment variables before each request, and its
    artifact clients do the same in threads of their own. This function is the only place that sets them. The command
    and the demo call it once; everything below them takes settings as a value.
    """
    if settings.mlflow_tracking_username and settings.mlflow_tracking_password:
        os.environ["MLFLOW_TRACKING_USERNAME"] = settings.mlflow_tracking_username
        os.environ["MLFLOW_TRACKING_PASSWORD"] = settings.mlflow_tracking_password.get_secret_value()
