"""The operator's page, probes and metrics. Pages are rendered here and load nothing from another host."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import uvicorn
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from edge_agent.config import Page
from edge_agent.errors import AlreadyLeft, ConfigError, EdgeError
from edge_agent.memory_budget import MemoryBudget
from edge_agent.objections import Objections
from edge_agent.ota.driver import Updates
from edge_agent.ota.operator_command import Command
from edge_agent.recent_frames import RecentFrame, RecentFrames
from edge_agent.sources.http import HttpSource
from edge_agent.status import Gauges
from edge_agent.web.access import COOKIE, SESSION_S, Access
from edge_agent.web.connections import MAX_CONNECTIONS, Connection
from edge_agent.web.guard import Guard
from edge_agent.web.inspect import InspectEndpoint, TooLarge, read_body
from edge_agent.web.metrics import Metrics
from edge_agent.web.picture import Drawings, NoRoom, draw
from edge_agent.web.texts import TEXTS, choose_language
from inspection import ImageError
from inspection.region import Region

_log = logging.getLogger(__name__)

_HERE: Final = Path(__file__).parent
_FORM_BYTES: Final = 4096
_FORM_S: Final = 10.0
_SAID: Final = ("objection", "rolled_back", "left_already")


@dataclass(frozen=True, slots=True)
class Site:
    """Everything that the pages show and change.

    budget: the memory that a frame is drawn in. regions: by camera, what of its pictures is judged; all of them where
    it is not there.
    """

    gauges: Gauges
    recent: RecentFrames
    page: Page
    access: Access
    objections: Objections
    updates: Updates
    metrics: Metrics
    budget: MemoryBudget
    regions: Mapping[str, Region] = field(default_factory=dict)


def make_app(site: Site, inspect: HttpSource | None = None) -> ASGIApp:
    """The ASGI application.

    Args:
        inspect: the camera for posted images; None makes no `POST /inspect`.
    """
    pages = _Pages(site)
    routes: list[BaseRoute] = [
        Route("/favicon.ico", lambda _: Response(status_code=204)),  # browsers always ask
        Route("/", pages.index),
        Route("/live", pages.live),
        Route("/status.json", pages.status),
        Route("/frames/{capture_id}.jpg", pages.picture),
        Route("/frames/{capture_id}/objection", pages.objection, methods=["POST"]),
        Route("/sign-in", pages.sign_in, methods=["GET", "POST"]),
        Route("/sign-out", pages.sign_out, methods=["POST"]),
        Route("/rollback", pages.roll_back, methods=["GET", "POST"]),
        Route("/pin", pages.pin, methods=["POST"]),
        Route("/unpin", pages.unpin, methods=["POST"]),
        Route("/static/{name}", pages.static),
        Route("/healthz", pages.healthz),
        Route("/readyz", pages.readyz),
        Route("/metrics", pages.metrics),
    ]
    if inspect is not None:
        routes.append(Route("/inspect", InspectEndpoint(inspect, site.access).answer, methods=["POST"]))
    allowed = {"localhost", site.page.host, *site.page.allowed_hosts}
    return Guard(Starlette(routes=routes), frozenset(name.lower() for name in allowed))


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"), autoescape=True, trim_blocks=True, undefined=StrictUndefined
        )
        self._drawings = Drawings(lambda frame: draw(frame, site.budget, site.regions.get(frame.result.camera)))
        self._static = {path.name: path for path in (_HERE / "static").iterdir()}

    # -- what is shown ------------------------------------------------------------------------------------------------

    def index(self, request: Request) -> Response:
        said = request.query_params.get("said", "")
        return self._render("page.html", request, said=said if said in _SAID else "", **self._live(request))

    def live(self, request: Request) -> Response:
        return self._render("live.html", request, **self._live(request))

    def status(self, request: Request) -> Response:
        return JSONResponse(self._site.gauges.as_json())

    def picture(self, request: Request) -> Response:
        frame = self._site.recent.find(request.path_params["capture_id"])
        if frame is None:
            return PlainTextResponse("this frame is no longer kept\n", status_code=404)
        try:
            return Response(self._drawings.of(frame), media_type="image/jpeg")
        except ImageError as e:
            return PlainTextResponse(f"{e}\n", status_code=404)
        except NoRoom as e:
            return PlainTextResponse(f"{e}\n", 503, {"Retry-After": "2"})

    def static(self, request: Request) -> Response:
        path = self._static.get(request.path_params["name"])
        return FileResponse(path) if path else PlainTextResponse("there is no such file\n", status_code=404)

    def healthz(self, request: Request) -> Response:
        return _word(self._site.gauges.alive(), "alive", "the inspection loop is silent")

    def readyz(self, request: Request) -> Response:
        gauges = self._site.gauges
        return _word(gauges.ready(), "ready", gauges.health.problem or "no release yet")

    def metrics(self, request: Request) -> Response:
        return Response(self._site.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    # -- what is changed ----------------------------------------------------------------------------------------------

    async def sign_in(self, request: Request) -> Response:
        if request.method == "GET":
            return self._render("sign_in.html", request, problem="")
        session = self._site.access.sign_in((await _form(request)).get("token", "").strip())
        if session is None:
            await self._site.access.slow_down(request)
            return self._render("sign_in.html", request, 403, problem="wrong_token")
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, session.key, max_age=int(SESSION_S), httponly=True, samesite="strict")
        return answer

    async def sign_out(self, request: Request) -> Response:
        if not await self._allowed(request):
            return await self._refused(request)
        self._site.access.sign_out(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(COOKIE)
        return answer

    async def objection(self, request: Request) -> Response:
        if not await self._allowed(request):
            return await self._refused(request)
        frame = self._site.recent.find(request.path_params["capture_id"])
        if frame is None:
            return PlainTextResponse("this frame is no longer kept\n", status_code=404)
        return await _done("objection", lambda: self._object_to(frame))

    async def roll_back(self, request: Request) -> Response:
        if request.method == "GET":
            return self._render("rollback.html", request, status=self._site.gauges.as_json())
        form = await self._form(request)
        if not self._may_change(request, form):
            return await self._refused(request)
        # A form names the release that it leaves: pressed twice, it must not go back twice.
        leaves = form.get("leaves") or request.query_params.get("digest")
        if leaves is None and "authorization" not in request.headers:
            return PlainTextResponse("expected the release that is left; open the page anew\n", status_code=400)
        return await self._obey(Command("rollback", leaves), "rolled_back")

    async def pin(self, request: Request) -> Response:
        if not await self._allowed(request):
            return await self._refused(request)
        return await self._obey(Command("pin", request.query_params.get("digest")), "pinned")

    async def unpin(self, request: Request) -> Response:
        if not await self._allowed(request):
            return await self._refused(request)
        return await self._obey(Command("unpin"), "unpinned")

    # -- inside -------------------------------------------------------------------------------------------------------

    def _object_to(self, frame: RecentFrame) -> str:
        self._site.objections.object_to(frame.result, frame.data)
        return "the frame goes back as an objection"

    async def _obey(self, command: Command, said: str) -> Response:
        return await _done(said, lambda: self._site.updates.obey(command))

    async def _allowed(self, request: Request) -> bool:
        return self._may_change(request, await self._form(request))

    async def _form(self, request: Request) -> dict[str, str]:
        return {} if "authorization" in request.headers else await _form(request)

    def _may_change(self, request: Request, form: dict[str, str]) -> bool:
        return self._site.access.may_change(request, form.get("csrf", ""))

    async def _refused(self, request: Request) -> Response:
        if "authorization" in request.headers:
            await self._site.access.slow_down(request)
            return PlainTextResponse("that is not the operator's token\n", 401, {"WWW-Authenticate": "Bearer"})
        return self._render("sign_in.html", request, 403, problem="expired")

    def _live(self, request: Request) -> dict[str, Any]:
        site = self._site
        return {"status": site.gauges.as_json(), "frames": site.recent.all(), "objected": site.objections.made()}

    def _render(self, template: str, request: Request, status_code: int = 200, **values: Any) -> Response:
        language = choose_language(
            request.query_params.get("lang") or self._site.page.language, request.headers.get("accept-language", "")
        )
        zone = self._site.gauges.config.zone
        html = self._templates.get_template(template).render(
            local=lambda at: at.astimezone(zone),
            t=TEXTS[language],
            language=language,
            session=self._site.access.session(request),
            **values,
        )
        return Response(html, status_code, media_type="text/html; charset=utf-8")


async def _form(request: Request) -> dict[str, str]:
    try:
        async with asyncio.timeout(_FORM_S):
            body = await read_body(request, _FORM_BYTES)
        return {name: values[0] for name, values in parse_qs(body.decode(), max_num_fields=10).items()}
    except (TooLarge, ValueError, TimeoutError):
        return {}


async def _done(said: str, act: Callable[[], str]) -> Response:
    """Act, then lead a browser back to the page. The body is what `act` answers, for a program such as `kizu-edge`."""
    try:
        answer = await run_in_threadpool(act)
    except AlreadyLeft as e:
        # 409 for a program; a browser that pressed twice is shown the page, which names what runs.
        return PlainTextResponse(f"{e}\n", 409, {"Refresh": "0; url=/?said=left_already"})
    except EdgeError as e:
        return PlainTextResponse(f"{e}\n", status_code=409)
    return PlainTextResponse(f"{answer}\n", 303, {"Location": f"/?said={said}"})


class PageServer:
    """Runs uvicorn in a thread. The port is bound at once, so that a port in use is an error at the start.

    Raises:
        ConfigError: the port cannot be bound.
    """

    def __init__(self, app: ASGIApp, page: Page) -> None:
        family = socket.AF_INET6 if ":" in page.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((page.host, page.port))
        except OSError as e:
            self._socket.close()
            raise ConfigError(f"cannot serve the page on {page.host}:{page.port}: {e.strerror}; set page.port") from e
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                lifespan="off",
                server_header=False,
                ws="none",
                proxy_headers=False,
                http=Connection,
                # Connections that answer are never ended for others; beyond this many, more are answered 503.
                limit_concurrency=MAX_CONNECTIONS + 50,
                timeout_graceful_shutdown=3,
            )
        )

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set."""
        watcher = threading.Thread(target=self._leave_with, args=(stop,), name="page-stop", daemon=True)
        watcher.start()
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def close(self) -> None:
        """Release the port where `run` was never called."""
        self._socket.close()

    def _leave_with(self, stop: threading.Event) -> None:
        stop.wait()
        self._server.should_exit = True


def http_source(sources: Sequence[object]) -> HttpSource | None:
    """The camera that posted images go to; None where none is configured."""
    return next((source for source in sources if isinstance(source, HttpSource)), None)


def _word(good: bool, yes: str, no: str) -> Response:
    return PlainTextResponse(f"{yes if good else no}\n", status_code=200 if good else 503)
