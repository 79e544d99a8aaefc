"""The signer: the only process that holds the targets, snapshot and timestamp keys.

It receives requests over HTTP to publish a model version or a desired state. It reads MLflow itself, checks everything
again, and signs. A request names a version, never content, so a caller cannot make the signer sign bytes of its choice.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from components.deployment.keys import KeysError, load_chain
from components.deployment.release import ReleaseError, build_release, require_comparison
from components.deployment.upkeep import Upkeep
from components.settings import Settings, SettingsError, settings
from components.stores.models.approval import ApprovalError
from components.stores.models.registry import ModelRegistry, ModelRegistryError, NoSuchModel
from components.stores.objects.s3 import ObjectStoreError, S3ObjectStore
from components.stores.releases.repository import ReleaseRepository, RepositoryError
from components.use_case import Rollout
from inspection.codec import DocumentError, canonical_json
from inspection.documents import DesiredState, Release, Wave
from inspection.paths import check_name, desired_path, former_desired_path, parse_desired_path

_log = logging.getLogger(__name__)

_REFUSALS = (ApprovalError, ReleaseError, NoSuchModel, DocumentError, ValueError, RecursionError)
_FAILURES = (ModelRegistryError, ObjectStoreError, RepositoryError)


class Signer:
    """The operations of the signer, without HTTP."""

    def __init__(self, repository: ReleaseRepository, registry: ModelRegistry) -> None:
        self._repository = repository
        self._registry = registry
        self._lock = threading.Lock()

    def publish_release(self, model: str, version: int) -> str:
        """Sign and publish the release of an approved version, and return its digest.

        A second call for the same version gives the same release. Before the first, the version's evaluation has to
        compare with the champion of now. A release that was signed already may come back at any time: a group goes back
        to a former version in this way.
        """
        with self._lock:
            built = build_release(self._registry, model, version)
            if f"releases/{built.release.digest}/release.json" not in self._repository.targets():
                require_comparison(self._registry, built)
            self._repository.publish(built.targets())
            _log.info("release %s is %s version %d", built.release.digest, model, version)
            return built.release.digest

    def publish_desired(self, model: str, version: int, *, again: bool = False) -> DesiredState:
        """Publish the desired state of the release's group, by the rollout policy that was approved with the version.

        If the desired state is already the same, nothing changes. Otherwise it gets the next sequence number. With
        `again` the release is ordered anew, so that devices that refused it try it once more.
        """
        with self._lock:
            built = build_release(self._registry, model, version)
            digest = built.release.digest
            if f"releases/{digest}/release.json" not in self._repository.targets():
                raise ReleaseError(f"release {digest} of {model} version {version} is not published yet")
            rollout = built.use_case.rollout
            path, former_path = desired_path(model, rollout.group), former_desired_path(rollout.group)
            former = self._read_desired(former_path)
            if former is not None and former.use_case != model:
                former = None  # another product had the group's former name first
            current = self._read_desired(path) or former
            sequence = (current.sequence if current else 0) + 1
            ordered = not again and current is not None and current.waves[-1].release_digest == digest
            wanted = DesiredState(
                sequence=sequence,
                use_case=model,
                waves=_waves(rollout, digest),
                probation_s=rollout.probation_s,
                report_timeout_s=rollout.report_timeout_s,
                again=current.asked_since if ordered and current is not None else sequence,
            )
            if (
                not again
                and current is not None
                and current.waves == wanted.waves
                and current.probation_s == wanted.probation_s
            ):
                wanted = current
            # Agents of version 0.1 know the former name only; where it is this product's, both names say the same.
            paths = (path,) if former is None else (path, former_path)
            if self._repository.publish([(name, wanted.to_json()) for name in paths]):
                _log.info(
                    "desired state %d of %s in group %s: release %s", wanted.sequence, model, rollout.group, digest
                )
            return wanted

    def desired(self, use_case: str, group: str) -> DesiredState | None:
        """Return the desired state of a product in a group; None if none was published."""
        found = self._read_desired(desired_path(use_case, group))
        if found is None:
            found = self._read_desired(former_desired_path(group))
        return found if found is not None and found.use_case == use_case else None

    def desired_names(self) -> list[tuple[str, str]]:
        """Return (use case, group) of every published desired state, sorted."""
        names: set[tuple[str, str]] = set()
        for path in self._repository.targets():
            parsed = parse_desired_path(path)
            if parsed is None:
                continue
            group, use_case = parsed
            if use_case is None:
                former = self._read_desired(path)
                use_case = former.use_case if former is not None else ""
            names.add((use_case, group))
        return sorted(names)

    def release(self, digest: str) -> Release | None:
        """Return the release with this digest; None if it was not published."""
        data = self._repository.read_target(f"releases/{digest}/release.json")
        return Release.from_json(data) if data is not None else None

    def _read_desired(self, path: str) -> DesiredState | None:
        data = self._repository.read_target(path)
        return DesiredState.from_json(data) if data is not None else None


def _waves(rollout: Rollout, digest: str) -> tuple[Wave, ...]:
    # All waves are open from the start. The reconciler does not open them one after another yet.
    first = (Wave(devices=rollout.canary, release_digest=digest),) if rollout.canary else ()
    return (*first, Wave(percent=max(rollout.waves), release_digest=digest))


def make_app(signer: Signer, upkeep: Upkeep) -> Starlette:
    """Make the HTTP application.

    It serves POST /releases, POST /desired, GET /desired, GET /desired/{use_case}/{group} and GET /releases/{digest}.
    GET /livez, GET /healthz and GET /metrics say how the signer is.
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

    return Starlette(
        routes=[
            Route("/livez", _live, methods=["GET"]),
            Route("/healthz", lambda _: _health(upkeep), methods=["GET"]),
            Route("/metrics", lambda _: _metrics(upkeep), methods=["GET"]),
            Route("/releases", _Act(lambda body: _publish_release(signer, body)), methods=["POST"]),
            Route("/desired", _Act(lambda body: _publish_desired(signer, body)), methods=["POST"]),
            Route("/desired", _Read(lambda: _Names(signer.desired_names())), methods=["GET"]),
            Route("/desired/{use_case}/{group}", _Read(signer.desired), methods=["GET"]),
            Route("/releases/{digest}", _Read(signer.release), methods=["GET"]),
        ],
        lifespan=lifespan,
    )


