"""A stand-in for Kubeflow Pipelines that speaks its API and keeps what it was told.

Each body that it takes or sends is checked with the models of `kfp-server-api`, and each route is one of that package.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlparse

import kfp_server_api

_PREFIX = "/apis/v2beta1"
# (method, path) -> (model of the body, model of the answer)
ROUTES: dict[tuple[str, str], tuple[str | None, str]] = {
    ("GET", "/healthz"): (None, "V2beta1GetHealthzResponse"),
    ("GET", "/pipelines"): (None, "V2beta1ListPipelinesResponse"),
    ("POST", "/pipelines"): ("V2beta1Pipeline", "V2beta1Pipeline"),
    ("GET", "/pipelines/{pipeline_id}/versions"): (None, "V2beta1ListPipelineVersionsResponse"),
    ("POST", "/pipelines/upload_version"): (None, "V2beta1PipelineVersion"),
    ("GET", "/experiments"): (None, "V2beta1ListExperimentsResponse"),
    ("POST", "/experiments"): ("V2beta1Experiment", "V2beta1Experiment"),
    ("GET", "/runs"): (None, "V2beta1ListRunsResponse"),
    ("POST", "/runs"): ("V2beta1Run", "V2beta1Run"),
    ("GET", "/runs/{run_id}"): (None, "V2beta1Run"),
    ("GET", "/recurringruns"): (None, "V2beta1ListRecurringRunsResponse"),
    ("POST", "/recurringruns"): ("V2beta1RecurringRun", "V2beta1RecurringRun"),
    ("DELETE", "/recurringruns/{recurring_run_id}"): (None, "object"),
}
GO_STACK = (
    "InternalServerError: Failed to create a pipeline version: UNIQUE constraint failed\n"
    "github.com/kubeflow/pipelines/backend/src/common/util.NewInternalServerError\n\t/go/src/error.go:142\nmain.main"
)


def check(model: str, value: Any) -> None:
    """Check that a body fits a model: no key that it does not have, and values of its types."""
    if model == "object":
        return
    if found := re.fullmatch(r"list\[(.*)\]", model):
        for item in value:
            check(found[1], item)
        return
    described = getattr(kfp_server_api, model, None)
    if described is None or not hasattr(described, "attribute_map"):
        return
    if described.openapi_types:
        keys = {key: name for name, key in described.attribute_map.items()}
        assert set(value) <= set(keys), f"{model} has no {sorted(set(value) - set(keys))}"
        for key, inner in value.items():
            check(described.openapi_types[keys[key]], inner)
        kfp_server_api.ApiClient().deserialize(SimpleNamespace(data=json.dumps(value)), model)


class Kubeflow(ThreadingHTTPServer):
    """A stand-in for Kubeflow Pipelines with its objects in memory; `calls` has what changed something, in order.

    refuse: paths with this text are refused. login: the page of a login answers. lose_answers_to: what is asked there
    is done, and the connection breaks. raced: what is asked there was done by another caller a moment before; the
    answer has this status. progress: what the run's next reads tell, one each: (state, {step: state}).
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.calls: list[tuple[str, dict[str, str], bytes]] = []
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.versions: list[dict[str, Any]] = []
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: list[dict[str, Any]] = []
        self.recurring: list[dict[str, Any]] = []
        self.uploads: list[bytes] = []
        self.refuse: str | None = None
        self.login = False
        self.lose_answers_to: str | None = None
        self.raced: dict[str, int] = {}
        self.knows_filters = True
        self.headers: list[Any] = []
        self.progress: list[tuple[str, dict[str, str]]] = []
        self.broken: list[str] = []
        self.number = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error of the stand-in."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def next_id(self, letter: str) -> str:
        self.number += 1
        return f"{letter}{self.number}"


