"""A TCP proxy that adds a round trip between a client and a server on the same machine, and counts what passes.

`python -m benchmarks.training.delay_proxy <upstream port> <milliseconds>` prints its port. It answers each line on
standard input with a line of JSON, and ends when standard input ends. The proxy delays data by half a round trip each
way, and the first byte of a connection by a whole one more, as a handshake does. The bandwidth is the loopback's.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_HOST = "127.0.0.1"
_CHUNK = 256 * 1024
_REQUESTS = (b"GET ", b"HEAD ", b"PUT ", b"POST ")


@dataclass(slots=True)
class Traffic:
    """What passed the proxy: HTTP requests, bytes to the server, and bytes from the server."""

    requests: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0

    def since(self, before: Traffic) -> Traffic:
        """What passed after `before` was read."""
        return Traffic(
            self.requests - before.requests,
            self.sent_bytes - before.sent_bytes,
            self.received_bytes - before.received_bytes,
        )


class DelayProxy:
    """The benchmark's handle on the process of the proxy."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self.url = f"http://{_HOST}:{port}"

    def traffic(self) -> Traffic:
        """All that has passed until now."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Traffic(**json.loads(self._process.stdout.readline()))


@contextmanager
def delayed(endpoint: str, round_trip_ms: float) -> Iterator[DelayProxy]:
    """Run a proxy before `endpoint` (http, on this machine) in a process of its own, because forwarding takes time."""
    upstream = endpoint.rsplit(":", 1)[1].rstrip("/")
    command = [sys.executable, "-m", "benchmarks.training.delay_proxy", upstream, str(round_trip_ms)]
    with subprocess.Popen(
        command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        try:
            assert process.stdout is not None
            yield DelayProxy(process, int(process.stdout.readline()))
        finally:
            process.kill()


async def _serve(upstream: int, round_trip_s: float) -> None:
    traffic = Traffic()

    async def carry(client: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        shaken = time.monotonic() + round_trip_s
        server, server_writer = await asyncio.open_connection(_HOST, upstream)

        def sent(data: bytes) -> None:
            traffic.sent_bytes += len(data)
            traffic.requests += data.startswith(_REQUESTS)

        def received(data: bytes) -> None:
            traffic.received_bytes += len(data)

        await asyncio.gather(
            _one_way(client, server_writer, round_trip_s / 2, shaken, sent),
            _one_way(server, client_writer, round_trip_s / 2, 0.0, received),
        )

    listening = await asyncio.start_server(carry, _HOST, 0)
    sys.stdout.write(f"{listening.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        sys.stdout.write(json.dumps(asdict(traffic)) + "\n")
        sys.stdout.flush()


async def _one_way(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    delay_s: float,
    not_before: float,
    count: Callable[[bytes], None],
) -> None:
    """Forward each piece of data when its delay is over, however many pieces are waiting."""
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def read() -> None:
        data = b"-"
        while data:
            try:
                data = await reader.read(_CHUNK)
            except ConnectionError:
                data = b""
            count(data)
            await under_way.put((max(time.monotonic(), not_before) + delay_s, data))

    async def write() -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not data:
                break
            writer.write(data)
            with suppress(ConnectionError):
                await writer.drain()
        with suppress(ConnectionError, RuntimeError):
            writer.close()

    await asyncio.gather(read(), write())


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