def _publish_release(signer: Signer, body: dict[str, Any]) -> dict[str, Any]:
    return {"release_digest": signer.publish_release(*_model_and_version(body))}


def _publish_desired(signer: Signer, body: dict[str, Any]) -> dict[str, Any]:
    again = body.pop("again", False)
    if not isinstance(again, bool):
        raise ValueError(f"expected true or false for again, but got {again!r}")
    state = signer.publish_desired(*_model_and_version(body), again=again)
    return {"sequence": state.sequence, "release_digest": state.waves[-1].release_digest}


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


class _Act:
    """Answers a POST with a small JSON object: 409 if the signer refuses, 502 if MLflow or S3 fails."""

    def __init__(self, act: Any) -> None:
        self._act = act

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        await (await self._respond(request))(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        if len(raw := await request.body()) > 4096:
            return JSONResponse({"error": "expected at most 4096 bytes"}, 413)
        try:
            body = (await request.json()) if raw else {}
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


@dataclass(frozen=True, slots=True)
class _Names:
    """(use case, group) of the published desired states."""

    names: list[tuple[str, str]]

    def to_json(self) -> bytes:
        """As `SignerClient.desired_names` reads it."""
        return canonical_json({"desired": [{"use_case": use_case, "group": group} for use_case, group in self.names]})


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


def compose(config: Settings) -> Starlette:
    """Open the repository and the registry that the settings name, and return the HTTP application.

    An empty bucket becomes an empty repository. Metadata that expires soon is signed again.

    Raises:
        SettingsError, KeysError, ObjectStoreError, RepositoryError: the signer cannot work with these settings.
    """
    folder = Path(config.required("signer_keys"))
    keys = load_chain(folder)
    repository = ReleaseRepository(
        S3ObjectStore.from_settings(config),
        config.bucket("releases"),
        keys.newest,
        keys.signers,
        former=keys.roots[:-1],
    )
    repository.initialise()
    repository.renew()
    return make_app(Signer(repository, ModelRegistry.from_settings(config)), Upkeep(repository, folder))


def main() -> int:
    """Run the signer on KIZU_SIGNER_HOST:KIZU_PORT_SIGNER with the keys in KIZU_SIGNER_KEYS."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        config = settings()
        app = compose(config)
    except (SettingsError, KeysError, ObjectStoreError, RepositoryError) as e:
        _log.error("the signer cannot start: %s", e)
        return 1
    uvicorn.run(app, host=config.signer_host, port=config.signer_port, log_level="warning", server_header=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
