"""Which files of a folder rest: another program has stopped writing them, as far as size and time tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from edge_agent.sources.port import readable_name

_LOOK_AGAIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Seen:
    """Size and time of a file as a scan has found them. Equal values: the file has not changed."""

    size: int
    mtime_ns: int

    def key(self, name: str) -> str:
        """The source key of the file. The index and JSON take UTF-8 only, and a file name may be anything."""
        return f"{readable_name(name)}|{self.mtime_ns}|{self.size}"


class RestingFiles:
    """What successive scans have found.

    Args:
        rest_s: a file that has not changed for so long rests.
        give_up_s: a file that has been changing for so long, without a rest, is looked into as it is.
        clock: the time of day, in seconds since 1970, to compare with times of files.
        monotonic: seconds, by a clock that never jumps.
    """

    def __init__(
        self,
        rest_s: float,
        give_up_s: float,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rest_s = rest_s
        self._give_up_s = give_up_s
        self._clock = clock
        self._monotonic = monotonic
        self._since: dict[str, tuple[Seen, float]] = {}
        self._restless: dict[str, float] = {}
        self._retry_at: dict[str, float] = {}

    def see(self, found: Mapping[str, Seen]) -> list[tuple[str, Seen]]:
        """Take the result of a scan; return the files that may be looked into now."""
        moment = self._monotonic()
        for name, seen in found.items():
            if name not in self._since or self._since[name][0] != seen:
                self._since[name] = (seen, moment)
                self._restless.setdefault(name, moment)
                self._retry_at.pop(name, None)
        for name in [name for name in self._since if name not in found]:
            self.forget(name)
        ready = []
        for name, (seen, since) in self._since.items():
            if moment - since >= self._rest_s:
                self._restless.pop(name, None)
            if not self.changes(name) and self._retry_at.get(name, 0.0) <= moment:
                ready.append((name, seen))
        return ready

    def changes(self, name: str) -> bool:
        """Whether a file is still being changed, and is waited for."""
        return name in self._restless and not self.never_rests(name)

    def never_rests(self, name: str) -> bool:
        """Whether a file has been changing for longer than anybody waits."""
        since = self._restless.get(name)
        return since is not None and self._monotonic() - since >= self._give_up_s

    def age_s(self, name: str, mtime_ns: int) -> float:
        """Seconds since a file was changed last."""
        age = self._clock() - mtime_ns / 1e9
        if age < 0:  # the clock went back: use the time since this process first saw the file as it is
            age = self._monotonic() - self._since[name][1] if name in self._since else 0.0
        return age

    def look_again(self, name: str, within_s: float = _LOOK_AGAIN_S) -> None:
        """Have a file wait for a moment, or until it changes."""
        self._retry_at[name] = self._monotonic() + min(_LOOK_AGAIN_S, within_s)

    def seen(self, name: str) -> Seen | None:
        """What the last scan has found of a file; None where it is not there."""
        return self._since[name][0] if name in self._since else None

    def size(self, name: str) -> int:
        """Bytes of a file at the last scan; 0 where it is not known."""
        return self._since[name][0].size if name in self._since else 0

    def forget(self, name: str) -> None:
        """Forget a file that is gone: one that comes under its name is another one."""
        for known in (self._since, self._restless, self._retry_at):
            known.pop(name, None)
