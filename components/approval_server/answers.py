"""What MLflow's refusals say: in its own JSON, so that its client and its page can show them."""

from __future__ import annotations

import re
from typing import Final

import flask
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, RESOURCE_DOES_NOT_EXIST

_READ_BY_ALL: Final = re.compile(
    r"/(?:ajax-)?api/[23]\.0/mlflow/(registered-models|model-versions|runs|experiments|artifacts|metrics)/.+"
)


def forbidden() -> flask.Response:
    """In place of basic-auth's `Permission denied`, as plain text for what is forbidden and what is not there alike.

    Each account here reads all models and runs: where reading one is refused, there is none.
    """
    request = flask.request
    if request.method == "GET" and _READ_BY_ALL.fullmatch(request.path):
        said = ", ".join(f"{key}={value}" for key, value in sorted(request.args.items()))
        refusal = MlflowException(f"there is nothing at {request.path} for {said}", RESOURCE_DOES_NOT_EXIST)
    else:
        name = flask.g.get("mlflow_authenticated_user")
        refusal = MlflowException(f"{name} may not {request.method} {request.path}", PERMISSION_DENIED)
    return flask.Response(
        refusal.serialize_as_json(), status=refusal.get_http_status_code(), mimetype="application/json"
    )
