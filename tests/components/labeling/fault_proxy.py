"""An HTTP proxy before Label Studio that does what networks and servers do on bad days."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import httpx

# What becomes of the n-th request (from 1): "ok", "500" (not passed on), "lost" (passed on, its answer never
# arrives), "away" (not passed on, the connection ends), or a number of seconds that the answer takes longer.
Fault = str | float
Plan = Callable[[int, str, str], Fault]

_DROPPED = {"connection", "transfer-encoding", "content-encoding", "content-length", "host", "accept-encoding"}


class FaultProxy:
    """Passes requests on, but for those that the plan spoils. `requests`: what came, as "METHOD path"."""

    def __init__(self, upstream: str) -> None:
        self.plan: Plan = lambda number, method, path: "ok"
        self.requests: list[str] = []
        self.spoilt = False
        self._upstream = upstream
        self._lock = threading.Lock()
        self._http = httpx.Client(timeout=60, trust_env=False)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with proxy._lock:
                    proxy.requests.append(f"{self.command} {self.path}")
                    number = len(proxy.requests)
                    fault = proxy.plan(number, self.command, self.path)
                self.close_connection = True
                if fault == "500":
                    self.reply(500, {}, b"out of order")
                    return
                if fault == "away":
                    return
                headers = {k: v for k, v in self.headers.items() if k.lower() not in _DROPPED}
                answer = proxy._http.request(
                    self.command, f"{proxy._upstream}{self.path}", content=body, headers=headers
                )
                if fault == "lost":
                    return
                if isinstance(fault, float):
                    time.sleep(fault)
                self.reply(answer.status_code, dict(answer.headers), answer.content)

            def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in _DROPPED:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._http.close()

    def spoil(self, number: int, fault: Fault, *, changes: bool) -> None:
        """Begin to count anew, and spoil the n-th request that changes something, or the n-th that only reads."""
        self.requests.clear()
        self.spoilt = False
        seen = 0

        def plan(count: int, method: str, path: str) -> Fault:
            nonlocal seen
            seen += (method != "GET") is changes
            if self.spoilt or seen != number:
                return "ok"
            self.spoilt = True
            return fault

        self.plan = plan
