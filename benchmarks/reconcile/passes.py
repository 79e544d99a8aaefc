"""The servers in a process of their own, and the passes that are measured in another."""

from __future__ import annotations

import os
import resource
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.reconcile.servers import Fleet, Servers

_ROOT: Final = Path(__file__).resolve().parents[2]
_PASSES: Final = 5


@dataclass(frozen=True)
class Passes:
    """The first pass, later ones in which nothing changed, and one after which some changed.

    Each as seconds, and seconds of processor time of this process, which other programs on the machine change less.
    """

    first: tuple[float, float]
    quiet: tuple[tuple[float, float], ...]
    changed: tuple[float, float]
    memory_mb: float
    first_requests: dict[str, int]
    quiet_requests: dict[str, int]
    changed_requests: dict[str, int]


def serve(pipe: Connection, products: int, versions: int, devices: int, changed: int) -> None:
    """Run the servers until the other end of the pipe sends something; it gets their address first."""
    fleet = Fleet(products, versions, devices)
    server = Servers(fleet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    original = fleet.objects["kizu-state"]

    class Commands(dict[str, bytes]):
        """A write below `bench/` tells the servers what happens next."""

        def __setitem__(self, key: str, value: bytes) -> None:
            if key == "bench/change":
                now = datetime.now(UTC)
                for number in range(changed):
                    name = fleet.names[number % products]
                    digest = fleet.desired[name].waves[0].release_digest
                    fleet.report(f"device-{number:05d}", name, digest, now)
            super().__setitem__(key, value)
            if key == "bench/count":
                counted = ",".join(f"{name}={count}" for name, count in sorted(server.requests.items()))
                super().__setitem__("bench/counted", counted.encode())
                server.requests.clear()

    fleet.objects["kizu-state"] = Commands(original)
    pipe.send(server.url)
    pipe.recv()
    server.shutdown()


def measure(url: str, products: int) -> Passes:
    """Make passes against the servers, in a process that has done nothing else."""
    for name in [name for name in os.environ if name.startswith(("KIZU_", "AWS_", "MLFLOW_", "LABEL_STUDIO_"))]:
        del os.environ[name]
    os.environ |= {"NO_PROXY": "*", "AWS_EC2_METADATA_DISABLED": "true"}
    from components.settings import Settings
    from components.stores.objects.s3 import S3ObjectStore
    from kizu.reconciling import compose
    from reconciler.products import Products

    with tempfile.TemporaryDirectory() as folder:
        case: dict[str, Any] = yaml.safe_load((_ROOT / "use_cases" / "metal-tag.yaml").read_text(encoding="utf-8"))
        for number in range(products):
            name = f"product-{number:02d}"
            text = yaml.safe_dump({**case, "name": name, "rollout": {"group": "line"}})
            (Path(folder) / f"{name}.yaml").write_text(text, encoding="utf-8")
        config = Settings.from_environment(
            {
                "KIZU_S3_ENDPOINT": url, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
                "MLFLOW_TRACKING_URI": f"{url}/mlflow", "KIZU_SIGNER_URL": f"{url}/signer",
                "KIZU_SIGNER_TOKEN": "token", "LABEL_STUDIO_URL": f"{url}/label-studio",
                "LABEL_STUDIO_API_KEY": "token", "KIZU_USE_CASES": folder,
            }
        )  # fmt: skip
        os.environ["MLFLOW_TRACKING_URI"] = f"{url}/mlflow"
        reconciling = compose(config, Products(Path(folder)))
        store = S3ObjectStore.from_settings(config)

        def timed() -> tuple[float, float]:
            began, worked = time.perf_counter(), time.process_time()
            result = reconciling.run()
            took = time.perf_counter() - began, time.process_time() - worked
            assert len(result.products) == products, result
            assert not result.failures, result
            for product in result.products:
                waits = "\n".join(product.waits)
                assert "is desired already" in waits, waits
                assert "cannot be read" not in waits, waits
            return took

        def counted() -> dict[str, int]:
            store.put("kizu-state", "bench/count", b"")
            said = store.get("kizu-state", "bench/counted").decode()
            return {name: int(count) for name, _, count in (item.partition("=") for item in said.split(","))}

        counted()
        first = timed()
        first_requests = counted()
        quiet = tuple(timed() for _ in range(_PASSES))
        quiet_requests = {name: count // _PASSES for name, count in counted().items()}
        store.put("kizu-state", "bench/change", b"")
        counted()
        changed = timed()
        changed_requests = counted()
        reconciling.close()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Passes(first, quiet, changed, memory, first_requests, quiet_requests, changed_requests)
