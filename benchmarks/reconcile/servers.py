"""The servers that a pass speaks to, as fakes at the wire: each answers as the real one does, from memory.

All four are one HTTP server with a path of its own for each. So a pass sends real requests and parses real answers.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from inspection.decode import Nms
from inspection.documents import Approval, DesiredState, InputSpec, ModelFile, Release, Reported, Sampling, Wave
from inspection.verdict import ClassThreshold

_PAGE: Final = 1000
_AT: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Fleet:
    """What the servers hold: products with versions, and devices with reports."""

    def __init__(self, products: int, versions: int, devices: int) -> None:
        self.names = [f"product-{number:02d}" for number in range(products)]
        self.versions = versions // products
        self.releases: dict[str, Release] = {}
        self.desired: dict[str, DesiredState] = {}
        for name in self.names:
            release = _release(name, self.versions - 1)
            self.releases[release.digest] = release
            self.desired[name] = DesiredState(
                sequence=7, use_case=name, waves=(Wave(release_digest=release.digest, percent=100.0),), probation_s=60.0
            )
        self.objects: dict[str, dict[str, bytes]] = {"kizu-fleet": {}, "kizu-state": {}, "kizu-labels": {}}
        digests = {state.use_case: state.waves[0].release_digest for state in self.desired.values()}
        for number in range(devices):
            name = self.names[number % products]
            self.report(f"device-{number:05d}", name, digests[name], _AT)

    def report(self, device: str, use_case: str, release: str, at: datetime) -> None:
        """A device reports."""
        report = Reported(
            device=device, group="line", use_case=use_case, reported_at=at, state="running", running_release=release,
            sequence_seen=7, uptime_s=1234.5, versions={"agent": "0.1.0", "onnxruntime": "1.32.0"}, frames=123_456,
        )  # fmt: skip
        self.objects["kizu-fleet"][f"{device}/reported.json"] = report.to_json()


def _release(name: str, version: int) -> Release:
    return Release(
        use_case=name, version=version,
        models=(ModelFile(precision="fp32", file="model.onnx", sha256="b" * 64, bytes=1),),
        preprocess=InputSpec(width=64, height=64), classes=("scratch",),
        thresholds={"scratch": ClassThreshold(0.5, 0.25)}, nms=Nms(),
        sampling=Sampling(uncertain_low=0.1, uncertain_high=0.6), latency_budget_ms=500.0, probation_s=60.0,
        golden=(), min_agent_version="0.1.0", dataset_digest="c" * 64, training_run="r", evaluation_digest="d" * 64,
        approval=Approval(by="ann", at=_AT, model_sha256="b" * 64),
    )  # fmt: skip


class Servers(ThreadingHTTPServer):
    """The servers of one fleet. requests: how many were answered, by server."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fleet = fleet
        self.requests: dict[str, int] = {}
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where they are."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together: else each answer waits for the acknowledgement of its head
    server: Servers

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle(b"")

    def do_POST(self) -> None:
        self._handle(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    do_PUT = do_POST
    do_DELETE = do_GET

    def _handle(self, body: bytes) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
        _, first, *rest = url.path.split("/")
        with self.server.lock:
            self.server.requests[first] = self.server.requests.get(first, 0) + 1
        if first.startswith("kizu-"):
            self._s3(first, unquote("/".join(rest)), query, body)
        elif first == "signer":
            self._signer(rest)
        elif first == "mlflow":
            self._json(self._mlflow("/".join(rest), query, json.loads(body) if body else {}))
        else:
            self._json({"count": 0, "next": None, "results": []})

    def _s3(self, bucket: str, key: str, query: Mapping[str, str], body: bytes) -> None:
        objects = self.server.fleet.objects.setdefault(bucket, {})
        if self.command == "PUT":
            if self.headers.get("If-None-Match") and key in objects:
                self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
                return
            if (etag := self.headers.get("If-Match")) and (key not in objects or _etag(objects[key]) != etag):
                self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
                return
            objects[key] = body
            self._answer(200, b"", {"ETag": _etag(body)})
        elif key:
            if key not in objects:
                self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
                return
            self._answer(200, objects[key], {"ETag": _etag(objects[key])})
        else:
            self._list(objects, query)

    def _list(self, objects: Mapping[str, bytes], query: Mapping[str, str]) -> None:
        after = query.get("continuation-token", "")
        keys = [key for key in sorted(objects) if key.startswith(query.get("prefix", "")) and key > after]
        shown = keys[:_PAGE]
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-03-01T12:00:00.000Z</LastModified>"
            f"<ETag>{escape(_etag(objects[key]))}</ETag><Size>{len(objects[key])}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for key in shown
        )
        more = len(keys) > len(shown)
        token = f"<NextContinuationToken>{escape(shown[-1])}</NextContinuationToken>" if more else ""
        self._answer(
            200,
            f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{items}{token}</ListBucketResult>".encode(),
        )

    def _signer(self, rest: list[str]) -> None:
        fleet = self.server.fleet
        if rest == ["desired"]:
            self._json({"desired": [{"use_case": name, "group": "line"} for name in fleet.names]})
        elif rest[0] == "desired":
            self._answer(200, fleet.desired[rest[1]].to_json())
        else:
            self._answer(200, fleet.releases[rest[1]].to_json())

    def _mlflow(self, path: str, query: Mapping[str, str], body: Mapping[str, Any]) -> dict[str, Any]:
        fleet = self.server.fleet
        if path.endswith("model-versions/search"):
            name = re.search(r"name = '([^']+)'", query["filter"])
            assert name is not None
            wanted = re.findall(r"tags\.`?([a-z_]+)`? = '([^']*)'", query["filter"])
            found = (_version(name[1], number, fleet.versions) for number in range(fleet.versions - 1, 0, -1))
            matching = (item for item in found if all({"key": k, "value": v} in item["tags"] for k, v in wanted))
            most = int(query.get("max_results", 100))
            return {"model_versions": [item for item, _ in zip(matching, range(most), strict=False)]}
        if path.endswith("registered-models/alias"):
            return {"model_version": _version(query["name"], fleet.versions - 1, fleet.versions)}
        if path.endswith("model-versions/get"):
            return {"model_version": _version(query["name"], int(query["version"]), fleet.versions)}
        if path.endswith("experiments/get-by-name"):
            name_given = query["experiment_name"]
            return {"experiment": {"experiment_id": "1", "name": name_given, "lifecycle_stage": "active"}}
        if path.endswith("runs/search"):
            return {"runs": [_run()]}
        raise AssertionError(f"no such path {path} {body}")

    def _json(self, value: Mapping[str, Any]) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _version(name: str, number: int, versions: int) -> dict[str, Any]:
    approval = "approved" if number % 3 == 0 or number == versions - 1 else "rejected"
    tags = {"approval": approval, "gate": "passed", "approval_by": "ann", "model_sha256": "b" * 64}
    return {
        "name": name, "version": str(number), "run_id": f"r{number}", "creation_timestamp": 0,
        "last_updated_timestamp": 0, "current_stage": "None", "status": "READY", "source": "",
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    }  # fmt: skip


def _run() -> dict[str, Any]:
    return {
        "info": {
            "run_id": "r1", "run_uuid": "r1", "experiment_id": "1", "status": "FINISHED", "start_time": 0,
            "end_time": 1, "artifact_uri": "", "lifecycle_stage": "active", "run_name": "n", "user_id": "u",
        },
        "data": {"tags": [{"key": "gate", "value": "passed"}]},
    }  # fmt: skip


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'
