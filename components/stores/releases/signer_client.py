"""How others ask the signer."""

from __future__ import annotations

from typing import Any

import httpx

from inspection.documents import DesiredState, Release


class SignerError(RuntimeError):
    """The signer refused, or did not answer; the message is the signer's own."""


class SignerClient:
    """One signer."""

    def __init__(self, url: str, *, timeout_s: float = 120.0) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s

    def publish_release(self, model: str, version: int) -> str:
        """Returns the release's digest."""
        return str(self._ask("POST", "/releases", {"model": model, "version": version})["release_digest"])

    def publish_desired(self, model: str, version: int, *, again: bool = False) -> int:
        """Returns the desired state's sequence. again: order the release anew though it is desired already."""
        asked: dict[str, Any] = {"model": model, "version": version}
        return int(self._ask("POST", "/desired", asked | ({"again": True} if again else {}))["sequence"])

    def desired_names(self) -> list[tuple[str, str]]:
        """(use case, group) of every published desired state."""
        found = self._ask("GET", "/desired", None)["desired"]
        return [(str(item["use_case"]), str(item["group"])) for item in found]

    def desired(self, use_case: str, group: str) -> DesiredState | None:
        """What the devices of a group that inspect a product should run."""
        data = self._get(f"/desired/{use_case}/{group}")
        return DesiredState.from_json(data) if data is not None else None

    def release(self, digest: str) -> Release | None:
        """A published release."""
        data = self._get(f"/releases/{digest}")
        return Release.from_json(data) if data is not None else None

    def _get(self, path: str) -> bytes | None:
        response = self._send("GET", path, None)
        if response.status_code == 404:
            return None
        self._check(response)
        return response.content

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        response = self._send(method, path, body)
        self._check(response)
        answer: dict[str, Any] = response.json()
        return answer

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        try:
            return httpx.request(method, self._url + path, json=body, timeout=self._timeout_s, trust_env=False)
        except httpx.HTTPError as e:
            raise SignerError(f"the signer at {self._url} does not answer: {e}; is it running?") from e

    def _check(self, response: httpx.Response) -> None:
        if response.status_code >= 400:
            try:
                said = response.json()["error"]
            except (ValueError, KeyError):
                said = response.text[:200]
            raise SignerError(f"the signer refused ({response.status_code}): {said}")
