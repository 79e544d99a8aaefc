"""Write MLflow's refusals in MLflow's own JSON form, so that its client and its page can show them."""

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
    """Return the response to a request that basic-auth refuses, in MLflow's JSON form.

    It replaces basic-auth's plain text `Permission denied`, which is the same for a forbidden and for a missing
    resource. Every account of this server may read all models and runs, so where reading one is refused, it does not
    exist.
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
