"""Which items the other side refused, and when each is tried again: a rule over item ids and a clock."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field

from edge_agent.backoff import Backoff


@dataclass(slots=True)
class _Refused:
    due: float
    backoff: Backoff


@dataclass
class Refusals:
    """Parks refused items, so that one of them does not hold up the others, and so that refusals are not hammered.

    An item that was refused waits by itself, longer each time. While nothing was accepted since the last refusal, it is
    *in doubt* whether the other side refuses one item or all of them: then one item at a time is tried, after a pause.
    When it accepts an item that it refused before, all refused items are due at once, in their order.

    Args:
        clock: seconds, by a clock that never jumps.
    """

    clock: Callable[[], float]
    in_doubt: bool = False
    why: str = ""
    """What the other side said last; empty where no item is refused."""
    _refused: dict[int, _Refused] = field(default_factory=dict)
    _pause: Backoff = field(default_factory=lambda: Backoff(limit_s=10.0))
    _paused_until: float = 0.0

    def refused(self, item_id: int, why: str) -> None:
        """Note that an item was refused."""
        now = self.clock()
        known = self._refused.get(item_id) or _Refused(now, Backoff())
        known.due = now + known.backoff.failed()
        self._refused[item_id] = known
        if not self.in_doubt or now >= self._paused_until:  # several answers to one burst count once
            self._paused_until = now + self._pause.failed()
        self.in_doubt, self.why = True, why

    def accepted(self, item_id: int) -> None:
        """Note that an item was accepted."""
        self.in_doubt = False
        self._pause.succeeded()
        if self._refused.pop(item_id, None) is not None:
            for other in self._refused.values():
                other.due = self.clock()
        if not self._refused:
            self.why = ""

    def forget(self, item_id: int) -> None:
        """Forget a refused item that waits no longer, such as one that the outbox dropped."""
        self._refused.pop(item_id, None)
        if not self._refused:
            self.in_doubt, self.why = False, ""

    def keep(self, waiting: Set[int]) -> None:
        """Forget all refused items but these."""
        for item_id in self._refused.keys() - waiting:
            self.forget(item_id)

    def paused_s(self) -> float:
        """Seconds until anything may be tried; 0 where something may be tried now."""
        return max(0.0, self._paused_until - self.clock()) if self.in_doubt else 0.0

    def waits(self, item_id: int) -> bool:
        """Whether an item was refused and is not due yet."""
        known = self._refused.get(item_id)
        return known is not None and self.clock() < known.due

    def was_refused(self, item_id: int) -> bool:
        """Whether an item was refused and not accepted since."""
        return item_id in self._refused

    def count(self) -> int:
        """How many items are refused at present."""
        return len(self._refused)

    def first_due(self) -> int | None:
        """The lowest id of a refused item that is due; None where none is."""
        return min((item_id for item_id in self._refused if not self.waits(item_id)), default=None)
