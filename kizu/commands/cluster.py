"""`kizu cluster`: Kizu on a Kubernetes cluster beside Kubeflow Pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.markup import escape

from kizu.context import CommandError, console

if TYPE_CHECKING:
    from deploy.k8s.checks import Finding
    from deploy.k8s.installation import Installation

app = typer.Typer(
    no_args_is_help=True, help="Install Kizu on a Kubernetes cluster. Each command can be run again, and has --dry-run."
)
FOLDER: Final = Path("~/kizu-cluster")

FolderOption = Annotated[
    Path, typer.Option("--folder", help="Private folder of this cluster: values.yaml, identities, keys. Keep it safe.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print what would be applied; change nothing.")]
KubectlOption = Annotated[str | None, typer.Option("--kubectl", help="The kubectl command; default: the one found.")]
ContextOption = Annotated[str | None, typer.Option("--context", help="The context of the kubeconfig.")]
OverlayOption = Annotated[str | None, typer.Option("--overlay", help="local, prod or airgap; remembered.")]


@app.command()
def check(
    folder: FolderOption = FOLDER,
    kubectl: KubectlOption = None,
    context: ContextOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Show what the cluster has and lacks, and change nothing. Ends with 1 if something is missing."""
    from deploy.k8s.checks import judge

    installation = _installation(folder, kubectl, context, dry_run=dry_run)
    _show(judge(installation.facts(), installation.values))


