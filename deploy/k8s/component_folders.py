"""Which folders of deploy/k8s/components an overlay gets, in which order. They are named in the values file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import yaml

from deploy.access.layout import REPOSITORY
from deploy.k8s.peers import ValuesError

FOLDER: Final = REPOSITORY / "deploy" / "k8s" / "components"
NAMES: Final = (
    "storage-external", "postgres", "postgres-external", "ingress-tls", "monitoring", "mosquitto", "edge-daemonset",
    "gpu", "kueue", "backup",
)  # fmt: skip
"""What the values file may name."""
_MLFLOW, _LABEL_STUDIO = "mlflow-postgres", "labelstudio-postgres"


def require_components(names: Sequence[str]) -> None:
    """Raise a ValuesError where a name is unknown, stands twice, or contradicts another."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ValuesError(f"components: expected some of {', '.join(NAMES)}, but got {', '.join(unknown)}")
    if len(set(names)) != len(names):
        raise ValuesError(f"components: expected each once, but got {', '.join(names)}")
    if {"postgres", "postgres-external"} <= set(names):
        raise ValuesError("components: expected postgres or postgres-external, but got both")


def folders(overlay: Path, names: Sequence[str]) -> list[str]:
    """Return the folders that an overlay gets for these components, in order. Those that it has are not given again."""
    require_components(names)
    has = set(_of_overlay(overlay))
    in_postgres = has & {_MLFLOW, _LABEL_STUDIO}
    wanted: list[str] = []
    if {"postgres", "postgres-external"} & set(names):
        wanted += [name for name in (_MLFLOW, _LABEL_STUDIO) if name not in has]
        in_postgres = {_MLFLOW, _LABEL_STUDIO}
    wanted += [name for name in NAMES if name in names and name not in ("postgres-external", "storage-external")]
    if "backup" in names:
        wanted += [f"backup-{name}" for name in (_MLFLOW, _LABEL_STUDIO) if name in in_postgres]
    # It changes the rules of every pod that speaks to the store, so it comes after all that add one.
    return wanted + [name for name in names if name == "storage-external"]


def kustomization(overlay: Path, names: Sequence[str], at: Path) -> str:
    """Return the text of a kustomization in the folder `at` that adds components to an overlay."""
    place = at.resolve()
    return yaml.safe_dump(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [os.path.relpath(overlay.resolve(), place)],
            "components": [os.path.relpath(FOLDER / name, place) for name in folders(overlay, names)],
        },
        sort_keys=False,
    )


def _of_overlay(folder: Path) -> Iterator[str]:
    document = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    for path in document.get("components", ()):
        yield Path(path).name
        yield from _of_overlay(folder / path)
    for path in document.get("resources", ()):
        if (folder / path / "kustomization.yaml").is_file():
            yield from _of_overlay(folder / path)
