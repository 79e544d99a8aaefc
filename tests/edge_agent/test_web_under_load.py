"""The web server under wrong tokens, unfinished requests and more images than it can take."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from edge_agent.camera_config import HttpCamera
from edge_agent.config import Page
from edge_agent.errors import StateError
from edge_agent.outbox import Outbox
from edge_agent.recent_frames import RecentFrame
from edge_agent.sources.http import HttpSource, KeyReused, QueueFull
from edge_agent.web.access import Access
from edge_agent.web.connections import MAX_CONNECTIONS
from edge_agent.web.inspect import InspectEndpoint
from edge_agent.web.picture import Drawings
from edge_agent.web.server import PageServer
from inspection import sha256_of
from tests.edge_agent.models import GOOD, picture
from tests.edge_agent.outbox_items import LIMITS, result
from tests.edge_agent.servers import wait_for

RIGHT = "right-token-right-token"


def with_token(token: str, client: str = "10.0.0.7"):
    return SimpleNamespace(headers={"authorization": f"Bearer {token}"}, client=SimpleNamespace(host=client))


def test_a_wrong_token_closes_access_for_nobody():
    """A stranger who guesses, from any address, never makes the device refuse the right token."""
    access = Access(RIGHT, clock=lambda: 100.0)
    for _ in range(20):
        assert not access.has_token(with_token("wrong"))
        assert access.sign_in("wrong") is None
        assert access.has_token(with_token(RIGHT))
        assert access.sign_in(RIGHT) is not None


def test_the_answer_to_a_wrong_token_is_late_for_its_client_and_waits_hold_few_requests(monkeypatch):
    """A second request of the same client does not wait: it would only take up room."""
    waits = []
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await real_sleep(0)

    monkeypatch.setattr("edge_agent.web.access.asyncio.sleep", sleep)
    access = Access(RIGHT)

    async def guess() -> None:
        clients = ["10.0.0.1"] * 5 + [f"10.0.1.{number}" for number in range(50)]
        await asyncio.gather(*(access.slow_down(with_token("wrong", client)) for client in clients))

    asyncio.run(guess())
    assert waits == [1.0] * 8
    assert access._slowed == set()


@pytest.fixture
def server():
    """A web server on loopback with one page."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = Starlette(routes=[Route("/healthz", lambda _: PlainTextResponse("alive"))])
    server, stop = PageServer(app, Page(port=port)), threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    yield port
    stop.set()
    thread.join(10)


