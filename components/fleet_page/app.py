"""The pages of the fleet, rendered on the server. Everybody who reads them is signed in; some may also act."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import parse_qs, quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from components.fleet_page.accounts import AccountsAway, FailedSignIns, Person
from components.fleet_page.acts import ACTS, MAX_REASON, Acts, NotAllowed, NotDone
from components.fleet_page.audit import AuditLog
from components.fleet_page.guard import Guard
from components.fleet_page.history import History
from components.fleet_page.metrics import fleet_metrics
from components.fleet_page.pictures import BAR, CHART, rollout_picture, verdict_chart
from components.fleet_page.rows import PAGE, counts_of, page_of, query_of, rows_for_each, rows_of
from components.fleet_page.sessions import COOKIE, SESSION_S, Session, Sessions, fits
from components.fleet_page.texts import TEXTS, choose_language
from components.fleet_page.watcher import Watcher
from components.metrics_text import CONTENT_TYPE, metrics_text
from components.stores.fleet.standing import Filter, GroupStanding
from components.stores.objects.s3 import ObjectStoreError
from inspection.rollout import RolloutState

_HERE: Final = Path(__file__).parent
LANGUAGE_COOKIE: Final = "kizu_language"
STALE: Final = timedelta(minutes=5)
_FORM_BYTES: Final = 8192
_FORM_S: Final = 10.0
_CHECKS_AT_ONCE: Final = 4


class Accounts(Protocol):
    """Says who somebody is."""

    def check(self, name: str, password: str) -> Person | None:
        """The person with this name and password; None where one of them is wrong."""


@dataclass(frozen=True, slots=True)
class Site:
    """Everything that the pages show and change."""

    watcher: Watcher
    history: History
    accounts: Accounts
    acts: Acts
    audit: AuditLog
    now: Callable[[], datetime]
    allowed_hosts: frozenset[str] = frozenset()


def make_app(site: Site) -> ASGIApp:
    """The ASGI application. `/healthz`, `/livez` and `/metrics` answer everybody; every page asks for a sign-in."""
    pages = _Pages(site)
    page = pages.signed_in
    app = Starlette(
        routes=[
            Route("/favicon.ico", lambda _: Response(status_code=204)),  # browsers always ask
            Route("/", page(pages.fleet)),
            Route("/groups/{use_case}/{group}", page(pages.group)),
            Route("/groups/{use_case}/{group}/{act}", page(pages.ask_act)),
            Route("/groups/{use_case}/{group}/{act}", pages.act, methods=["POST"]),
            Route("/devices/{device}", page(pages.device)),
            Route("/audit", page(pages.audit)),
            Route("/sign-in", pages.sign_in, methods=["GET", "POST"]),
            Route("/sign-out", pages.sign_out, methods=["POST"]),
            Route("/static/{name}", pages.static),
            Route("/livez", lambda _: PlainTextResponse("alive\n")),
            Route("/healthz", pages.healthz),
            Route("/metrics", pages.metrics),
        ]
    )
    return Guard(app, frozenset({"localhost", *(name.lower() for name in site.allowed_hosts)}))


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._sessions = Sessions()
        self._failed = FailedSignIns()
        self._failed_in_all = 0
        self._checking = asyncio.Semaphore(_CHECKS_AT_ONCE)
        self._lock = threading.Lock()
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"), autoescape=True, trim_blocks=True, undefined=StrictUndefined
        )
        self._static = {path.name: path for path in (_HERE / "static").iterdir()}

    # -- for everybody ------------------------------------------------------------------------------------------------

    def static(self, request: Request) -> Response:
        path = self._static.get(request.path_params["name"])
        return FileResponse(path) if path else PlainTextResponse("there is no such file\n", status_code=404)

    def healthz(self, request: Request) -> Response:
        snapshot = self._site.watcher.snapshot
        if snapshot.at is None or self._site.now() - snapshot.at > STALE:
            return PlainTextResponse("the fleet was not read lately; see the log\n", status_code=503)
        return PlainTextResponse("ok\n")

    def metrics(self, request: Request) -> Response:
        found = fleet_metrics(self._site.watcher.snapshot, self._site.now(), self._failed_in_all)
        return Response(metrics_text(found), media_type=CONTENT_TYPE)

    async def sign_in(self, request: Request) -> Response:
        if request.method == "GET":
            return self._render("sign_in.html", request, None, problem="")
        form, client = await _form(request), _client(request)
        if not self._failed.begin(client):
            wait = {"Retry-After": str(int(self._failed.wait_s(client)) + 1)}
            return self._render("sign_in.html", request, None, 429, wait, problem="too_many")
        try:
            async with self._checking:
                check = partial(self._site.accounts.check, form.get("account", "").strip(), form.get("password", ""))
                person = await run_in_threadpool(check)
        except AccountsAway:
            self._failed.not_checked(client)
            return self._render("sign_in.html", request, None, 503, problem="accounts_away")
        if person is None:
            with self._lock:
                self._failed_in_all += 1
            return self._render("sign_in.html", request, None, 403, problem="wrong")
        self._failed.succeeded(client)
        await run_in_threadpool(self._site.acts.signed_in, person, client)
        session = self._sessions.begin(person)
        answer = RedirectResponse(_own_path(request.query_params.get("to", "/")), 303)
        answer.set_cookie(
            COOKIE, session.cookie, max_age=int(SESSION_S), httponly=True, samesite="strict", path="/",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    async def sign_out(self, request: Request) -> Response:
        session, form = self._session(request), await _form(request)
        if session is None or not fits(session, form.get("csrf", "")):
            return self._render("sign_in.html", request, None, 403, problem="expired")
        self._sessions.end(session)
        answer = RedirectResponse("/sign-in", 303)
        answer.delete_cookie(COOKIE, path="/")
        return answer

    # -- for people who signed in -------------------------------------------------------------------------------------

    def signed_in(self, page: Callable[[Request, Session], Response]) -> Callable[[Request], Response]:
        """A page that leads to the sign-in where nobody is signed in."""

        def answer(request: Request) -> Response:
            session = self._session(request)
            if session is None:
                return RedirectResponse(f"/sign-in?to={quote(request.url.path)}", 303)
            return page(request, session)

        return answer

    def fleet(self, request: Request, session: Session) -> Response:
        asked = request.query_params
        chosen = Filter(
            group=asked.get("group", ""), use_case=asked.get("use_case", ""), state=asked.get("state", ""),
            late=asked.get("late") == "1", device=asked.get("device", ""), software=asked.get("software", ""),
        )  # fmt: skip
        snapshot = self._site.watcher.snapshot
        shown = chosen.apply(snapshot.standing)
        size = rows_for_each(len(shown.groups))
        groups = [(group, rows_of(group, 1, size), counts_of(group)) for group in shown.groups]
        return self._render(
            "fleet.html", request, session, chosen=chosen, groups=groups, everything=snapshot.standing.groups,
            query=query_of(chosen),
            chart=self._chart(timedelta(hours=24), 48, use_case=chosen.use_case, group=chosen.group),
        )  # fmt: skip

    def group(self, request: Request, session: Session) -> Response:
        found = self._group(request)
        if found is None:
            return self._render("missing.html", request, session, 404, said="no_group")
        use_case, snapshot, asked = found.desired.use_case, self._site.watcher.snapshot, request.query_params
        progress = snapshot.progress.get((use_case, found.group))
        software = found.desired.agent.rollout if found.desired.agent is not None else None
        chosen = Filter(
            state=asked.get("state", ""), late=asked.get("late") == "1", device=asked.get("device", ""),
            software=asked.get("software", ""),
        )  # fmt: skip
        shown = replace(found, devices=tuple(device for device in found.devices if chosen.includes(device)))
        return self._render(
            "group.html", request, session, group=found, plan=found.desired.rollout, progress=progress,
            stages=rollout_picture(found.desired, progress), acts=_possible_acts(found),
            may_act=session.person.may_act_on(use_case), said="done" if request.query_params.get("said") else "",
            rows=rows_of(shown, page_of(asked.get("page", "")), PAGE), counts=counts_of(shown), query=query_of(chosen),
            software=software, software_progress=snapshot.software.get((use_case, found.group)),
            chart=self._chart(timedelta(hours=24), 48, use_case=use_case, group=found.group),
        )  # fmt: skip

    def device(self, request: Request, session: Session) -> Response:
        name = request.path_params["device"]
        standings = [
            (group, device)
            for group in self._site.watcher.snapshot.standing.groups
            for device in group.devices
            if device.device == name
        ]
        changes = self._site.history.changes(name)
        if not standings and not changes:
            return self._render("missing.html", request, session, 404, said="no_device")
        return self._render(
            "device.html", request, session, name=name, standings=standings, changes=changes,
            day=self._chart(timedelta(hours=24), 48, device=name), week=self._chart(timedelta(days=7), 56, device=name),
        )  # fmt: skip

    def audit(self, request: Request, session: Session) -> Response:
        try:
            return self._render("audit.html", request, session, entries=self._site.audit.latest(), problem="")
        except ObjectStoreError as e:
            return self._render("audit.html", request, session, 503, entries=(), problem=str(e))

    def ask_act(self, request: Request, session: Session) -> Response:
        found, act = self._group(request), request.path_params["act"]
        if found is None or act not in _possible_acts(found):
            return self._render(
                "missing.html", request, session, 404, said="no_group" if found is None else "unknown_act"
            )
        return self._render_act(request, session, found, act, "" if self._may(session, found) else "may_not")

    async def act(self, request: Request) -> Response:
        session, form = self._session(request), await _form(request)
        if session is None or not fits(session, form.get("csrf", "")):
            return self._render("sign_in.html", request, None, 403, problem="expired")
        return await run_in_threadpool(self._perform, request, session, form)

    def _perform(self, request: Request, session: Session, form: Mapping[str, str]) -> Response:
        found, act = self._group(request), request.path_params["act"]
        sequence = form.get("sequence", "")
        if found is None or not sequence.isdecimal() or len(sequence) > 12:
            return self._render("missing.html", request, session, 404, said="no_group")
        use_case, group = found.desired.use_case, found.group
        try:
            self._site.acts.perform(
                session.person, _client(request), act, use_case, group, int(sequence), form.get("reason", "")
            )
        except NotAllowed as e:
            return self._render_act(request, session, found, act, str(e), status=403 if str(e) == "may_not" else 400)
        except NotDone as e:
            return self._render_act(request, session, found, act, "not_done", str(e), status=409)
        self._site.watcher.read()
        return RedirectResponse(f"/groups/{quote(use_case)}/{quote(group)}?said=done", 303)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _render_act(
        self, request: Request, session: Session, group: GroupStanding, act: str, problem: str, detail: str = "",
        status: int = 200,
    ) -> Response:  # fmt: skip
        known = act if act in ACTS else "pause"
        return self._render(
            "act.html", request, session, status, group=group, act=known, problem=problem, detail=detail,
            may_act=self._may(session, group), max_reason=MAX_REASON,
        )  # fmt: skip

    def _may(self, session: Session, group: GroupStanding) -> bool:
        return session.person.may_act_on(group.desired.use_case)

    def _group(self, request: Request) -> GroupStanding | None:
        return self._site.watcher.snapshot.group(request.path_params["use_case"], request.path_params["group"])

    def _session(self, request: Request) -> Session | None:
        return self._sessions.find(request.cookies.get(COOKIE, ""))

    def _chart(self, over: timedelta, parts: int, **of: str) -> Any:
        now = self._site.now()
        return verdict_chart(self._site.history.verdicts(now - over, now, parts, **of))

    def _render(
        self, template: str, request: Request, session: Session | None, status: int = 200,
        headers: Mapping[str, str] | None = None, **values: Any,
    ) -> Response:  # fmt: skip
        asked = request.query_params.get("lang", "")
        language = choose_language(
            asked or request.cookies.get(LANGUAGE_COOKIE, ""), request.headers.get("accept-language", "")
        )
        texts = TEXTS[language]
        html = self._templates.get_template(template).render(
            t=texts, word=partial(_word, texts), language=language, session=session,
            snapshot=self._site.watcher.snapshot, path=request.url.path, chart_size=CHART, bar_width=BAR,
            ago=partial(_ago, self._site.now()),
            step=lambda device: (texts[f"step_{device.next_step}"], texts[f"waits_{device.next_step}"]),
            **values,
        )  # fmt: skip
        answer = Response(html, status, headers, media_type="text/html; charset=utf-8")
        if asked in TEXTS:
            answer.set_cookie(LANGUAGE_COOKIE, asked, max_age=365 * 86_400, httponly=True, samesite="strict", path="/")
        return answer


def _possible_acts(group: GroupStanding) -> tuple[str, ...]:
    """What can be done to a group's rollout as it is."""
    plan = group.desired.rollout
    if plan is None:
        return ()
    if plan.state is RolloutState.RUNNING:
        return ("pause", "stop")
    return ("resume", "stop") if plan.state is RolloutState.PAUSED else ()


def _word(texts: Mapping[str, str], kind: str, word: object) -> str:
    """The text of a word on the wire; the word itself where this program does not know it."""
    return texts.get(f"{kind}_{word}", str(word))


def _ago(now: datetime, at: datetime) -> str:
    seconds = max(0, int((now - at).total_seconds()))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _client(request: Request) -> str:
    return request.client.host if request.client else "?"


def _own_path(path: str) -> str:
    """A path of this site; anything else is the first page: the address after a sign-in must not lead elsewhere."""
    plain = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if plain else "/"


async def _form(request: Request) -> dict[str, str]:
    """The fields of a small form; none where it is too long, too slow, or no form."""
    try:
        body = b""
        async with asyncio.timeout(_FORM_S):
            async for piece in request.stream():
                body += piece
                if len(body) > _FORM_BYTES:
                    return {}
        return {name: values[0] for name, values in parse_qs(body.decode(), max_num_fields=10).items()}
    except (ValueError, TimeoutError):
        return {}
