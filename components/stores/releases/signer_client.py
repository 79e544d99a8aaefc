"""How others ask the signer."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import httpx

from components.settings import Settings
from inspection.agent_release import AgentRelease, WheelFile
from inspection.codec import canonical_json
from inspection.documents import Candidate, DesiredState, Release


class SignerError(RuntimeError):
    """The signer refused, or did not answer; the message is the signer's own."""


class SignerClient:
    """One signer.

    Args:
        token: says who calls.
        tls: how its certificate is checked, and the caller's own; None: as usual.
    """

    def __init__(
        self, url: str, token: str = "", *, tls: ssl.SSLContext | None = None, timeout_s: float = 120.0
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._tls = tls
        self._timeout_s = timeout_s

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """A client of the signer that the settings name, with the token and certificates that they give.

        Raises:
            SettingsError: they name no signer or no token, or a certificate without its key.
            SignerError: a certificate cannot be read.
        """
        return cls(settings.required("signer_url"), settings.required("signer_token"), tls=tls_of(settings))

    def publish_release(self, model: str, version: int) -> str:
        """Returns the release's digest."""
        return str(self._ask("POST", "/releases", {"model": model, "version": version})["release_digest"])

    def publish_desired(
        self,
        model: str,
        version: int,
        *,
        again: bool = False,
        downgrade: bool = False,
        pin: bool = False,
        by: str = "",
        reason: str = "",
    ) -> int:
        """Returns the desired state's sequence.

        again: order the release anew though it is desired already. downgrade: it may be older than the desired one.
        pin: order it to all devices at once, and let no other follow; by, reason: who pins, and why.
        """
        asked: dict[str, Any] = {"model": model, "version": version}
        flags = (("again", again), ("downgrade", downgrade), ("pin", pin))
        asked |= {name: True for name, given in flags if given}
        asked |= {name: text for name, text in (("by", by), ("reason", reason)) if text}
        return int(self._ask("POST", "/desired", asked)["sequence"])

    def rollout(
        self,
        use_case: str,
        group: str,
        sequence: int,
        step: str,
        *,
        by: str,
        reason: str = "",
        devices: Iterable[str] = (),
        paused_for: str = "",
    ) -> int:
        """Have a group's rollout take one step: advance, finish, pause, resume or stop. Returns the new sequence.

        Args:
            sequence: of the desired state that the caller has seen; the signer refuses where it has changed since.
            by, reason: who asks, and why.
            devices: those that a stop names.
            paused_for: why it pauses: person, by-hand or inconclusive.
        """
        asked = {"reason": reason, "devices": list(devices), "paused_for": paused_for}
        return self._step("/rollout", use_case, group, sequence, step, by, asked)

    def recover(self, model: str, version: int, *, sequence_above: int, metadata_above: int) -> int:
        """Have release and desired state published with numbers above what devices have seen. Returns the sequence."""
        asked = {
            "model": model, "version": version,
            "sequence_above": sequence_above, "metadata_above": metadata_above,
        }  # fmt: skip
        return int(self._ask("POST", "/recover", asked)["sequence"])

    def shadow(
        self, model: str, version: int, devices: Sequence[str], *, share: float = 1.0, cpu_share: float = 0.5
    ) -> DesiredState:
        """Have a version that passed its gate judge beside the running release on some devices.

        Returns the desired state with the order. share, cpu_share: see `ShadowOrder`.
        """
        asked = {
            "model": model, "version": version, "devices": list(devices), "share": share, "cpu_share": cpu_share,
        }  # fmt: skip
        return _document(self._ask("POST", "/shadow", asked))

    def end_shadow(self, use_case: str, group: str) -> DesiredState:
        """Have no candidate judge in a group any more. Returns the desired state without the order."""
        return _document(self._ask("POST", "/shadow/end", {"use_case": use_case, "group": group}))

    def missing_wheels(self, release: AgentRelease) -> frozenset[str]:
        """The digests of a release's wheels whose bytes the signer does not have yet."""
        return frozenset(self._ask("POST", "/agent/missing", json.loads(release.to_json()))["missing"])

    def upload_wheel(self, wheel: WheelFile, data: bytes) -> None:
        """Have the bytes of a wheel put where devices will find them once a release names them."""
        self._check(self._send("PUT", f"/agent/wheels/{wheel.sha256}/{wheel.file}", None, content=data))

    def publish_agent(self, release: AgentRelease) -> str:
        """Have a release of the agent signed and published. Returns its digest."""
        return str(self._ask("POST", "/agent", json.loads(release.to_json()))["digest"])

    def agent_releases(self) -> list[AgentRelease]:
        """All published releases of the agent, the newest version last."""
        found = self._ask("GET", "/agent", None)["agent"]
        return [AgentRelease.from_json(canonical_json(item)) for item in found]

    def order_agent(
        self,
        use_case: str,
        group: str,
        digest: str,
        *,
        devices: Sequence[str] = (),
        percent: float = 100.0,
        probation_s: float = 120.0,
        again: bool = False,
        downgrade: bool = False,
        waves: Mapping[str, Any] | None = None,
        by: str = "",
    ) -> DesiredState:
        """Have the agent's software ordered for a group, or some of its devices. Returns the desired state.

        waves: the stages, windows and time zone of a rollout that the reconciler takes on, as JSON values; None for the
        devices or the share at once. by: who orders it.
        """
        asked: dict[str, Any] = {"use_case": use_case, "group": group, "digest": digest, "devices": list(devices)}
        asked |= {"percent": percent, "probation_s": probation_s, "again": again, "downgrade": downgrade}
        asked |= {"waves": dict(waves), "by": by} if waves is not None else {}
        return _document(self._ask("POST", "/agent/order", asked))

    def rollout_agent(
        self,
        use_case: str,
        group: str,
        sequence: int,
        step: str,
        *,
        by: str,
        reason: str = "",
        devices: Iterable[str] = (),
        paused_for: str = "",
    ) -> int:
        """Have the rollout of a group's software take one step, as `rollout` does for a release."""
        asked = {"reason": reason, "devices": list(devices), "paused_for": paused_for}
        return self._step("/agent/rollout", use_case, group, sequence, step, by, asked)

    def prune_agents(self, used: Iterable[str], newest: int, *, act: bool) -> list[dict[str, Any]]:
        """Have the wheels of the agent's software deleted that nobody needs; without `act`, only say which these are.

        used: digests that devices run, hold in a slot, or were asked for. newest: so many of the newest versions stay.
        Returns digest, version and bytes of each.
        """
        asked = {"used": sorted(set(used)), "newest": newest, "act": act}
        found: list[dict[str, Any]] = self._ask("POST", "/agent/prune", asked)["pruned"]
        return found

    def prune(self, used: Iterable[str], newest: int, *, act: bool) -> list[dict[str, Any]]:
        """Have the files of releases deleted that nobody needs; without `act`, only say which these are.

        used: digests that devices run, are about to run, or were pinned to. newest: of each product so many stay.
        Returns digest, use_case, version and bytes of each.
        """
        asked = {"used": sorted(set(used)), "newest": newest, "act": act}
        found: list[dict[str, Any]] = self._ask("POST", "/prune", asked)["pruned"]
        return found

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

    def candidate(self, digest: str) -> Candidate | None:
        """A candidate that was published for judging beside a release."""
        data = self._get(f"/candidates/{digest}")
        return Candidate.from_json(data) if data is not None else None

    def _step(
        self, path: str, use_case: str, group: str, sequence: int, step: str, by: str, more: Mapping[str, Any]
    ) -> int:
        asked = {"use_case": use_case, "group": group, "sequence": sequence, "step": step, "by": by, **more}
        return int(self._ask("POST", path, asked)["sequence"])

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

    def _send(
        self, method: str, path: str, body: dict[str, Any] | None, content: bytes | None = None
    ) -> httpx.Response:
        try:
            return httpx.request(
                method,
                self._url + path,
                json=body,
                content=content,
                headers=self._headers,
                timeout=self._timeout_s,
                trust_env=False,
                verify=self._context,
            )
        except httpx.HTTPError as e:
            raise SignerError(f"the signer at {self._url} does not answer: {e}; is it running?") from e

    @cached_property
    def _context(self) -> ssl.SSLContext:
        """Made once: reading the machine's certificates takes longer than an answer of the signer."""
        return self._tls or httpx.create_ssl_context(trust_env=False)

    def _check(self, response: httpx.Response) -> None:
        if response.status_code >= 400:
            try:
                said = response.json()["error"]
            except (ValueError, KeyError):
                said = response.text[:200]
            raise SignerError(f"the signer refused ({response.status_code}): {said}")


def _document(answer: dict[str, Any]) -> DesiredState:
    return DesiredState.from_json(canonical_json(answer))


def tls_of(settings: Settings) -> ssl.SSLContext | None:
    """How a caller with these settings talks TLS to the signer; None: as usual.

    Raises:
        SettingsError: a certificate without its key.
        SignerError: a certificate cannot be read.
    """
    if not settings.signer_ca_file and not settings.signer_client_cert_file:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.signer_ca_file)
        if settings.signer_client_cert_file:
            context.load_cert_chain(settings.signer_client_cert_file, settings.required("signer_client_key_file"))
    except (ssl.SSLError, OSError) as e:
        raise SignerError(
            "cannot read the certificates for the signer (KIZU_SIGNER_CA_FILE, KIZU_SIGNER_CLIENT_CERT_FILE, "
            f"KIZU_SIGNER_CLIENT_KEY_FILE): {e}"
        ) from e
    return context
