"""What Kubeflow Pipelines' lineage shows of a dataset or a model: where it is, and its digest.

The artifact is an object of kfp's (`dsl.Dataset`, `dsl.Model`). Nothing reads it: steps work with the digests in their
parameters, so that who may write Kubeflow's object store cannot change what is trained or released.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def describe(artifact: Any, uri: str, **known: str | int) -> None:
    """Fill an artifact: its metadata are `uri` and what is known besides, and its file holds the URI.

    Args:
        uri: of the data itself: `s3://…`, `runs:/…` or `models:/…`.
        known: digests and names.
    """
    artifact.metadata.update({"uri": uri, **known})
    file = Path(artifact.path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{uri}\n", encoding="utf-8")
