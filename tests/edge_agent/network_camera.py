"""A network camera for tests."""

from __future__ import annotations

import http.server
import threading
import time

import cv2
import numpy as np


def grey(value: int) -> np.ndarray:
    return np.full((48, 64, 3), value, dtype=np.uint8)


class Stream:
    """A network camera of a common kind: motion JPEG over HTTP.

    Its picture is grey, with a black quarter below on the right that holds a counter in the place of a sensor's noise.
    """

    def __init__(self, port: int = 0) -> None:
        self.value = 100
        self.sent = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                try:
                    while not outer.stopping.is_set():
                        picture = grey(outer.value)
                        picture[24:, 32:] = 0
                        outer.sent += 1
                        picture[32:40, 40:48] = 4 * (outer.sent % 16)
                        data = cv2.imencode(".jpg", picture)[1].tobytes()
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                        self.wfile.write(head.encode() + data + b"\r\n")
                        time.sleep(0.03)
                except OSError:
                    pass

            def log_message(self, *_) -> None:
                pass

        self.stopping = threading.Event()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def stop(self) -> None:
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
