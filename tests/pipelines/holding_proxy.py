"""A TCP proxy before S3 that lets a chosen number of writes through and then nothing more."""

from __future__ import annotations

import socket
import threading
from typing import Self
from urllib.parse import urlsplit

_BYTES = 1 << 16


class HoldingProxy:
    """Passes bytes both ways until the n-th request that begins with `held`.

    That request and all later ones wait, and a test that waits for `reached` finds the client in the middle of
    its work.
    """

    def __init__(self, upstream: str, held: bytes, number: int) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname, parts.port)
        self._held, self._number = held, number
        self._seen = 0
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.reached = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(self._upstream)
            self._open += [client, server]
            for source, sink, is_request in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=(source, sink, is_request), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_request: bool) -> None:
        try:
            while data := source.recv(_BYTES):
                with self._lock:
                    self._seen += is_request and data.startswith(self._held)
                    if self._seen >= self._number:
                        self.reached.set()
                        return
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:  # the other side is gone
            return
