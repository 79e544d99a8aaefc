"""The schema of each kind: Kubernetes' own from the validator, and small ones of ours for custom resources."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

# Written by hand from what our manifests use: an API server knows more fields. An unknown field is an error here.
OURS: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("custom_resources.yaml").read_text(encoding="utf-8"))


def validate(document: dict[str, Any], version: str) -> None:
    """Raise where a document does not fit the schema of its kind, or its kind has none."""
    # Overlays share most of their documents, and a schema of Kubernetes is slow.
    _validate(json.dumps(document, sort_keys=True), version)


@cache
def _validate(text: str, version: str) -> None:
    document = json.loads(text)
    kind = f"{document['apiVersion']}/{document['kind']}"
    if kind in OURS:
        jsonschema.validate(document, OURS[kind])
    else:
        kubernetes_validate.validate(document, version, strict=True)
