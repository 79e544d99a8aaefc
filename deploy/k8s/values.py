"""The values file of a cluster: what differs from one cluster to the next, found or asked for once."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

import yaml

from components.quantities import byte_count
from components.stores.objects.whole_file import PRIVATE, write_whole
from deploy.k8s.component_folders import require_components
from deploy.k8s.facts import Facts
from deploy.k8s.options import (
    SECTIONS,
    Backup,
    Broker,
    Edge,
    Gpu,
    Ingress,
    Kueue,
    Monitoring,
    Section,
    Store,
    parse_section,
)
from deploy.k8s.peers import Peer as Peer
from deploy.k8s.peers import ValuesError as ValuesError

FILE: Final = "values.yaml"
SIZES: Final = {"data-seaweedfs-0": "50Gi", "mlflow": "5Gi", "labelstudio": "10Gi", "fleet-page": "1Gi"}
"""Claim of namespace kizu -> its size where nobody says another."""
_SIZED: Final = (*SIZES, "postgres", "mosquitto", "backup")
_PULL: Final = ("", "Always", "IfNotPresent", "Never")


@dataclass(frozen=True, slots=True)
class Values:
    """What the manifests need to know about one cluster.

    Attributes:
        overlay: the folder below deploy/k8s/overlays.
        registry: the registry and folder of the images, such as registry.example.com/kizu; empty: the nodes have them.
        pipelines_namespace: where Kubeflow Pipelines runs.
        storage_class: of all volumes; empty: the cluster's default.
        sizes: claim of namespace kizu -> its size.
        api_server: where the API server is.
        dns: labels of the DNS pods in kube-system.
        s3_public, label_studio_public: URLs that browsers use; empty: forwarded ports, as on a laptop.
        mlflow_host, fleet_host: the host names at the ingress; empty: none.
        ingress_namespace: the namespace of the ingress controller, which then may reach the servers; empty: none.
        pipelines_reach: what steps reach besides: stores of Kubeflow Pipelines that are outside its namespace.
        postgresql: where the database is; None: any address at port 5432.
        image_pull_policy: of every container; empty: what Kubernetes does by itself.
        components: folders below deploy/k8s/components that are added to the overlay.
        s3, ingress, monitoring, mosquitto, edge, gpu, kueue, backup: what the components take; see `options`.
    """

    overlay: str = "local"
    registry: str = ""
    pipelines_namespace: str = "kubeflow"
    storage_class: str = ""
    sizes: dict[str, str] = field(default_factory=lambda: dict(SIZES))
    api_server: tuple[Peer, ...] = ()
    dns: dict[str, str] = field(default_factory=dict)
    s3_public: str = ""
    label_studio_public: str = ""
    mlflow_host: str = ""
    fleet_host: str = ""
    ingress_namespace: str = ""
    pipelines_reach: tuple[Peer, ...] = ()
    postgresql: Peer | None = None
    image_pull_policy: str = ""
    components: tuple[str, ...] = ()
    s3: Store = field(default_factory=Store)
    ingress: Ingress = field(default_factory=Ingress)
    monitoring: Monitoring = field(default_factory=Monitoring)
    mosquitto: Broker = field(default_factory=Broker)
    edge: Edge = field(default_factory=Edge)
    gpu: Gpu = field(default_factory=Gpu)
    kueue: Kueue = field(default_factory=Kueue)
    backup: Backup = field(default_factory=Backup)

    def __post_init__(self) -> None:
        require_components(self.components)
        if self.image_pull_policy not in _PULL:
            raise ValuesError(f"image_pull_policy: expected one of {', '.join(_PULL[1:])}")
        unknown = set(self.sizes) - set(_SIZED)
        if unknown:
            raise ValuesError(f"expected sizes of {', '.join(_SIZED)}, but got {', '.join(sorted(unknown))}")
        for name, size in self.sizes.items():
            try:
                if byte_count(size) == 0:
                    raise ValueError(f"expected a size such as 50Gi, but got {size!r}")
            except ValueError as e:
                raise ValuesError(f"sizes: {name}: {e}") from e

    def completed(self, facts: Facts) -> Values:
        """Fill what nobody said with what was found on the cluster. What was said stays."""
        found = tuple(Peer(f"{address}/{128 if ':' in address else 32}", (port,)) for address, port in facts.api_server)
        return replace(
            self, api_server=self.api_server or found, dns=self.dns or facts.dns, sizes={**SIZES, **self.sizes}
        )


def read(folder: Path) -> Values:
    """Return the values of a folder. Without a file: the defaults.

    Raises:
        ValuesError: the file has another form, or a key that this version does not know.
    """
    path = folder / FILE
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return Values()
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise ValuesError(f"cannot read {path}: {e}") from e
    if not isinstance(document, dict):
        raise ValuesError(f"{path}: expected keys and values, but got {type(document).__name__}")
    try:
        return parse(document)
    except ValuesError as e:
        raise ValuesError(f"{path}: {e}") from e


def parse(document: dict[str, Any]) -> Values:
    """Make values of a document.

    Raises:
        ValuesError: a key is unknown, or a value has another form.
    """
    known = {item.name for item in fields(Values)}
    version = document.get("schema_version", 1)
    if version != 1:
        raise ValuesError(f"expected schema_version 1, but got {version!r}; a newer version of Kizu wrote it")
    unknown = set(document) - known - {"schema_version"}
    if unknown:
        raise ValuesError(f"unknown keys {', '.join(sorted(unknown))}; expected some of {', '.join(sorted(known))}")
    given = {key: value for key, value in document.items() if key != "schema_version"}
    for key, value in given.items():
        if key in ("api_server", "pipelines_reach"):
            given[key] = tuple(_peer(key, item) for item in _of(key, value, list))
        elif key == "postgresql":
            given[key] = None if value is None else _peer(key, value)
        elif key in SECTIONS:
            given[key] = parse_section(key, value)
        elif key == "components":
            given[key] = tuple(_of(key, name, str) for name in _of(key, value, list))
        elif key in ("sizes", "dns"):
            given[key] = {str(name): str(text) for name, text in _of(key, value, dict).items()}
        else:
            _of(key, value, str)
    return Values(**given)


def _of(key: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValuesError(f"{key}: expected {kind.__name__}, but got {value!r}")
    return value


def _peer(key: str, item: Any) -> Peer:
    _of(key, item, dict)
    if set(item) != {"cidr", "ports"} or not isinstance(item["ports"], list):
        raise ValuesError(f"{key}: expected cidr and a list of ports, but got {item!r}")
    return Peer(str(item["cidr"]), tuple(int(port) for port in item["ports"]))


def write(folder: Path, values: Values) -> Path:
    """Write the values file, whole or not at all. Returns its path."""
    document: dict[str, Any] = {"schema_version": 1}
    for item in fields(values):
        value = getattr(values, item.name)
        document[item.name] = value.model_dump(mode="json") if isinstance(value, Section) else _plain(value)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / FILE
    write_whole(path, yaml.safe_dump(document, sort_keys=False).encode(), PRIVATE)
    return path


def _plain(value: Any) -> Any:
    if isinstance(value, Peer):
        return {"cidr": value.cidr, "ports": list(value.ports)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
