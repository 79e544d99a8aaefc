"""Installs, shows and removes Kizu on a cluster, through kubectl. Every act can be done again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.access.layout import REPOSITORY
from deploy.k8s.applied import INVENTORY, inventory, inventory_document, obsolete, of_inventory
from deploy.k8s.checks import (
    Finding,
    Level,
    judge,
    missing_secrets,
    places_of,
    refuse_empty_registry,
    refuse_other_places,
    tables_of,
    too_small,
)
from deploy.k8s.component_folders import kustomization
from deploy.k8s.facts import SERVICES, Facts, gather
from deploy.k8s.kubectl import Document, Kubectl, KubectlError, as_yaml, did, items, rendered
from deploy.k8s.tailoring import tailor
from deploy.k8s.values import Values

OVERLAYS: Final = REPOSITORY / "deploy" / "k8s" / "overlays"
NAMESPACES: Final = (SERVICES, "kizu-signer", "kizu-edge")
_OF_PIPELINES: Final = ("kizu-labeling", "kizu-training", "kizu-deployment")
_WAITED_FOR: Final = ("Deployment", "StatefulSet")


class InstallationError(RuntimeError):
    """An act was refused; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Installation:
    """One cluster, and how to tell a person what is done.

    dry_run: print what would be applied and deleted, and change nothing. ca: the PEM text of the store's own authority.
    """

    kubectl: Kubectl
    values: Values
    say: Callable[[str], None]
    show: Callable[[str], None]
    dry_run: bool = False
    ca: str = ""

    def facts(self) -> Facts:
        """Look at the cluster."""
        return gather(self.kubectl, self.values.pipelines_namespace)

    def overlay(self, name: str | None = None) -> list[Document]:
        """Return the documents of an overlay as the repository has them, with the components of the values.

        name: another overlay than that of the values, without components.

        Raises:
            InstallationError: there is no such overlay.
        """
        folder = OVERLAYS / (name or self.values.overlay)
        if not (folder / "kustomization.yaml").is_file():
            names = ", ".join(sorted(path.parent.name for path in OVERLAYS.glob("*/kustomization.yaml")))
            raise InstallationError(f"expected one of the overlays {names}, but got {self.values.overlay!r}")
        if name is not None or not self.values.components:
            return rendered(self.kubectl, folder)
        with tempfile.TemporaryDirectory() as place:
            text = kustomization(folder, self.values.components, Path(place))
            (Path(place) / "kustomization.yaml").write_text(text, encoding="utf-8")
            return rendered(self.kubectl, Path(place))

    def install(
        self, facts: Facts, *, empty_registry: bool = False, data_moved: bool = False, wait_s: int = 600
    ) -> Values:
        """Apply the overlay as this cluster needs it, and wait until everything is up. Returns the completed values.

        Raises:
            InstallationError: the cluster lacks something, or data would be lost.
            KubectlError: kubectl refused an act, or something did not come up in time.
        """
        values = self.values.completed(facts)
        lacking = [item for item in judge(facts, values) if item.level is Level.MISSING]
        if lacking and not self.dry_run:
            raise InstallationError("; ".join(f"{item.what}: {item.found}: {item.do}" for item in lacking))
        for item in lacking:
            self.show(f"# missing: {item.what}: {item.found}: {item.do}")
        source = self.overlay()
        tables = tables_of(source)
        refusal = None if empty_registry else refuse_empty_registry(facts, tables)
        if not refusal and not data_moved:
            refusal = refuse_other_places(facts, places_of(source))
        if refusal:
            raise InstallationError(refusal)
        if "storage-external" in values.components and not values.s3.make_buckets:
            self.say(
                "buckets: nobody makes them here (s3.make_buckets); docs/how-to/cluster.md lists them and their rules"
            )
        kept = too_small(facts, values)
        for claim, why in kept.items():
            self.say(f"the volume {claim} stays as it is: {why}")
        documents = tailor(source, values, tables=tables, kept=kept, ca=self.ca)
        self.apply([d for d in documents if d["kind"] == "Namespace"])
        absent = missing_secrets(documents, self._secrets())
        if absent and not self.dry_run:
            raise InstallationError(
                f"the Secrets {', '.join('/'.join(item) for item in absent)} are missing; run: kizu cluster secrets"
            )
        if facts.old_store:
            self.say("the store's StatefulSet is replaced by one with a volume that can grow; its data stay")
            self.delete("statefulset", "seaweedfs", "-n", SERVICES, "--cascade=orphan")
        for document in documents:
            if document["kind"] == "Job":  # a Job cannot be changed; what it does can be done again
                self.delete("job", document["metadata"]["name"], "-n", document["metadata"]["namespace"])
        rest = [d for d in documents if d["kind"] != "Namespace"]
        if self.dry_run:
            self.apply(rest)
            return values
        before = self._applied()
        now = [*inventory(documents), *(f"PersistentVolumeClaim|{SERVICES}|{claim}" for claim in kept)]
        # Both lists are known before the first act: what a killed call leaves is still known to the next one.
        self.apply([*inventory_document([*before, *now]), *rest])
        self._prune(before, now)
        self.apply(inventory_document(now))
        if wait_s:
            self._wait(documents, wait_s)
        return values

    def _applied(self) -> list[str]:
        return of_inventory(items(self.kubectl, "configmaps", INVENTORY, "-n", SERVICES))

    def _prune(self, before: Sequence[str], now: Sequence[str]) -> None:
        """Delete what an earlier call applied and this one does not: a component that was taken out, for example."""
        gone, stays = obsolete(before, now)
        for kind, namespace, name in gone:
            self.say(f"{kind.lower()}/{name} is removed: nothing asks for it any more")
            place = ("-n", namespace) if namespace else ()
            answer = self.kubectl(("delete", kind.lower(), name, *place, "--ignore-not-found", "--wait=true"))
            # A custom resource that was removed took its objects with it.
            if answer.code != 0 and "doesn't have a resource type" not in answer.err:
                raise KubectlError(f"kubectl delete {kind.lower()} {name}: {answer.err.strip()}")
        for _, namespace, name in stays:
            self.say(f"the volume {namespace}/{name} stays, with its data; nothing uses it any more")

    def apply_secrets(self, namespaces: Iterable[Document], secrets: Sequence[Document]) -> None:
        """Apply the namespaces and the Secrets. Values are printed in no case."""
        self.apply(list(namespaces))
        if self.dry_run:
            for secret in secrets:
                where = f"{secret['metadata']['namespace']}/{secret['metadata']['name']}"
                self.show(f"# Secret {where} with {', '.join(secret['stringData'])}")
            return
        # Server-side: the annotation of a client-side apply would hold the values a second time.
        did(self.kubectl, "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=as_yaml(secrets))

    def restart(self, servers: Sequence[tuple[str, str, str]], wait_s: int = 600) -> None:
        """Restart servers, one after the other, so that they read their Secrets again. servers: kind, namespace, name.

        Raises:
            KubectlError: one did not come up in time. Running it again goes on.
        """
        for kind, namespace, name in servers:
            if self.dry_run:
                self.show(f"# kubectl rollout restart {kind}/{name} -n {namespace}")
                continue
            if not items(self.kubectl, f"{kind}s", name, "-n", namespace):
                continue  # it is not installed yet, and reads them when it starts
            self.say(f"restarting {name}")
            did(self.kubectl, "rollout", "restart", f"{kind}/{name}", "-n", namespace)
            did(self.kubectl, "rollout", "status", f"{kind}/{name}", "-n", namespace, f"--timeout={wait_s}s")

    def status(self) -> list[Finding]:
        """Say of each workload and volume of Kizu whether it is as it should be."""
        found = []
        for namespace in NAMESPACES:
            for document in items(self.kubectl, "deployments,statefulsets", "-n", namespace):
                found.append(_state(document))
            for document in items(self.kubectl, "persistentvolumeclaims", "-n", namespace):
                phase = document.get("status", {}).get("phase", "unknown")
                level = Level.OK if phase == "Bound" else Level.WARNING
                size = document["spec"]["resources"]["requests"]["storage"]
                found.append(Finding(f"volume {namespace}/{document['metadata']['name']}", level, f"{phase}, {size}"))
        return found

    def uninstall(self, *, delete_data: bool) -> list[str]:
        """Remove the servers, policies and accounts. Volumes and Secrets stay unless `delete_data`.

        Returns what stays, in words.
        """
        documents = [
            document
            for document in tailor(self.overlay_for_removal(), self.values, tables="", examples=True)
            if document["kind"] not in ("Namespace", "PersistentVolumeClaim")
            and document["metadata"]["name"] != "mlflow-tables"
        ]
        self._delete_all(documents)
        of_overlays = inventory(documents)
        if not self.dry_run:  # what components added
            self._prune(self._applied(), of_overlays)
            self.delete("configmap", INVENTORY, "-n", SERVICES)
        place = self.values.pipelines_namespace
        if delete_data:
            # A class with the policy Retain keeps the disks of deleted claims; its administrator wipes them.
            retained = [
                item["metadata"]["name"]
                for item in items(self.kubectl, "persistentvolumes")
                if (item["spec"].get("claimRef") or {}).get("namespace") in NAMESPACES
                and item["spec"].get("persistentVolumeReclaimPolicy") == "Retain"
            ]
            self.delete("secret", *_OF_PIPELINES, "-n", place)
            self.delete("namespace", *NAMESPACES)
            kept = "PersistentVolumes of a class that retains them, with all data: " + ", ".join(retained)
            return [kept] if retained else []
        volumes = [
            f"{namespace}/{item['metadata']['name']}"
            for namespace in NAMESPACES
            for item in items(self.kubectl, "persistentvolumeclaims", "-n", namespace)
        ]
        return [
            f"volumes: {', '.join(volumes) or 'none'}",
            f"the namespaces {', '.join(NAMESPACES)} with their Secrets and ConfigMaps",
            f"the Secrets {', '.join(_OF_PIPELINES)} in {place}",
        ]

    def overlay_for_removal(self) -> list[Document]:
        """Return the documents of every overlay once: nobody need know which one was applied."""
        found: dict[tuple[str, str, str], Document] = {}
        for folder in sorted(path.parent for path in OVERLAYS.glob("*/kustomization.yaml")):
            for document in rendered(self.kubectl, folder):
                meta = document["metadata"]
                found[document["kind"], meta.get("namespace", ""), meta["name"]] = document
        return list(found.values())

    def _secrets(self) -> set[tuple[str, str]]:
        return {
            (namespace, line.removeprefix("secret/"))  # names only: nobody here needs the values
            for namespace in NAMESPACES
            for line in did(self.kubectl, "get", "secrets", "-n", namespace, "-o", "name").split()
        }

    def apply(self, documents: Sequence[Document]) -> None:
        """Apply documents and tell what changed."""
        if not documents:
            return
        if self.dry_run:
            self.show(as_yaml(documents))
            return
        for line in did(self.kubectl, "apply", "-f", "-", stdin=as_yaml(documents)).splitlines():
            if not line.endswith(" unchanged"):
                self.say(line)

    def delete(self, *arguments: str) -> None:
        """Delete objects; those that are not there are no error."""
        if self.dry_run:
            self.show(f"# kubectl delete {' '.join(arguments)}")
            return
        did(self.kubectl, "delete", *arguments, "--ignore-not-found", "--wait=true")

    def _delete_all(self, documents: Sequence[Document]) -> None:
        if self.dry_run:
            for document in documents:
                self.show(f"# kubectl delete {document['kind']} {document['metadata']['name']}")
            return
        did(self.kubectl, "delete", "-f", "-", "--ignore-not-found", stdin=as_yaml(documents))

    def _wait(self, documents: Sequence[Document], wait_s: int) -> None:
        for document in documents:
            kind, meta = document["kind"], document["metadata"]
            if kind in _WAITED_FOR and meta["namespace"] != "kizu-edge":
                self.say(f"waiting for {meta['name']}")
                did(
                    self.kubectl, "rollout", "status", f"{kind.lower()}/{meta['name']}",
                    "-n", meta["namespace"], f"--timeout={wait_s}s",
                )  # fmt: skip


def _state(document: Document) -> Finding:
    meta, status = document["metadata"], document.get("status", {})
    wanted, ready = document["spec"].get("replicas", 1), status.get("readyReplicas", 0)
    name = f"{meta['namespace']}/{meta['name']}"
    if ready >= wanted:
        return Finding(name, Level.OK, f"{ready} of {wanted} ready")
    return Finding(
        name, Level.WAITING, f"{ready} of {wanted} ready",
        f"kubectl -n {meta['namespace']} describe pod -l app.kubernetes.io/name={meta['name']}",
    )  # fmt: skip


def namespaces_of(documents: Iterable[Document]) -> list[Document]:
    """Return the namespaces among documents."""
    return [document for document in documents if document["kind"] == "Namespace"]
