"""The API of Kubeflow Pipelines: where it is, who asks, and what it means where it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import kfp_server_api
from urllib3.exceptions import HTTPError

from components.settings import Settings
from pipelines.step_pods import StepPods

_MOST_SAID: Final = 500
_CONNECT_S: Final = 10.0
_ANSWER_S: Final = 120.0
_PAGE: Final = 100
_MOST_PAGES: Final = 50
_LOGIN: Final = (
    "If it is behind a login, set KIZU_KFP_TOKEN or KIZU_KFP_TOKEN_FILE to a token, or KIZU_KFP_COOKIE to the cookie "
    "of a browser that is logged in"
)


class SubmitError(RuntimeError):
    """Kubeflow Pipelines does not answer or refuses.

    refused: it answered, so that nothing was done; otherwise the answer may be lost. missing: there is no such object.
    """

    def __init__(self, message: str, *, refused: bool = False, missing: bool = False) -> None:
        super().__init__(message)
        self.refused, self.missing = refused, missing


@dataclass(frozen=True, slots=True)
class Kubeflow:
    """One Kubeflow Pipelines, and how to reach it.

    registry: where the cluster pulls our images from; None: as compiled. token, token_file, cookie: for a login before
    the API; the file is read again for each request, because tokens of ServiceAccounts change. ca_file: PEM file with
    the authority of its certificate. page: its page for people; None: the endpoint.
    """

    endpoint: str
    namespace: str
    registry: str | None = None
    token: str | None = None
    cookie: str | None = None
    pods: StepPods = field(default_factory=StepPods)
    token_file: str | None = None
    ca_file: str | None = None
    page: str | None = None

    def __repr__(self) -> str:
        return f"Kubeflow({self.endpoint})"

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The one that the settings name.

        Raises:
            SettingsError: they name none.
        """
        token, cookie = settings.kfp_token, settings.kfp_cookie
        return cls(
            settings.required("kfp_endpoint").rstrip("/"),
            settings.kfp_namespace,
            settings.image_registry,
            token.get_secret_value() if token else None,
            cookie.get_secret_value() if cookie else None,
            StepPods.from_settings(settings),
            settings.kfp_token_file,
            settings.kfp_ca_file,
            settings.kfp_page,
        )

    def address_of(self, run_id: str) -> str:
        """The page of a run, for people."""
        return f"{(self.page or self.endpoint).rstrip('/')}/#/runs/details/{run_id}"


class Api:
    """The calls of the API that Kizu makes. `ask` gives each of them a time limit and its errors a meaning."""

    def __init__(self, at: Kubeflow) -> None:
        """Check that the API answers, and not the page of a login before it.

        Raises:
            SubmitError: it does not answer, or something else does.
        """
        self.at = at
        client = kfp_server_api.ApiClient(_configuration(at), cookie=at.cookie)
        self.pipelines = kfp_server_api.PipelineServiceApi(client)
        self.uploads = kfp_server_api.PipelineUploadServiceApi(client)
        self.runs = kfp_server_api.RunServiceApi(client)
        self.recurring_runs = kfp_server_api.RecurringRunServiceApi(client)
        self.experiments = kfp_server_api.ExperimentServiceApi(client)
        health = kfp_server_api.HealthzServiceApi(client)
        answer = self.ask("answer", health.healthz_service_get_healthz, _preload_content=False)
        try:
            kind, body = str(answer.headers.get("Content-Type", "")), answer.data
        finally:
            answer.release_conn()
        if "json" not in kind.lower() or not _is_object(body):
            raise SubmitError(
                f"{at.endpoint} answers, but not as Kubeflow Pipelines does: it sent {kind or 'no content type'}, as "
                f"the page of a login or another server would. {_LOGIN}"
            )

    def ask(self, act: str, call: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Make a call.

        Args:
            act: what Kubeflow Pipelines should do, for the error: `start the run`.

        Raises:
            SubmitError: it refused, or gave no answer.
        """
        where = f"Kubeflow Pipelines at {self.at.endpoint} did not {act}"
        try:
            return call(*given, **named, _request_timeout=(_CONNECT_S, _ANSWER_S))
        except kfp_server_api.ApiException as e:
            status = e.status or 0
            said = f"{where}: {_said(e)}"
            if status in (401, 403):
                said = f"{said}. {_LOGIN}"
            raise SubmitError(said, refused=400 <= status < 600, missing=status == 404) from e
        except (HTTPError, OSError, ValueError) as e:  # ValueError: an answer that does not fit the model
            raise SubmitError(f"{where}: {str(e).strip()[:_MOST_SAID]}") from e

    def named(self, act: str, call: Callable[..., Any], items: str, name: str, *given: Any, **named: Any) -> list[Any]:
        """The objects of a list whose display name is `name`, newest first.

        Args:
            call: a call that lists, in pages.
            items: the field of its answer with the objects.
        """
        only = json.dumps({"predicates": [{"key": "display_name", "operation": "EQUALS", "stringValue": name}]})
        found: list[Any] = []
        token = ""
        for _ in range(_MOST_PAGES):
            page = self.ask(
                act, call, *given, **named, page_token=token, page_size=_PAGE, sort_by="created_at desc", filter=only
            )
            # Whatever the server makes of the filter: one that does not know it sends everything, page by page.
            found += [item for item in getattr(page, items) or [] if item.display_name == name]
            token = page.next_page_token or ""
            if not token:
                break
        return found


def _configuration(at: Kubeflow) -> kfp_server_api.Configuration:
    configuration = kfp_server_api.Configuration(host=at.endpoint)
    if at.ca_file:
        configuration.ssl_ca_cert = at.ca_file
    if at.token or at.token_file:
        configuration.api_key = {"authorization": at.token or ""}
        configuration.api_key_prefix = {"authorization": "Bearer"}
    if at.token_file and not at.token:
        file = Path(at.token_file)

        def read_again(current: kfp_server_api.Configuration) -> None:
            current.api_key["authorization"] = file.read_text(encoding="ascii").strip()

        configuration.refresh_api_key_hook = read_again
    return configuration


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except ValueError:
        return False


def _said(error: kfp_server_api.ApiException) -> str:
    """What the API says in one line. It appends Go's stack to some errors, which helps nobody here."""
    text = error.body.decode(errors="replace") if isinstance(error.body, bytes) else str(error.body or "")
    try:
        said = json.loads(text)
    except ValueError:
        said = {}
    fields = [said.get(key) for key in ("error_message", "error_details", "message", "error")] if said else [text]
    line = next((str(found).strip() for found in fields if found), str(error.reason or "no reason given").strip())
    status = f" (status {error.status})" if error.status else ""
    return f"{line.splitlines()[0][:_MOST_SAID]}{status}"
