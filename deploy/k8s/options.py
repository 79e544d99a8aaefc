"""What the components of deploy/k8s/components take from the values file: one section for each."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from deploy.k8s.peers import Peer, ValuesError, require_range

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$")]
"""A name that Kubernetes takes for an object and for the value of a label."""
Url = Annotated[str, StringConstraints(pattern=r"^(https?://[^\s/@]+)?$")]
Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+([.][0-9]+)?(m|[kMGT]|[KMGT]i)?$")]


class Section(BaseModel):
    """One section. An unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Store(Section):
    """`s3`: the store of `storage-external`.

    reach: where it is, for the network policies; empty: the port of the endpoint at every address. ca_file: the PEM
    file of its authority, where that is yours; it becomes the ConfigMap kizu-ca. make_buckets: false: somebody else
    makes the buckets and their rules.
    """

    endpoint: Url = ""
    region: Annotated[str, Field(min_length=1)] = "us-east-1"
    addressing: Literal["path", "virtual", "auto"] = "path"
    ca_file: str = ""
    reach: tuple[Peer, ...] = ()
    make_buckets: bool = True


class Ingress(Section):
    """`ingress`: how `ingress-tls` gets certificates. cluster_issuer, issuer: of cert-manager. secrets: server -> the
    Secret of kind TLS in the namespace kizu that you made; it goes before the issuer."""

    class_name: str = ""
    cluster_issuer: str = ""
    issuer: str = ""
    secrets: dict[Literal["mlflow", "labelstudio", "fleet-page", "seaweedfs"], Name] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Monitoring(Section):
    """`monitoring`: where Prometheus runs, and the labels by which its operator chooses what is its own."""

    namespace: Name = "monitoring"
    pods: dict[str, str] = Field(default_factory=lambda: {"app.kubernetes.io/name": "prometheus"})
    labels: dict[str, str] = Field(default_factory=dict)


class Broker(Section):
    """`mosquitto`. accounts: devices outside the cluster that get a password. allowed: IP ranges of lines outside.

    host: the name in the certificate that cert-manager makes, if `ingress` names an issuer; else you make the Secret.
    """

    service: Literal["ClusterIP", "LoadBalancer", "NodePort"] = "ClusterIP"
    allowed: tuple[str, ...] = ()
    accounts: tuple[Name, ...] = ()
    tls_secret: Name = "mosquitto-tls"  # noqa: S105 - the name of a Secret
    host: str = ""

    @field_validator("allowed")
    @classmethod
    def _are_ranges(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for cidr in value:
            require_range(cidr)
        return value


class Device(Section):
    """One device of `edge-daemonset`. configuration: more keys of the device's configuration, such as cameras."""

    name: Name
    site: Name = "factory"
    group: Name = "line"
    use_case: Annotated[str, Field(min_length=1)] = "metal-tag"
    configuration: dict[str, Any] = Field(default_factory=dict)


class Edge(Section):
    """`edge`: the devices of `edge-daemonset`, each on the node with the label kizu-device=<name>."""

    devices: tuple[Device, ...] = ()

    @field_validator("devices")
    @classmethod
    def _have_names_of_their_own(cls, value: tuple[Device, ...]) -> tuple[Device, ...]:
        names = [device.name for device in value]
        if len(set(names)) != len(names):
            raise ValueError(f"expected names of their own, but got {', '.join(names)}")
        return value


class Gpu(Section):
    """`gpu`: how many GPUs runs may ask for at the same time. resource: as the device plugin calls them."""

    resource: Annotated[str, Field(min_length=3)] = "nvidia.com/gpu"
    limit: Annotated[int, Field(ge=0, le=10_000)] = 1


class Kueue(Section):
    """`kueue`: the queue and what it holds. Without gpus, a step that asks for one is not admitted."""

    queue: Name = "kizu"
    cpu: Quantity = "8"
    memory: Quantity = "32Gi"
    gpus: Annotated[int, Field(ge=0, le=10_000)] = 0


class Backup(Section):
    """`backup`: when, how many stay, and where to: a volume (empty), or s3://bucket/folder of another store.

    endpoint, region, addressing, reach: of that store. Its key is in the Secret kizu-backup-target.
    """

    schedule: Annotated[str, StringConstraints(pattern=r"^\S+( \S+){4}$")] = "30 2 * * *"
    keep: Annotated[int, Field(ge=1, le=10_000)] = 14
    target: Annotated[str, StringConstraints(pattern=r"^(s3://[^/\s]+/?\S*)?$")] = ""
    endpoint: Url = ""
    region: Annotated[str, Field(min_length=1)] = "us-east-1"
    addressing: Literal["path", "virtual", "auto"] = "path"
    reach: tuple[Peer, ...] = ()


SECTIONS: Final[dict[str, type[Section]]] = {
    "s3": Store,
    "ingress": Ingress,
    "monitoring": Monitoring,
    "mosquitto": Broker,
    "edge": Edge,
    "gpu": Gpu,
    "kueue": Kueue,
    "backup": Backup,
}
"""Key of the values file -> its form."""


def parse_section(key: str, value: Any) -> Section:
    """Make a section of what the values file says.

    Raises:
        ValuesError: a key is unknown, or a value has another form.
    """
    try:
        return SECTIONS[key].model_validate(value)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join([key, *(str(part) for part in first["loc"])])
        raise ValuesError(f"{where}: {first['msg']}, but got {first.get('input')!r}") from e
