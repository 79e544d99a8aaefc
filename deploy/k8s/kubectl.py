"""The port to a cluster: `kubectl` as a process. Rules see its answers as documents only."""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

Document = dict[str, Any]
# The same as the safe ones, in C where PyYAML was built with it: an overlay is read ten times as fast.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class KubectlError(RuntimeError):
    """kubectl is missing, or did not do what was asked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """code: the exit status."""

    code: int
    out: str
    err: str


class Kubectl(Protocol):
    """Runs one kubectl command."""

    def __call__(self, arguments: Sequence[str], stdin: str | None = None) -> Answer:
        """Run it and return what it said."""
        ...


@dataclass(frozen=True, slots=True)
class KubectlProcess:
    """command: the executable. context: of the kubeconfig; None: the current one."""

    command: str
    context: str | None = None
    timeout_s: float = 660.0

    @classmethod
    def found(cls, told: str | None, context: str | None) -> KubectlProcess:
        """Use the kubectl that was told, that of the path, or that of this environment.

        Raises:
            KubectlError: there is none.
        """
        ours = Path(sysconfig.get_path("scripts")) / "kubectl"
        command = shutil.which(told or "kubectl") or (str(ours) if told is None and ours.exists() else None)
        if command is None:
            raise KubectlError(f"expected {told or 'kubectl'} on the path; name yours with --kubectl")
        return cls(command, context)

    def __call__(self, arguments: Sequence[str], stdin: str | None = None) -> Answer:
        """Run it. It may ask nothing: its input is `stdin` or empty."""
        context = ["--context", self.context] if self.context and arguments[0] != "kustomize" else []
        try:
            done = subprocess.run(
                [self.command, *context, *arguments],
                input=stdin or "", capture_output=True, text=True, timeout=self.timeout_s, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as e:
            raise KubectlError(f"kubectl {' '.join(arguments[:3])}: {e}") from e
        return Answer(done.returncode, done.stdout, done.stderr)


def did(kubectl: Kubectl, *arguments: str, stdin: str | None = None) -> str:
    """Run a command that has to succeed, and return what it printed.

    Raises:
        KubectlError: it failed; the message is kubectl's.
    """
    answer = kubectl(arguments, stdin)
    if answer.code != 0:
        raise KubectlError(f"kubectl {' '.join(arguments[:3])}: {answer.err.strip() or answer.out.strip()}")
    return answer.out


def items(kubectl: Kubectl, *arguments: str) -> list[Document]:
    """Return what `kubectl get …` lists. A namespace or kind that does not exist has no items.

    Raises:
        KubectlError: the cluster does not answer, or the caller may not look.
    """
    answer = kubectl(("get", *arguments, "--ignore-not-found", "-o", "json"))
    if answer.code != 0:
        if "doesn't have a resource type" in answer.err:
            return []
        raise KubectlError(f"kubectl get {' '.join(arguments[:3])}: {answer.err.strip()}")
    if not answer.out.strip():
        return []
    found = json.loads(answer.out)
    return list(found["items"]) if "items" in found else [found]


def rendered(kubectl: Kubectl, folder: Path) -> list[Document]:
    """Return the documents of a kustomization.

    Raises:
        KubectlError: it cannot be rendered.
    """
    return [document for document in yaml.load_all(did(kubectl, "kustomize", str(folder)), Loader=_LOADER) if document]


def as_yaml(documents: Iterable[Document]) -> str:
    """Return documents as one stream of YAML, as `kubectl apply -f -` takes it."""
    return str(yaml.dump_all(documents, Dumper=_DUMPER, sort_keys=False))
