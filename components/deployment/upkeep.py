"""What the signer does unasked: it takes rotated keys over, renews metadata, and knows whether both work."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from components.deployment.keys import AGENT_KEY_FILE, ROOT_FILE, load_chain
from components.stores.releases.key_chain import KeyChain

_log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 5.0
RENEW_EVERY_S: Final = 3600.0
RETRY_EVERY_S: Final = 60.0


class Renewed(Protocol):
    """The repository, as far as it is kept up."""

    def use_keys(self, keys: KeyChain) -> None:
        """Take other keys over."""

    def renew(self) -> bool:
        """Sign again what expires soon."""

    def expiries(self) -> Mapping[str, datetime]:
        """When the root and each role expire."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether devices go on getting metadata that is valid. said: what is wrong; '' where nothing is.

    expires: when the root and each role expire, as last read; empty before the first look.
    """

    said: str
    expires: Mapping[str, datetime]

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return not self.said


class Upkeep:
    """One repository kept up. `look` from one thread; `health` from any.

    Args:
        folder: of the signer's keys; None where they never change.
        monotonic: seconds, by a clock that never jumps; says when a renewal is due.
        now: the time of day, for what has expired.
    """

    def __init__(
        self,
        repository: Renewed,
        folder: Path | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._repository = repository
        self._folder = folder
        self._monotonic = monotonic
        self._now = now
        self._root: bytes | None = None
        self._root = self._root_file()
        self._keys_failed = ""
        self._renewal_failed = ""
        self._expires: Mapping[str, datetime] = {}
        self._looked = monotonic()
        self._due = self._looked

    def run(self, stop: threading.Event, every_s: float = LOOK_EVERY_S) -> None:
        """Look again and again until `stop` is set."""
        while True:
            self.look()
            if stop.wait(every_s):
                return

    def look(self) -> None:
        """Take new keys over if root.json or the agent's key changed; renew each hour, or a minute after a failure."""
        if self._root_file() != self._root:
            self._take_keys()
        if self._monotonic() >= self._due:
            self._renew()
        self._looked = self._monotonic()

    def health(self) -> Health:
        """How it is now."""
        now = self._now()
        said = [text for text in (self._keys_failed, self._renewal_failed) if text]
        if self._monotonic() - self._looked > RENEW_EVERY_S:
            said.append("no look at keys and metadata has ended for an hour")
        said += [f"the {role} metadata expired at {at:%Y-%m-%d %H:%M} UTC" for role, at in self._expires.items()
                 if at <= now]  # fmt: skip
        return Health("; ".join(said), self._expires)

    def _take_keys(self) -> None:
        assert self._folder is not None
        root = self._root_file()
        try:
            keys = load_chain(self._folder)
            self._repository.use_keys(keys)
        except Exception as e:  # whatever it is, the next look tries again, and the old keys are used until then
            self._keys_failed = f"new keys are not taken over: {e}"
            _log.exception("new keys are not taken over")
            return
        self._root, self._keys_failed = root, ""
        self._due = self._monotonic()  # the times of expiry are others now
        _log.info("took the keys of root %d over", keys.newest.signed.version)

    def _renew(self) -> None:
        try:
            self._repository.renew()
            self._expires = self._repository.expiries()
        except Exception as e:  # the next look tries again; the metadata lives for days
            self._renewal_failed = f"timestamp and snapshot could not be renewed: {e}"
            self._due = self._monotonic() + RETRY_EVERY_S
            _log.exception("could not renew timestamp and snapshot")
            return
        self._renewal_failed = ""
        self._due = self._monotonic() + RENEW_EVERY_S

    def _root_file(self) -> bytes | None:
        if self._folder is None:
            return None
        try:
            agent = self._folder / AGENT_KEY_FILE
            return (self._folder / ROOT_FILE).read_bytes() + (agent.read_bytes() if agent.exists() else b"")
        except OSError:  # it is being replaced, or gone: what was loaded is used on
            return self._root