@app.command()
def secrets(
    signer_keys: Annotated[
        Path | None,
        typer.Option("--signer-keys", help="As made by `kizu keys init`; default: signer-keys in the folder."),
    ] = None,
    use_case: Annotated[
        list[Path] | None,
        typer.Option("--use-case", "-u", help="Whose approvers MLflow shall know; default: the shipped."),
    ] = None,
    mlflow_database: Annotated[
        Path | None,
        typer.Option("--mlflow-database", help="File with postgresql://…, for prod and airgap; remembered."),
    ] = None,
    label_studio_database: Annotated[
        Path | None,
        typer.Option("--label-studio-database", help="The same of Label Studio, for postgres-external; remembered."),
    ] = None,
    s3_keys: Annotated[
        Path | None,
        typer.Option(
            "--s3-keys",
            help="Of storage-external: YAML with the access_key and secret_key of each identity of s3-policies.",
        ),
    ] = None,
    rotate: Annotated[
        list[str] | None,
        typer.Option(
            "--rotate",
            metavar="NAME",
            help="New keys and passwords of an identity (training, signer, …), of mqtt or mlflow-forms, or of all; and "
            "restart who reads them. No run of a pipeline should be under way.",
        ),
    ] = None,
    folder: FolderOption = FOLDER,
    kubectl: KubectlOption = None,
    context: ContextOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Make the Secrets of the cluster once, and apply them. A second call applies the same ones again."""
    from components.use_case import load_use_case
    from deploy.access.identities import load, write_private
    from deploy.access.layout import Layout, Ports
    from deploy.k8s.component_secrets import of_components, take_keys
    from deploy.k8s.credentials import FILE, Addresses, make, with_database, with_label_studio_database
    from deploy.k8s.installation import namespaces_of
    from deploy.k8s.kubectl import as_yaml
    from deploy.k8s.rotation import changed, readers
    from deploy.k8s.rotation import rotate as rotate_keys
    from deploy.k8s.shaping import CA_FILE

    folder = folder.expanduser()
    installation = _installation(folder, kubectl, context, dry_run=dry_run)
    values = installation.values
    defaults = Addresses()
    external = "storage-external" in values.components
    if external:
        ca_file = CA_FILE if values.s3.ca_file else ""
        defaults = Addresses(
            s3=values.s3.endpoint, s3_public=values.s3.endpoint, s3_region=values.s3.region,
            s3_addressing=values.s3.addressing, s3_ca_file=ca_file,
        )  # fmt: skip
    with ExitStack() as stack:
        private = folder
        if dry_run:  # what is made for its name only is not kept
            private = Path(stack.enter_context(TemporaryDirectory()))
            for file in ("identities.json", "mlflow-database", "label-studio-database"):
                if (folder / file).exists():
                    copyfile(folder / file, private / file)
        layout = Layout(private.resolve(), Ports(), Path())
        if s3_keys is not None:
            load(layout)
            take_keys(layout, _yaml(s3_keys))
        products = [load_use_case(path) for path in use_case] if use_case else None

        def secrets_now() -> list[dict[str, Any]]:
            found = make(
                private,
                signer_keys or folder / "signer-keys",
                replace(defaults, s3_public=values.s3_public or defaults.s3),
                pipelines_namespace=values.pipelines_namespace,
                use_cases=products,
            )
            for name, add in (
                ("mlflow-database", with_database), ("label-studio-database", with_label_studio_database),
            ):  # fmt: skip
                if (private / name).exists():
                    add(found, (private / name).read_text(encoding="utf-8").strip())
            found += of_components(layout, values, found)
            # The identities of SeaweedFS are of no use where it is not.
            return [item for item in found if not (external and item["metadata"]["name"] == "seaweedfs-identities")]

        for name, given in (("mlflow-database", mlflow_database), ("label-studio-database", label_studio_database)):
            if given is not None:
                write_private(private / name, given.read_bytes())
        made = secrets_now()
        before = made
        if rotate:
            rotate_keys(layout, rotate, own_store=not external)
            made = secrets_now()
        write_private(private / FILE, as_yaml(made).encode())
    documents = installation.overlay()
    installation.apply_secrets(namespaces_of(documents), made)
    if rotate:
        installation.restart(readers(documents, changed(before, made)))
    if not dry_run:
        console.print(f"{len(made)} Secrets are applied; protect {folder} like the root key", highlight=False)


@app.command()
def install(
    overlay: OverlayOption = None,
    registry: Annotated[str | None, typer.Option(help="Registry and folder of the images; remembered.")] = None,
    storage_class: Annotated[str | None, typer.Option(help="Of all volumes; remembered.")] = None,
    s3_public: Annotated[str | None, typer.Option(help="URL of S3 for labelers' browsers; remembered.")] = None,
    label_studio_public: Annotated[str | None, typer.Option(help="URL of Label Studio; remembered.")] = None,
    mlflow_host: Annotated[str | None, typer.Option(help="Host name of MLflow at the ingress; remembered.")] = None,
    fleet_host: Annotated[str | None, typer.Option(help="Host name of the fleet page; remembered.")] = None,
    ingress_namespace: Annotated[str | None, typer.Option(help="Of the ingress controller; remembered.")] = None,
    empty_registry: Annotated[
        bool, typer.Option("--empty-registry", help="Begin with no versions, although the store has data from before.")
    ] = False,
    data_moved: Annotated[
        bool,
        typer.Option(
            "--data-moved", help="Take another store or database although the former one has data: they were moved."
        ),
    ] = False,
    wait: Annotated[int, typer.Option(help="Seconds to wait for each server; 0: do not wait.")] = 600,
    folder: FolderOption = FOLDER,
    kubectl: KubectlOption = None,
    context: ContextOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Apply the manifests with the addresses of this cluster, and wait until every server is up. Also upgrades."""
    from deploy.k8s.values import write

    said = {
        "overlay": overlay, "registry": registry, "storage_class": storage_class, "s3_public": s3_public,
        "label_studio_public": label_studio_public, "mlflow_host": mlflow_host, "fleet_host": fleet_host,
        "ingress_namespace": ingress_namespace,
    }  # fmt: skip
    installation = _installation(folder, kubectl, context, dry_run=dry_run, **said)
    values = installation.install(
        installation.facts(), empty_registry=empty_registry, data_moved=data_moved, wait_s=wait
    )
    if not dry_run:
        console.print(f"installed; the values are in {write(folder.expanduser(), values)}", highlight=False)


@app.command("s3-policies")
def s3_policies(output: Annotated[Path, typer.Argument(help="The folder for one file for each identity.")]) -> None:
    """Write the rights of each identity as AWS IAM policies, for the component storage-external.

    Make the identities in your store with these policies, and bring their keys with `kizu cluster secrets --s3-keys`.
    """
    import json

    from deploy.k8s.component_secrets import policies

    output.mkdir(parents=True, exist_ok=True)
    for name, document in policies().items():
        (output / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        console.print(f"{output / name}.json", highlight=False, soft_wrap=True)


@app.command()
def status(
    folder: FolderOption = FOLDER,
    kubectl: KubectlOption = None,
    context: ContextOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Show each server and volume, and change nothing. Ends with 1 if a server is not ready."""
    found = _installation(folder, kubectl, context, dry_run=dry_run).status()
    if not found:
        raise CommandError("Kizu is not installed on this cluster; run: kizu cluster install")
    _show(found)


@app.command()
def migrate(
    folder: FolderOption = FOLDER,
    kubectl: KubectlOption = None,
    context: ContextOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Move MLflow's tables from their volume to PostgreSQL, on the way from `local` to `prod`.

    Versions keep their numbers. The volume stays as it is. MLflow is stopped until you run
    `kizu cluster install --overlay prod`.
    """
    from deploy.k8s.migration import Migration

    installation = _installation(folder, kubectl, context, dry_run=dry_run)
    Migration(installation).run(installation.facts())


@app.command()
def uninstall(
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Delete volumes, Secrets and namespaces too: images, labels, models.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --delete-data: do not ask.")] = False,
    folder: FolderOption = FOLDER,
    kubectl: KubectlOption = None,
    context: ContextOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Remove the servers. Volumes and Secrets stay unless --delete-data; what stays is named."""
    installation = _installation(folder, kubectl, context, dry_run=dry_run)
    if delete_data and not (yes or dry_run):
        typer.confirm("Delete all images, labels, models and releases of this cluster for good?", abort=True)
    stays = installation.uninstall(delete_data=delete_data)
    for line in stays:
        console.print(f"stays: {line}", highlight=False, markup=False)
    if not stays and not dry_run:
        console.print("everything is deleted; Kubeflow Pipelines keeps its own records of runs", highlight=False)


def _installation(
    folder: Path, kubectl: str | None, context: str | None, *, dry_run: bool, **said: str | None
) -> Installation:
    from deploy.k8s.installation import Installation
    from deploy.k8s.kubectl import KubectlProcess
    from deploy.k8s.values import read

    kept = read(folder.expanduser())
    changed: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    values = replace(kept, **changed)

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False)

    ca = ""
    if "storage-external" in values.components and values.s3.ca_file:
        ca = Path(values.s3.ca_file).expanduser().read_text(encoding="ascii")
    return Installation(KubectlProcess.found(kubectl, context), values, say, _show_text, dry_run, ca)


def _yaml(path: Path) -> object:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise CommandError(f"cannot read {path}: {type(e).__name__}") from e  # its text holds keys


def _show_text(text: str) -> None:
    typer.echo(text)  # as it is: it may be applied by hand


def _show(findings: Sequence[Finding]) -> None:
    from deploy.k8s.checks import Level

    width = max((len(item.what) for item in findings), default=0)
    for item in findings:
        colour = {Level.OK: "green", Level.WARNING: "yellow", Level.WAITING: "yellow", Level.MISSING: "red"}[item.level]
        state = f"[{colour}]{item.level:<8}[/]"
        console.print(f"{state} {item.what:<{width}}  {escape(item.found)}", highlight=False, soft_wrap=True)
        if item.do:
            console.print(f"{'':<8} {'':<{width}}  → {escape(item.do)}", highlight=False, soft_wrap=True)
    bad = [item for item in findings if item.level in (Level.WAITING, Level.MISSING)]
    if bad:
        raise CommandError(f"not as it should be: {', '.join(item.what for item in bad)}")
