"""The signer over HTTP: who asks is asked first, and a request is small before it is read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from components.deployment.agent_orders import MAX_DOCUMENT_BYTES, MAX_WHEEL_BYTES, AgentRequest
from components.deployment.callers import Callers, Right
from components.deployment.pruning import Prunable, PrunableAgent
from components.deployment.release import ReleaseError
from components.deployment.rollout_steps import Asked, Step
from components.deployment.shadow_orders import ShadowRequest, as_json
from components.deployment.upkeep import Upkeep
from components.stores.models.approval import ApprovalError
from components.stores.models.registry import ModelRegistryError, NoSuchModel
from components.stores.objects.s3 import ObjectStoreError
from components.stores.releases.repository import RepositoryError
from inspection.agent_release import AgentRelease, WheelFile
from inspection.codec import DocumentError, canonical_json
from inspection.documents import Candidate, DesiredState, Release
from inspection.paths import check_name, check_sha256
from inspection.rollout import PausedFor

_log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 4096
MAX_ORDER_BYTES: Final = 65_536
"""An order of software by stages names devices and rules of each stage, and pruning all digests that are in use."""
BODY_TIMEOUT_S: Final = 10.0
WHEEL_TIMEOUT_S: Final = 600.0
MAX_FLOOR: Final = 10**12
_REFUSALS = (ApprovalError, ReleaseError, NoSuchModel, DocumentError, ValueError, RecursionError)
_FAILURES = (ModelRegistryError, ObjectStoreError, RepositoryError)


class Operations(Protocol):
    """What the signer does for its callers."""

    def publish_release(self, model: str, version: int) -> str:
        """Publish a release; returns its digest."""

    def publish_desired(
        self, model: str, version: int, *, again: bool, downgrade: bool, pin: bool, by: str, reason: str
    ) -> DesiredState:
        """Begin the rollout of a release to its group."""

    def step(self, use_case: str, group: str, asked: Asked) -> DesiredState:
        """Take a group's rollout one step on."""

    def recover(self, model: str, version: int, *, sequence_above: int, metadata_above: int) -> DesiredState:
        """Publish release and desired state with numbers above what devices have seen."""

    def shadow(self, model: str, version: int, order: ShadowRequest) -> DesiredState:
        """Have a version judge beside the running release on some devices."""

    def end_shadow(self, use_case: str, group: str) -> DesiredState:
        """Have no candidate judge in a group any more."""

    def missing_wheels(self, release: AgentRelease) -> tuple[WheelFile, ...]:
        """The wheels whose bytes are not here yet."""

    def upload_wheel(self, wheel: WheelFile, data: bytes) -> None:
        """Put the bytes of a wheel."""

    def publish_agent(self, release: AgentRelease) -> str:
        """Publish a release of the agent; returns its digest."""

    def order_agent(self, request: AgentRequest) -> DesiredState:
        """Order the agent's software for a group."""

    def step_agent(self, use_case: str, group: str, asked: Asked) -> DesiredState:
        """Take the rollout of a group's software one step on."""

    def prune_agents(self, used: Iterable[str], newest: int, *, act: bool) -> list[PrunableAgent]:
        """Delete the wheels of the agent's software that nobody needs."""

    def agent_releases(self) -> list[AgentRelease]:
        """All published releases of the agent."""

    def candidate(self, digest: str) -> Candidate | None:
        """A candidate; None if it was not published."""

    def prune(self, used: Iterable[str], newest: int, *, act: bool) -> list[Prunable]:
        """Delete the files of releases that nobody needs."""

    def desired(self, use_case: str, group: str) -> DesiredState | None:
        """A desired state; None if none was published."""

    def desired_names(self) -> list[tuple[str, str]]:
        """(use case, group) of every desired state."""

    def release(self, digest: str) -> Release | None:
        """A release; None if it was not published."""


