"""The manifests under namespaces of their own, so that a run touches no installation that is there already."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.container_images import REGISTRY

Document = dict[str, Any]

PIPELINES = "kubeflow"
"""The namespace of the pipelines in the manifests of this repository."""
RUN_LABEL = "app.kubernetes.io/instance"
"""The label of everything that a run made. Its value is the run's prefix."""
_NAMESPACE_KEYS = ("namespace", "kubernetes.io/metadata.name", "KIZU_KFP_NAMESPACE")
_HOST = re.compile(r"(?<![\w.-])([a-z0-9-]+)\.(kizu-signer|kizu-edge|kizu|kubeflow)\.svc\b")


@dataclass(frozen=True, slots=True)
class OwnNames:
    """prefix: what replaces `kizu` in names of namespaces. pipelines: the namespace of Kubeflow Pipelines.

    registry: where the nodes pull the images from; None: the nodes have the images that `tools/images` builds.
    """

    prefix: str
    pipelines: str = PIPELINES
    registry: str | None = None

    @property
    def namespaces(self) -> Mapping[str, str]:
        """Namespace in the manifests -> namespace of this run."""
        return {
            "kizu": self.prefix,
            "kizu-signer": f"{self.prefix}-signer",
            "kizu-edge": f"{self.prefix}-edge",
            PIPELINES: self.pipelines,
        }

    @property
    def made(self) -> tuple[str, ...]:
        """The namespaces that the run makes and removes."""
        return tuple(own for name, own in self.namespaces.items() if name != PIPELINES)

    def host(self, name: str) -> str:
        """A host name of the manifests, as it is in this run."""
        return _HOST.sub(lambda found: f"{found[1]}.{self.namespaces[found[2]]}.svc", name)

    def image(self, name: str) -> str:
        """An image of the manifests, as it is in this run."""
        ours = f"{REGISTRY}/"
        return (
            f"{self.registry.rstrip('/')}/{name.removeprefix(ours)}"
            if self.registry and name.startswith(ours)
            else name
        )

    def rename(self, document: Document) -> Document:
        """A document under the names of this run, with the label of the run."""
        renamed: Document = self._rename(document)
        metadata = renamed["metadata"]
        if renamed["kind"] == "Namespace":
            metadata["name"] = self.namespaces.get(metadata["name"], metadata["name"])
        metadata["labels"] = metadata.get("labels", {}) | {RUN_LABEL: self.prefix}
        return renamed

    def _rename(self, value: Any) -> Any:
        if isinstance(value, dict):
            renamed = {
                key: self.namespaces.get(found, found)
                if key in _NAMESPACE_KEYS and isinstance(found, str)
                else self.image(found)
                if key == "image" and isinstance(found, str)
                else self._rename(found)
                for key, found in value.items()
            }
            if value.get("key") == "kubernetes.io/metadata.name" and "values" in value:
                renamed["values"] = [self.namespaces.get(name, name) for name in value["values"]]
            return renamed
        if isinstance(value, list):
            return [self._rename(item) for item in value]
        return self.host(value) if isinstance(value, str) else value


def containers_of(document: Document) -> list[Document]:
    """The containers of a workload, those that run first included; none of another document."""
    spec = document.get("spec") or {}
    pod = spec.get("jobTemplate", {}).get("spec", spec).get("template", {}).get("spec", {})
    return [*pod.get("initContainers", ()), *pod.get("containers", ())]
