"""kubectl, as a port: documents in, documents out."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import yaml

from tests.cluster.own_names import Document


class KubectlFailed(AssertionError):
    """A kubectl command that did not do what was asked. The message is its output."""


@dataclass(frozen=True)
class Kubectl:
    """command: the executable. It takes the cluster from KUBECONFIG."""

    command: str

    def run(self, *arguments: str, stdin: bytes | None = None, timeout_s: float = 120, check: bool = True) -> str:
        """One command; returns what it printed."""
        source: dict[str, Any] = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        try:
            done = subprocess.run(
                [self.command, *arguments], capture_output=True, timeout=timeout_s, check=False, **source
            )
        except subprocess.TimeoutExpired as e:
            raise KubectlFailed(f"kubectl {' '.join(arguments[:6])} did not end within {timeout_s:.0f} s") from e
        if check and done.returncode != 0:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise KubectlFailed(f"kubectl {' '.join(arguments[:6])} ended with {done.returncode}: {said[-2000:]}")
        return done.stdout.decode(errors="replace").strip()

    def json(self, *arguments: str) -> Document:
        """One command with `--output json`."""
        found: Document = json.loads(self.run(*arguments, "--output", "json"))
        return found

    def items(self, *arguments: str) -> list[Document]:
        """The list that `get …` gives."""
        return list(self.json("get", *arguments)["items"])

    def exists(self, kind: str, name: str) -> bool:
        """Whether there is such an object that is in no namespace."""
        return bool(self.run("get", kind, name, "--ignore-not-found", "--output", "name"))

    def apply(self, documents: Iterable[Document]) -> None:
        """Apply documents, in their order."""
        self.run("apply", "--filename", "-", stdin=yaml.safe_dump_all(documents, sort_keys=False).encode())

    def rollout(self, namespace: str, workloads: Sequence[str], timeout_s: float) -> None:
        """Wait until workloads (`deployment/name`) run as they are described."""
        end = time.monotonic() + timeout_s
        for name in workloads:
            left = max(1.0, end - time.monotonic())
            self.run("-n", namespace, "rollout", "status", name, f"--timeout={left:.0f}s", timeout_s=left + 30)


class Forward:
    """A local port that leads to a Service. It is made again when its pod goes away."""

    def __init__(self, kubectl: Kubectl, namespace: str, service: str, port: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._arguments = [
            kubectl.command, "-n", namespace, "port-forward", f"service/{service}", f"{self.port}:{port}",
        ]  # fmt: skip
        self._stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"forward {service}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with self._lock:
            if self._process is not None:
                self._process.terminate()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                if self._stop.is_set():
                    return
                self._process = subprocess.Popen(
                    self._arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=os.environ,
                )
            self._process.wait()  # a forward ends with its pod
            self._stop.wait(0.5)

    def wait_until_open(self, timeout_s: float = 60) -> None:
        """Wait until the local port accepts connections."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=2).close()
                return
            except OSError:
                time.sleep(0.2)
        raise KubectlFailed(f"{' '.join(self._arguments[1:])} opened no port within {timeout_s:.0f} s")