class Handler(BaseHTTPRequestHandler):
    server: Kubeflow

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, value: Any, status: int = 200, kind: str = "application/json") -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.serve("GET")

    def do_POST(self) -> None:
        self.serve("POST")

    def do_DELETE(self) -> None:
        self.serve("DELETE")

    def serve(self, method: str) -> None:
        server, url = self.server, urlparse(self.path)
        path = url.path.removeprefix(_PREFIX)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.headers.append(self.headers)
        if server.login:
            page = b"<!DOCTYPE html><html><body><form method=post>Log in to your account</form></body></html>"
            return self.answer(page, kind="text/html; charset=utf-8")
        if method != "GET":
            server.calls.append((path, query, body))
        if server.refuse and server.refuse in path:
            return self.answer({"error": "permission denied", "code": 7}, 403)
        route, ids = self.route(method, path)
        if route is None:
            return self.answer({"error": f"no such path {path}", "code": 5}, 404)
        try:
            given, told = ROUTES[method, route]
            asked = json.loads(body) if given else body
            if given:
                check(given, asked)
            value = self.do(method, route, ids, query, asked)
            if value is None:
                return self.answer({"error": "not found", "message": "not found", "code": 5}, 404)
            check(told, value)
        except AssertionError as e:
            server.broken.append(f"{method} {path}: {e}")
            return self.answer({"error": str(e), "code": 3}, 400)
        if method == "POST" and (status := server.raced.pop(route, None)):
            return self.answer({"error_message": GO_STACK, "error_details": GO_STACK}, status)
        if server.lose_answers_to == path and method == "POST":
            self.close_connection = True
            return self.connection.close()
        return self.answer(value)

    @staticmethod
    def route(method: str, path: str) -> tuple[str | None, list[str]]:
        for known_method, known in ROUTES:
            pattern = re.sub(r"\{[a-z_]+\}", "([^/]+)", known)
            if known_method == method and (found := re.fullmatch(pattern, path)):
                return known, list(found.groups())
        return None, []

    def do(self, method: str, route: str, ids: list[str], query: dict[str, str], asked: Any) -> Any:
        server = self.server
        match method, route:
            case "GET", "/healthz":
                return {"multi_user": False}
            case "GET", "/pipelines":
                return self.page(list(server.pipelines.values()), "pipelines", query)
            case "GET", "/pipelines/{pipeline_id}/versions":
                mine = [version for version in server.versions if version["pipeline_id"] == ids[0]]
                return self.page(mine, "pipeline_versions", query)
            case "GET", "/experiments":
                return self.page(list(server.experiments.values()), "experiments", query)
            case "GET", "/runs":
                return self.page(server.runs, "runs", query)
            case "GET", "/recurringruns":
                return self.page(server.recurring, "recurringRuns", query)
            case "GET", "/runs/{run_id}":
                return self.run(ids[0])
            case "POST", "/pipelines":
                made = {**asked, "pipeline_id": server.next_id("p")}
                return server.pipelines.setdefault(asked["display_name"], made)
            case "POST", "/pipelines/upload_version":
                server.uploads.append(uploaded_file(self.headers["Content-Type"], asked))
                made = {
                    "pipeline_id": query["pipelineid"], "pipeline_version_id": server.next_id("v"),
                    "display_name": query["name"], "name": query["name"],
                }  # fmt: skip
                server.versions.append(made)
                return made
            case "POST", "/experiments":
                made = {**asked, "experiment_id": server.next_id("e")}
                return server.experiments.setdefault(asked["display_name"], made)
            case "POST", "/runs":
                made = {**asked, "run_id": f"r{len(server.runs) + 1}", "state": "PENDING"}
                server.runs.append(made)
                return made
            case "POST", "/recurringruns":
                made = {**asked, "recurring_run_id": server.next_id("j"), "status": "ENABLED"}
                server.recurring.append(made)
                return made
            case "DELETE", _:
                gone = [made for made in server.recurring if made["recurring_run_id"] == ids[0]]
                for made in gone:
                    server.recurring.remove(made)
                return {} if gone else None
        return None

    def run(self, run_id: str) -> dict[str, Any] | None:
        server = self.server
        run = next((run for run in server.runs if run["run_id"] == run_id), None)
        if run is not None and server.progress:
            run["state"], steps = server.progress.pop(0) if len(server.progress) > 1 else server.progress[0]
            run["run_details"] = {
                "task_details": [
                    {
                        "display_name": name, "state": state, "start_time": "2026-01-02T03:04:05Z",
                        "end_time": f"{'2026-01-02' if state in ('SUCCEEDED', 'FAILED') else '1970-01-01'}T03:05:06Z",
                    }
                    for name, state in {f"{step}-driver": "SUCCEEDED" for step in steps}.items() | steps.items()
                ]
            }  # fmt: skip
        return run

    def page(self, items: list[dict[str, Any]], field: str, query: dict[str, str]) -> dict[str, Any]:
        found = list(reversed(items)) if query.get("sort_by") == "created_at desc" else list(items)
        if "filter" in query and self.server.knows_filters:
            (predicate,) = json.loads(query["filter"])["predicates"]
            assert (predicate["key"], predicate["operation"]) == ("display_name", "EQUALS")
            found = [item for item in found if item["display_name"] == predicate["stringValue"]]
        at, size = int(query.get("page_token") or 0), min(int(query.get("page_size", 20)), 100)
        more = {"next_page_token": str(at + size)} if at + size < len(found) else {}
        return {field: found[at : at + size], "total_size": len(found), **more}


def uploaded_file(kind: str, body: bytes) -> bytes:
    """The file of a form."""
    message = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    (part,) = (part for part in message.walk() if part.get_filename())
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    return data


@contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[Kubeflow]:
    """One that runs while the block does. Afterwards it fails if a body did not fit its model."""
    server = Kubeflow()
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert server.broken == []