def make_app(signer: Operations, callers: Callers, upkeep: Upkeep) -> Starlette:
    """Make the HTTP application.

    It serves POST /releases, POST /desired, POST /rollout, POST /recover, POST /prune, POST /shadow, POST /shadow/end,
    POST /agent, POST /agent/missing, PUT /agent/wheels/{sha256}/{file}, POST /agent/order, POST /agent/rollout,
    POST /agent/prune, GET /agent, GET /desired, GET /desired/{use_case}/{group}, GET /releases/{digest} and
    GET /candidates/{digest} to callers with a token and the right. GET /livez, GET /healthz and GET /metrics say to
    everybody how the signer is.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=upkeep.run, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=5)

    def act(
        path: str,
        right: Right,
        operation: Callable[[Operations, dict[str, Any]], dict[str, Any]],
        max_bytes: int = MAX_BODY_BYTES,
    ) -> Route:
        return Route(path, _Guard(callers, right, _Act(partial(operation, signer), max_bytes)), methods=["POST"])

    def read(path: str, operation: Callable[..., Any]) -> Route:
        return Route(path, _Guard(callers, Right.READ, _Read(operation)), methods=["GET"])

    return Starlette(
        routes=[
            Route("/livez", _live, methods=["GET"]),
            Route("/healthz", lambda _: _health(upkeep), methods=["GET"]),
            Route("/metrics", lambda _: _metrics(upkeep), methods=["GET"]),
            act("/releases", Right.PUBLISH, _publish_release),
            act("/desired", Right.PUBLISH, _publish_desired),
            act("/rollout", Right.ROLLOUT, _step),
            act("/recover", Right.RECOVER, _recover),
            act("/shadow", Right.SHADOW, _shadow),
            act("/shadow/end", Right.SHADOW, _end_shadow),
            act("/prune", Right.RECOVER, _prune, MAX_ORDER_BYTES),
            act("/agent", Right.AGENT, _publish_agent, MAX_DOCUMENT_BYTES),
            act("/agent/missing", Right.AGENT, _missing_wheels, MAX_DOCUMENT_BYTES),
            act("/agent/order", Right.AGENT, _order_agent, MAX_ORDER_BYTES),
            act("/agent/rollout", Right.ROLLOUT, _step_agent),
            act("/agent/prune", Right.AGENT, _prune_agents, MAX_ORDER_BYTES),
            Route("/agent/wheels/{sha256}/{file}", _Guard(callers, Right.AGENT, _TakeWheel(signer)), methods=["PUT"]),
            read("/agent", lambda: _Agents(signer.agent_releases())),
            read("/desired", lambda: _Names(signer.desired_names())),
            read("/desired/{use_case}/{group}", signer.desired),
            read("/releases/{digest}", signer.release),
            read("/candidates/{digest}", signer.candidate),
        ],
        lifespan=lifespan,
    )


def _publish_release(signer: Operations, body: dict[str, Any]) -> dict[str, Any]:
    return {"release_digest": signer.publish_release(*_model_and_version(body))}


def _publish_desired(signer: Operations, body: dict[str, Any]) -> dict[str, Any]:
    again, downgrade, pin = (_flag(body, name) for name in ("again", "downgrade", "pin"))
    by, reason = (_text(body, name) for name in ("by", "reason"))
    model, version = _model_and_version(body)
    said = signer.publish_desired(model, version, again=again, downgrade=downgrade, pin=pin, by=by, reason=reason)
    return _said(said)


def _step(signer: Operations, body: dict[str, Any]) -> dict[str, Any]:
    return _said(signer.step(*_asked(body)))


def _step_agent(signer: Operations, body: dict[str, Any]) -> dict[str, Any]:
    return _said(signer.step_agent(*_asked(body)))


def _asked(body: dict[str, Any]) -> tuple[str, str, Asked]:
    """Product, group, and the step that is asked for."""
    use_case, group, by = (_text(body, name) for name in ("use_case", "group", "by"))
    reason, paused_for = _text(body, "reason"), _text(body, "paused_for") or PausedFor.PERSON
    step, sequence, devices = body.pop("step", None), body.pop("sequence", None), body.pop("devices", [])
    if not isinstance(sequence, int) or isinstance(sequence, bool):
        raise ValueError(f"expected a whole number for sequence, but got {sequence!r}")
    if not isinstance(devices, list) or not all(isinstance(name, str) for name in devices):
        raise ValueError(f"expected a list of names for devices, but got {devices!r}")
    if step not in list(Step):
        raise ValueError(f"expected one of {', '.join(Step)} for step, but got {step!r}")
    if body or not by:
        raise ValueError(f"expected by, and no other keys than those of a step, but got {sorted(body)}")
    asked = Asked(Step(step), sequence, by, reason, tuple(devices), PausedFor(paused_for))
    return check_name("use case", use_case), check_name("group", group), asked


def _recover(signer: Operations, body: dict[str, Any]) -> dict[str, Any]:
    floors = {name: body.pop(name, 0) for name in ("sequence_above", "metadata_above")}
    for name, value in floors.items():
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_FLOOR:
            raise ValueError(f"expected a whole number from 0 to {MAX_FLOOR} for {name}, but got {value!r}")
    return _said(signer.recover(*_model_and_version(body), **floors))


def _shadow(signer: Operations, body: dict[str, Any]) -> dict[str, Any]:
    request = ShadowRequest.from_json({name: body.pop(name, None) for name in ("devices", "share", "cpu_share")})
    return as_json(signer.shadow(*_model_and_version(body), request))


def _end_shadow(signer: Operations, body: dict[str, Any]) -> dict[str, Any]:
    use_case, group = body.get("use_case"), body.get("group")
    if set(body) != {"use_case", "group"} or not isinstance(use_case, str) or not isinstance(group, str):
        raise ValueError(f'expected {{"use_case": "<name>", "group": "<name>"}}, but got the keys {sorted(body)}')
    return as_json(signer.end_shadow(check_name("use case", use_case), check_name("group", group)))


def _publish_agent(signer: Operations, body: dict[str, Any]) -> dict[str, Any]:
    return {"digest": signer.publish_agent(AgentRelease.from_json(canonical_json(body)))}


def _missing_wheels(signer: Operations, body: dict[str, Any]) -> dict[str, Any]:
    found = signer.missing_wheels(AgentRelease.from_json(canonical_json(body)))
    return {"missing": [wheel.sha256 for wheel in found]}


def _order_agent(signer: Operations, body: dict[str, Any]) -> dict[str, Any]:
    return as_json(signer.order_agent(AgentRequest.from_json(body)))


def _prune(signer: Operations, body: dict[str, Any]) -> dict[str, Any]:
    used, newest, act = _what_stays(body)
    found = signer.prune(used, newest, act=act)
    return {
        "pruned": [
            {"digest": item.digest, "use_case": item.use_case, "version": item.version, "bytes": item.bytes}
            for item in found
        ]
    }


def _prune_agents(signer: Operations, body: dict[str, Any]) -> dict[str, Any]:
    used, newest, act = _what_stays(body)
    found = signer.prune_agents(used, newest, act=act)
    return {"pruned": [{"digest": item.digest, "version": item.version, "bytes": item.bytes} for item in found]}


def _what_stays(body: dict[str, Any]) -> tuple[list[str], int, bool]:
    """The digests that are used, how many of the newest stay, and whether anything is deleted."""
    used, newest, act = body.pop("used", None), body.pop("newest", None), _flag(body, "act")
    if not isinstance(used, list) or not all(isinstance(digest, str) for digest in used):
        raise ValueError(f"expected a list of digests for used, but got {used!r}")
    if not isinstance(newest, int) or isinstance(newest, bool) or newest < 1 or body:
        raise ValueError(f"expected newest, a whole number from 1 on, and no other key, but got {newest!r}")
    return [check_sha256(digest) for digest in used], newest, act


def _said(state: DesiredState) -> dict[str, Any]:
    return {"sequence": state.sequence, "release_digest": state.ordered}


def _text(body: dict[str, Any], name: str) -> str:
    value = body.pop(name, "")
    if not isinstance(value, str):
        raise ValueError(f"expected a text for {name}, but got {value!r}")
    return value


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.pop(name, False)
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false for {name}, but got {value!r}")
    return value


def _model_and_version(body: dict[str, Any]) -> tuple[str, int]:
    unknown = sorted(set(body) - {"model", "version"})
    model, version = body.get("model"), body.get("version")
    if unknown or not isinstance(model, str) or not isinstance(version, int) or isinstance(version, bool):
        raise ValueError(f'expected {{"model": "<name>", "version": <number>}}, but got the keys {sorted(body)}')
    return check_name("model", model), version


async def _live(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _health(upkeep: Upkeep) -> Response:
    found = upkeep.health()
    said = {"status": "ok"} if found.ok else {"status": "failing", "error": found.said}
    expires = {role: at.isoformat() for role, at in found.expires.items()}
    return JSONResponse({**said, "expires": expires}, 200 if found.ok else 503)


def _metrics(upkeep: Upkeep) -> Response:
    found = upkeep.health()
    lines = [
        "# HELP kizu_signer_ok 1 while renewals and rotated keys work and nothing has expired.",
        "# TYPE kizu_signer_ok gauge",
        f"kizu_signer_ok {int(found.ok)}",
        "# HELP kizu_signer_metadata_expires_seconds When the metadata of a role expire, in seconds since 1970.",
        "# TYPE kizu_signer_metadata_expires_seconds gauge",
        *(
            f'kizu_signer_metadata_expires_seconds{{role="{role}"}} {at.timestamp():.0f}'
            for role, at in found.expires.items()
        ),
    ]
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


class _Guard:
    """Lets a caller with the right through: 401 for a token that is nobody's, 403 for one without the right.

    It reads no body, and no token is logged.
    """

    def __init__(self, callers: Callers, right: Right, inner: Any) -> None:
        self._callers = callers
        self._right = right
        self._inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope)
        caller = self._callers.who(request.headers.get("authorization"))
        refused = None
        if caller is None:
            said = "expected the token of a caller in the header Authorization: Bearer …; set KIZU_SIGNER_TOKEN"
            refused = JSONResponse({"error": said}, 401, {"WWW-Authenticate": "Bearer"})
        elif self._right not in caller.rights:
            refused = JSONResponse({"error": f"{caller.name} has no right to {self._right} here"}, 403)
        name = caller.name if caller else "nobody known"
        where = request.client.host if request.client else "?"
        if refused is not None:
            _log.warning("refused %s %s from %s: %s", request.method, request.url.path, where, name)
            await refused(scope, receive, send)
            return
        if request.method != "GET":
            _log.info("%s %s from %s: %s", request.method, request.url.path, where, name)
        await self._inner(scope, receive, send)


class _Act:
    """Answers a POST with a small JSON object: 409 if the signer refuses, 502 if MLflow or S3 fails."""

    def __init__(self, act: Any, max_bytes: int = MAX_BODY_BYTES) -> None:
        self._act = act
        self._max_bytes = max_bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        await (await self._respond(request))(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                raw = await _bounded_body(request, self._max_bytes)
        except TimeoutError:
            return JSONResponse({"error": f"expected the whole request within {BODY_TIMEOUT_S:g} s"}, 408)
        if raw is None:
            return JSONResponse({"error": f"expected at most {self._max_bytes} bytes"}, 413)
        try:
            body = json.loads(raw) if raw else {}
            if not isinstance(body, dict):
                raise ValueError("expected a JSON object")
            return JSONResponse(await run_in_threadpool(self._act, body))
        except _FAILURES as e:
            if isinstance(e, NoSuchModel):
                return JSONResponse({"error": str(e)}, 409)
            _log.error("%s failed: %s", request.url.path, e)
            return JSONResponse({"error": str(e)}, 502)
        except _REFUSALS as e:
            _log.warning("refused %s: %s", request.url.path, e)
            return JSONResponse({"error": str(e)}, 409)


class _TakeWheel:
    """Takes the bytes of one wheel, one request at a time: they lie in memory until they are in the store."""

    def __init__(self, signer: Operations) -> None:
        self._signer = signer
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        async with self._turn:
            response = await self._respond(request)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(WHEEL_TIMEOUT_S):
                raw = await _bounded_body(request, MAX_WHEEL_BYTES)
        except TimeoutError:
            return JSONResponse({"error": f"expected the whole wheel within {WHEEL_TIMEOUT_S:g} s"}, 408)
        if raw is None:
            return JSONResponse({"error": f"expected at most {MAX_WHEEL_BYTES} bytes"}, 413)
        try:
            wheel = WheelFile(**request.path_params, bytes=len(raw))
            await run_in_threadpool(self._signer.upload_wheel, wheel, raw)
        except (ValueError, RepositoryError) as e:
            return JSONResponse({"error": str(e)}, 409)
        except ObjectStoreError as e:
            return JSONResponse({"error": str(e)}, 502)
        return JSONResponse({"sha256": wheel.sha256})


async def _bounded_body(request: Request, max_bytes: int = MAX_BODY_BYTES) -> bytes | None:
    """The body, or None where it is too long. Nothing is read of a body that says that it is."""
    said = request.headers.get("content-length", "")
    if said and (not said.isdecimal() or len(said) > 9 or int(said) > max_bytes):
        return None
    raw = bytearray()
    async for piece in request.stream():
        raw += piece
        if len(raw) > max_bytes:
            return None
    return bytes(raw)


@dataclass(frozen=True, slots=True)
class _Names:
    """(use case, group) of the published desired states."""

    names: list[tuple[str, str]]

    def to_json(self) -> bytes:
        """As `SignerClient.desired_names` reads it."""
        return canonical_json({"desired": [{"use_case": use_case, "group": group} for use_case, group in self.names]})


@dataclass(frozen=True, slots=True)
class _Agents:
    """The published releases of the agent."""

    releases: list[AgentRelease]

    def to_json(self) -> bytes:
        """As `SignerClient.agent_releases` reads it."""
        return canonical_json({"agent": [json.loads(release.to_json()) for release in self.releases]})


class _Read:
    """Answers a GET of a published document. read: takes the parameters of the path by name."""

    def __init__(self, read: Callable[..., Any]) -> None:
        self._read = read

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        try:
            document = await run_in_threadpool(self._read, **request.path_params)
        except ValueError as e:
            response: Response = JSONResponse({"error": str(e)}, 400)
        except _FAILURES as e:
            response = JSONResponse({"error": str(e)}, 502)
        else:
            response = (
                JSONResponse({"error": "not published"}, 404)
                if document is None
                else Response(document.to_json(), media_type="application/json")
            )
        await response(scope, receive, send)