def health(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_health_is_answered_however_many_requests_are_unfinished(server):
    """Requests that never end give their places to those that are whole, the oldest first."""
    wait_for(lambda: health(server) == 200)
    unfinished = []
    for _ in range(MAX_CONNECTIONS + 60):
        connection = socket.create_connection(("127.0.0.1", server))
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        unfinished.append(connection)
    assert [health(server) for _ in range(5)] == [200] * 5
    for connection in unfinished:
        connection.close()


def source(**changes) -> HttpSource:
    return HttpSource(HttpCamera(source="http", **changes), threading.Event())


def post(endpoint: InspectEndpoint, body: list[bytes], headers: dict[str, str] | None = None):
    """One request to the endpoint; the answer, and how many pieces of the body were read."""
    read = [0]

    async def receive():
        read[0] += 1
        return {"type": "http.request", "body": body[read[0] - 1], "more_body": read[0] < len(body)}

    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {
        "type": "http", "method": "POST", "path": "/inspect", "query_string": b"", "headers": raw,
        "client": ("127.0.0.1", 1),
    }  # fmt: skip
    return asyncio.run(endpoint.answer(Request(scope, receive))), read[0]


def test_an_image_without_a_place_in_the_queue_is_not_read():
    """Forty senders of eight megabytes each would otherwise fill the memory before one of them is refused."""
    camera = source(queue=1)
    camera.submit(b"one", name="a", part_id=None, tell=lambda: None)
    answer, read = post(InspectEndpoint(camera, Access(RIGHT)), [b"x" * 1000] * 3)
    assert (answer.status_code, read) == (429, 0)


def test_a_place_counts_while_its_image_is_still_being_received():
    """It is free again when the image has arrived, or never does."""
    camera = source(queue=2)
    with camera.reserved(), camera.reserved(), pytest.raises(QueueFull):
        camera.reserved().__enter__()
    with camera.reserved():
        pass


def test_the_same_image_with_the_same_key_is_inspected_once():
    """A sender that lost the answer asks again and gets the result of before."""
    camera = source(timeout_s=0.05)
    endpoint = InspectEndpoint(camera, Access(RIGHT))
    data, key = picture(*GOOD), {"Idempotency-Key": "order-7"}
    told = []
    camera.submit(data, name="a", part_id=None, tell=lambda: told.append(1), key="order-7")
    assert post(endpoint, [data], key)[0].status_code == 429  # it has no result yet
    frame = camera.next(0.0)
    camera.done(frame, result(7))
    answer, _ = post(endpoint, [data], key)
    assert (answer.status_code, answer.body) == (200, result(7).to_json())
    assert camera.next(0.0) is None
    assert told == [1]
    assert post(endpoint, [picture(*GOOD, seed=9)], key)[0].status_code == 409


def test_a_key_that_was_answered_before_a_restart_gets_that_answer(tmp_path):
    """The image is not inspected again; another image with the key is refused."""
    data, key = picture(*GOOD), {"Idempotency-Key": "order-7"}
    recorded = replace(result(7), sha256=sha256_of(data))
    outbox = Outbox(tmp_path, LIMITS)
    outbox.record("c/1", recorded, None, publish=True, request_key="order-7")
    outbox.close()
    again = Outbox(tmp_path, LIMITS)
    camera = HttpSource(HttpCamera(source="http", timeout_s=0.05), threading.Event(), answers=again.answer)
    endpoint = InspectEndpoint(camera, Access(RIGHT))
    answer, _ = post(endpoint, [data], key)
    assert (answer.status_code, answer.body) == (200, recorded.to_json())
    assert camera.next(0.0) is None
    assert post(endpoint, [picture(*GOOD, seed=9)], key)[0].status_code == 409
    again.close()


def test_where_the_answers_cannot_be_read_the_outcome_is_unknown():
    """The sender is not told that its image was never judged, and the image is not judged twice."""

    def unreadable(key: str) -> None:
        raise StateError("the outbox cannot be read: disk I/O error")

    camera = HttpSource(HttpCamera(source="http", timeout_s=0.05), threading.Event(), answers=unreadable)
    answer, _ = post(InspectEndpoint(camera, Access(RIGHT)), [picture(*GOOD)], {"Idempotency-Key": "k"})
    assert answer.status_code == 503
    assert b"unknown-outcome" in answer.body
    assert b"disk I/O error" in answer.body
    assert camera.next(0.0) is None


def test_a_key_without_a_result_may_be_tried_again():
    """What timed out, or could not be judged, is no answer to keep."""
    camera = source()
    posted = camera.submit(b"1", name="a", part_id=None, tell=lambda: None, key="k")
    assert camera.withdraw(posted)
    camera.submit(b"1", name="a", part_id=None, tell=lambda: None, key="k")
    camera.reject(camera.next(0.0), "truncated", "no end")
    camera.submit(b"other", name="a", part_id=None, tell=lambda: None, key="k")
    with pytest.raises(QueueFull):
        camera.submit(b"other", name="a", part_id=None, tell=lambda: None, key="k")
    with pytest.raises(KeyReused):
        camera.submit(b"a third", name="a", part_id=None, tell=lambda: None, key="k")


def test_a_frame_is_drawn_once():
    """Each browser asks for each frame; a large one takes a second of processor time to draw."""
    drawn = []

    def make(frame: RecentFrame) -> bytes:
        drawn.append(frame.result.capture_id)
        return sha256_of(frame.data).encode()

    drawings = Drawings(make)
    frames = [RecentFrame(result(number), bytes([number])) for number in range(30)]
    for frame in frames:
        assert drawings.of(frame) == drawings.of(frame)
    assert len(drawn) == 30
    drawings.of(frames[29])
    drawings.of(frames[0])  # of long ago
    assert len(drawn) == 31
