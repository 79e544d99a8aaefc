"""`POST /inspect`: a PLC or MES sends an image and waits for its verdict."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from edge_agent.sources.http import HttpSource, KeyReused, Posted, QueueFull, UnknownOutcome
from edge_agent.sources.metadata import MetadataError, checked_text
from edge_agent.web.access import Access, is_local
from inspection import image_format
from inspection.image import EXTENSIONS, ImageError

_DRAWING_S: Final = 2.0


class TooLarge(Exception):
    """A body has more bytes than the limit."""


async def read_body(request: Request, limit: int) -> bytes:
    """Read the body of a request, and never more of it than `limit` bytes.

    Raises:
        TooLarge: the body is longer.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise TooLarge
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise TooLarge
        pieces.append(piece)
    return b"".join(pieces)


class InspectEndpoint:
    """Answers with the result as JSON. The body is the image; `?part_id=` names the part and `?name=` the file.

    With the header `Idempotency-Key`, the same image sent again gets the result of before. 400: a part, name or key
    that is no short printable text. 401: no token, and not from this machine. 408: the image did not arrive in time.
    409: the key came with another image before. 413: too large. 422: no usable image. 429: too many images wait. 500:
    an error that nobody foresaw. 503: no verdict in time, the agent stops, or it cannot be told whether the key was
    judged before.
    """

    def __init__(self, source: HttpSource, access: Access) -> None:
        self._source = source
        self._access = access

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        if not (is_local(request) or self._access.has_token(request)):
            if "authorization" in request.headers:
                await self._access.slow_down(request)
            return PlainTextResponse(
                "expected the operator's token: Authorization: Bearer …\n", 401, {"WWW-Authenticate": "Bearer"}
            )
        announced = request.headers.get("content-length", "")
        size = int(announced) if announced.isdigit() else self._source.max_bytes
        size = min(size, self._source.max_bytes)
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAWING_S):
                while self._source.budget.is_drawing() and self._source.budget.free_bytes() < size:
                    await asyncio.sleep(0.02)  # the page gives its room back in a moment
        with self._source.budget.holding(size) as has_room:
            if not has_room:
                said = "the memory for images (memory.image_bytes) is taken; send this one again in a moment"
                return PlainTextResponse(f"{said}\n", 429, {"Retry-After": "1", "Connection": "close"})
            return await self._inspect(request)

    async def _inspect(self, request: Request) -> Response:
        limit = self._source.max_bytes
        try:
            name = checked_text(request.query_params.get("name"), "name")
            part_id = checked_text(request.query_params.get("part_id"), "part_id")
            key = checked_text(request.headers.get("idempotency-key"), "Idempotency-Key")
        except MetadataError as e:
            return PlainTextResponse(f"bad-metadata: {e}\n", 400, {"Connection": "close"})
        try:
            # The place comes first: bodies that nothing will inspect must not fill the memory.
            with self._source.reserved():
                async with asyncio.timeout(self._source.timeout_s):
                    data = await read_body(request, limit)
            name = name or f"posted.{EXTENSIONS[image_format(data)]}"
        except QueueFull as e:
            return PlainTextResponse(f"{e}\n", 429, {"Retry-After": "1", "Connection": "close"})
        except TimeoutError:
            return PlainTextResponse("the image did not arrive in time\n", 408, {"Connection": "close"})
        except TooLarge:
            # The rest of the body is not read, so the connection must end with this answer.
            return PlainTextResponse(f"expected at most {limit} bytes\n", 413, {"Connection": "close"})
        except ImageError as e:
            return PlainTextResponse(f"{e.reason}: {e}\n", 422)
        loop, answered = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # the server has ended, so no request waits any more
                loop.call_soon_threadsafe(answered.set)

        try:
            if key is not None:
                await run_in_threadpool(self._source.recall, key)
            posted = self._source.submit(data, name=name, part_id=part_id, tell=tell, key=key)
        except QueueFull as e:
            return PlainTextResponse(f"{e}\n", 429, {"Retry-After": "1"})
        except KeyReused as e:
            return PlainTextResponse(f"{e}\n", 409)
        except UnknownOutcome as e:
            return PlainTextResponse(f"unknown-outcome: {e}\n", 503, {"Retry-After": "1"})
        with suppress(TimeoutError):
            await asyncio.wait_for(answered.wait(), self._source.timeout_s)
        if not answered.is_set() and not self._source.withdraw(posted):
            with suppress(TimeoutError):  # it is being inspected now
                await asyncio.wait_for(answered.wait(), self._source.timeout_s)
        return _answer(posted)


def _answer(posted: Posted) -> Response:
    if posted.result is not None:
        return Response(posted.result.to_json(), media_type="application/json")
    if posted.problem is None:
        return PlainTextResponse("no verdict in time; see /readyz for why, and send it again\n", 503)
    reason, message = posted.problem
    return PlainTextResponse(f"{reason}: {message}\n", {"stopping": 503, "unexpected": 500}.get(reason, 422))
