"""Calls of label-studio-sdk with errors of their own. The SDK retries faults of the server and the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import httpx
from label_studio_sdk import LabelStudio
from label_studio_sdk.core.api_error import ApiError

from components.labeling.errors import LabelStudioAway, LabelStudioError

_T = TypeVar("_T")

TIMEOUT_S: Final = 60.0
RETRIES: Final = 4


class Calls:
    """One Label Studio, as one user: `sdk` to call, `call` and `gone_is_fine` around it."""

    def __init__(self, url: str, token: str, *, retries: int = RETRIES, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(timeout=timeout_s, follow_redirects=True)
        self.sdk: Any = LabelStudio(
            base_url=self.url, api_key=token, httpx_client=self._http, timeout=timeout_s, max_retries=retries
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def gone_is_fine(self, act: str, call: Callable[[], object]) -> None:
        """As `call`, but without an error if the object is not there."""
        try:
            call()
        except ApiError as e:
            if e.status_code != 404:
                raise self._error(e, act) from e
        except httpx.HTTPError as e:
            raise self._away(e, act) from e

    def call(self, act: str, call: Callable[[], _T]) -> _T:
        """Raises LabelStudioAway if the server does not answer or has a fault, LabelStudioError if it refuses."""
        try:
            return call()
        except ApiError as e:
            raise self._error(e, act) from e
        except httpx.HTTPError as e:
            raise self._away(e, act) from e

    def _away(self, error: Exception, act: str) -> LabelStudioAway:
        return LabelStudioAway(
            f"Label Studio at {self.url} did not answer ({act}: {type(error).__name__}: {error}); "
            "is it running? Start it and run this again: nothing is lost"
        )

    def _error(self, error: ApiError, act: str) -> LabelStudioError:
        status = error.status_code
        said = _said(error.body)
        if status is not None and (status >= 500 or status == 429):
            return LabelStudioAway(f"Label Studio at {self.url} answered {status} ({act}): {said}; run this again")
        if status in (401, 403):
            return LabelStudioError(
                f"Label Studio at {self.url} refused this user ({act}, {status}): {said}; check LABEL_STUDIO_API_KEY "
                "and, for a private S3 endpoint, the server's SSRF protection"
            )
        return LabelStudioError(f"Label Studio at {self.url} refused to {act} ({status}): {said}")


def _said(body: Any) -> str:
    if isinstance(body, Mapping):
        body = body.get("validation_errors") or body.get("detail") or body
    return str(body)[:500]
