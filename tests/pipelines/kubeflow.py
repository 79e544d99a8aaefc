"""A stand-in for Kubeflow Pipelines that speaks its API and keeps what it was told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse


class Kubeflow(ThreadingHTTPServer):
    """A stand-in for Kubeflow Pipelines with pipelines, versions, experiments and runs in memory; `calls` in order."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.calls, self.pipelines, self.versions, self.experiments, self.runs = [], {}, [], {}, []
        self.refuse = None
        self.login = False
        self.lose_answers_to = None
        self.knows_filters = True
        self.headers = []


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, value, status=200):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def page_of_a_login(self):
        data = b"<!DOCTYPE html><html><body><form method=post>Log in to your account</form></body></html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        server, url = self.server, urlparse(self.path)
        path = url.path.removeprefix("/apis/v2beta1")
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        server.headers.append(self.headers)
        if server.login:
            return self.page_of_a_login()
        if server.refuse and server.refuse in path:
            return self.answer({"error": "permission denied", "code": 7}, 403)
        if path == "/healthz":
            return self.answer({"multi_user": False})
        if path == "/pipelines":
            wanted = json.loads(query["filter"])["predicates"][0]["stringValue"] if "filter" in query else None
            found = [p for name, p in server.pipelines.items() if wanted in (None, name)]
            return self.answer({"pipelines": found, "total_size": len(found)})
        if path.endswith("/versions"):
            found = list(server.versions)
            if "filter" in query:
                wanted = json.loads(query["filter"])["predicates"][0]["stringValue"]
                found = [version for version in found if version["display_name"] == wanted]
            at, size = int(query.get("page_token") or 0), min(int(query.get("page_size", 20)), 100)
            more = {"next_page_token": str(at + size)} if at + size < len(found) else {}
            return self.answer({"pipeline_versions": found[at : at + size], "total_size": len(found), **more})
        if path == "/experiments":
            found = list(server.experiments.values())
            return self.answer({"experiments": found, "total_size": len(found)})
        if path == "/runs":
            found = list(reversed(server.runs)) if query.get("sort_by") == "created_at desc" else list(server.runs)
            if "filter" in query and server.knows_filters:
                wanted = json.loads(query["filter"])["predicates"][0]["stringValue"]
                found = [run for run in found if run["display_name"] == wanted]
            at, size = int(query.get("page_token") or 0), int(query.get("page_size", 20))
            more = {"next_page_token": str(at + size)} if at + size < len(found) else {}
            return self.answer({"runs": found[at : at + size], "total_size": len(found), **more})
        if path.startswith("/runs/"):
            for run in server.runs:
                if run["run_id"] == path.removeprefix("/runs/"):
                    return self.answer(run)
        return self.answer({"error": f"no such path {path}"}, 404)

    def do_POST(self):
        server, url = self.server, urlparse(self.path)
        path = url.path.removeprefix("/apis/v2beta1")
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if server.login:
            return self.page_of_a_login()
        server.calls.append((path, query, body))
        if server.refuse and server.refuse in path:
            return self.answer({"error": "permission denied", "code": 7}, 403)
        if path == "/pipelines/upload":
            made = {"pipeline_id": "p1", "display_name": query["name"], "name": query["name"]}
            server.pipelines[query["name"]] = made
            first = {"pipeline_id": "p1", "pipeline_version_id": "v0", "display_name": query["name"]}
            server.versions.append(first)
            return self.answer(made)
        if path == "/pipelines/upload_version":
            made = {
                "pipeline_id": query["pipelineid"], "pipeline_version_id": f"v{len(server.versions)}",
                "display_name": query["name"],
            }  # fmt: skip
            server.versions.append(made)
            return self.answer(made)
        if path == "/experiments":
            made = {**json.loads(body), "experiment_id": "e1"}
            server.experiments[made["display_name"]] = made
            return self.answer(made)
        if path == "/runs":
            made = {**json.loads(body), "run_id": f"r{len(server.runs) + 1}", "state": "PENDING"}
            server.runs.append(made)
            if server.lose_answers_to == path:
                self.close_connection = True
                return self.connection.close()
            return self.answer(made)
        return self.answer({"error": f"no such path {path}"}, 404)


@contextmanager
def running() -> Iterator[Kubeflow]:
    """One that runs while the block does."""
    server = Kubeflow()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
