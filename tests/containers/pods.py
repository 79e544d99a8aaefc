"""Run a workload of the manifests in Docker: the same image, command, user, limits, files, settings and addresses.

What Kubernetes does for a pod is done here by hand: a Service's name is an alias on a network, a claim is a volume that
belongs to the pod's group (fsGroup), an emptyDir is a tmpfs, a Secret's or ConfigMap's volume is filled beforehand.
"""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.containers.docker_engine import Docker
from tests.manifests.rendered import Workload, of_kind

_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
# What Kubernetes adds to a file's mode for the pod's group, where a volume is mounted to read.
_GROUP_MAY_READ = 0o440


def byte_count(quantity: str) -> int:
    """`512Mi` -> 536870912."""
    number, unit = re.fullmatch(r"(\d+)([KMG]i)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * _UNITS[unit]


def cpu_count(quantity: str) -> float:
    """`250m` -> 0.25."""
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


@dataclass
class Cluster:
    """One network and what runs on it, for one overlay. secrets: (namespace, name) -> key -> value."""

    docker: Docker
    overlay: str
    secrets: dict[tuple[str, str], Mapping[str, str]] = field(repr=False)
    name: str = field(default_factory=lambda: f"kizu-test-{uuid.uuid4().hex[:8]}")
    containers: list[str] = field(default_factory=list)
    volumes: dict[tuple[str, str], str] = field(default_factory=dict)

    def create(self) -> None:
        """Make the network."""
        self.docker.run("network", "create", self.name)

    def destroy(self) -> None:
        """Remove everything that was made, in use or not."""
        for container in self.containers:
            self.docker.run("rm", "--force", "--volumes", container, check=False)
        for volume in self.volumes.values():
            self.docker.run("volume", "rm", "--force", volume, check=False)
        self.docker.run("network", "rm", self.name, check=False)

    def start(self, workload: Workload) -> Pod:
        """Start a server; its init containers run to their end first."""
        for container in workload.init_containers:
            self._run(workload, container)
        return Pod(self, workload, self._run(workload, workload.containers[0], detached=True))

    def run(self, workload: Workload) -> str:
        """Run a Job's or CronJob's container to its end; returns what it printed."""
        return self._run(workload, workload.containers[0])

    def _run(self, workload: Workload, container: dict[str, Any], *, detached: bool = False) -> str:
        """Returns what it printed; where it is detached, its name."""
        name = f"{self.name}-{workload.name}-{container['name']}-{len(self.containers)}"
        self.containers.append(name)
        pod, limits = workload.pod["securityContext"], container["resources"]["limits"]
        arguments = [
            *("--name", name, "--hostname", workload.name, "--network", self.name),
            *("--user", f"{pod['runAsUser']}:{pod['runAsGroup']}"),
            *("--memory", str(byte_count(limits["memory"])), "--memory-swap", str(byte_count(limits["memory"]))),
            *("--cpus", str(cpu_count(limits["cpu"]))),
            *("--security-opt", "no-new-privileges"),
        ]
        if container["securityContext"]["readOnlyRootFilesystem"]:
            arguments.append("--read-only")
        for capability in container["securityContext"]["capabilities"]["drop"]:
            arguments += ["--cap-drop", capability]
        for alias in self._aliases(workload):
            arguments += ["--network-alias", alias]
        for port in container.get("ports", []):
            arguments += ["--publish", f"127.0.0.1::{port['containerPort']}"]
        for key, value in self.environment(workload, container).items():
            arguments += ["--env", f"{key}={value}"]
        for mount in container["volumeMounts"]:
            arguments += self._mount(workload, container["image"], mount)
        command = list(container.get("command", []))
        if command:
            arguments += ["--entrypoint", command[0]]
        arguments += [container["image"], *command[1:], *container.get("args", [])]
        if detached:
            self.docker.run("run", "--detach", *arguments)
            return name
        return self.docker.run("run", "--rm", *arguments)

    def _aliases(self, workload: Workload) -> list[str]:
        return [
            f"{name}.{namespace}.svc"
            for (namespace, name), service in of_kind(self.overlay, "Service").items()
            if namespace == workload.namespace and service["spec"]["selector"].items() <= workload.labels.items()
        ]

    def environment(self, workload: Workload, container: dict[str, Any]) -> dict[str, str]:
        """The container's variables, read from the ConfigMaps of the overlay and the Secrets."""
        found: dict[str, str] = {}
        # As the kubelet does: an optional Secret or key that is not there sets no variable.
        for source in container.get("envFrom", []):
            if "secretRef" in source:
                place = (workload.namespace, source["secretRef"]["name"])
                found |= self.secrets[place] if place in self.secrets or not _optional(source["secretRef"]) else {}
            else:
                found |= of_kind(self.overlay, "ConfigMap")[workload.namespace, source["configMapRef"]["name"]]["data"]
        for variable in container.get("env", []):
            reference = variable["valueFrom"]["secretKeyRef"]
            place, key = (workload.namespace, reference["name"]), reference["key"]
            if _optional(reference) and key not in self.secrets.get(place, {}):
                continue
            found[variable["name"]] = self.secrets[place][key]
        return found

    def _mount(self, workload: Workload, image: str, mount: dict[str, Any]) -> list[str]:
        path, group = mount["mountPath"], workload.pod["securityContext"]["fsGroup"]
        volume = workload.volumes.get(mount["name"], {"persistentVolumeClaim": None})
        readonly = ":ro" if mount.get("readOnly") else ""
        if "emptyDir" in volume and not self._shared(workload, mount["name"]):
            size = byte_count(volume["emptyDir"]["sizeLimit"])
            return ["--tmpfs", f"{path}:rw,exec,size={size},uid=0,gid={group},mode=2777"]
        if "secret" in volume:
            files = self.secrets[workload.namespace, volume["secret"]["secretName"]]
            mode = volume["secret"].get("defaultMode", 0o644)
        elif "configMap" in volume:
            known = of_kind(self.overlay, "ConfigMap")
            place = (workload.namespace, volume["configMap"]["name"])
            # As the kubelet does: an optional one that is not there is an empty folder.
            files = {} if volume["configMap"].get("optional") and place not in known else known[place]["data"]
            mode = volume["configMap"].get("defaultMode", 0o644)
        else:
            files, mode = {}, 0
        key = (f"{workload.namespace}/{workload.name}", mount["name"])
        if key not in self.volumes:
            self.volumes[key] = f"{self.name}-{workload.name}-{mount['name']}"
            self._fill(self.volumes[key], image, files, mode | _GROUP_MAY_READ, group)
        return ["--volume", f"{self.volumes[key]}:{path}{readonly}"]

    def _shared(self, workload: Workload, volume: str) -> bool:
        """Whether an init container hands something over in it."""
        return any(mount["name"] == volume for c in workload.init_containers for mount in c["volumeMounts"])

    def _fill(self, volume: str, image: str, files: Mapping[str, str], mode: int, group: int) -> None:
        root = ["run", "--rm", "--interactive", "--user", "0:0", "--volume", f"{volume}:/volume", "--entrypoint", "sh"]
        self.docker.run(*root, image, "-c", f"chgrp {group} /volume && chmod 2775 /volume")
        for name, text in files.items():
            script = f'cat > "/volume/$0" && chgrp {group} "/volume/$0" && chmod {mode:04o} "/volume/$0"'
            # By its standard input: a Secret is no argument that a list of processes would show.
            self.docker.run(*root, image, "-c", script, name, stdin=text.encode())


@dataclass
class Pod:
    """A server that was started."""

    cluster: Cluster
    workload: Workload
    container: str

    def url(self, port: str = "http") -> str:
        """How this machine reaches it: a port on loopback."""
        number = next(p["containerPort"] for p in self.workload.containers[0]["ports"] if p["name"] == port)
        published = self.cluster.docker.run("port", self.container, str(number)).splitlines()[0]
        return f"http://127.0.0.1:{published.rsplit(':', 1)[1]}"

    def probe(self, kind: str) -> tuple[int, str]:
        """(status, body) of a probe as its manifest has it; (0, reason) where nothing answers."""
        probe = self.workload.containers[0][kind]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            url = self.url(probe["httpGet"]["port"]) + probe["httpGet"]["path"]
            with opener.open(url, timeout=probe.get("timeoutSeconds", 1)) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode(errors="replace")
        except (OSError, IndexError) as e:
            return 0, str(e)

    def wait_until_started(self) -> float:
        """Ask the startup probe as often and as long as Kubernetes would; returns the seconds that it took."""
        probe = self.workload.containers[0]["startupProbe"]
        began = time.monotonic()
        for _ in range(min(probe["failureThreshold"], 300)):  # one that waits for others may wait much longer
            status, _ = self.probe("startupProbe")
            if 200 <= status < 400:
                return time.monotonic() - began
            assert self.running, f"{self.workload} ended:\n{self.logs()}"
            time.sleep(probe["periodSeconds"])
        raise AssertionError(f"{self.workload} did not start in time:\n{self.logs()}")

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self.cluster.docker.run("inspect", "--format", "{{.State.Running}}", self.container) == "true"

    def logs(self) -> str:
        """The end of what it printed."""
        return self.cluster.docker.run("logs", "--tail", "60", self.container, check=False)

    def execute(self, *command: str) -> str:
        """Run a command beside it, as its user."""
        return self.cluster.docker.run("exec", self.container, *command)


def _optional(reference: dict[str, Any]) -> bool:
    """Whether a pod starts without the Secret or the key that this names."""
    return bool(reference.get("optional", False))
