"""How long to wait before the next try, after repeated failures."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass
class Backoff:
    """Doubles from `first_s` to `limit_s` seconds, with jitter, so that a fleet's devices do not all return at once."""

    first_s: float = 1.0
    limit_s: float = 300.0
    failures: int = 0

    def failed(self) -> float:
        """Count a failure; the seconds to wait now, between half of the step and all of it."""
        step = min(self.limit_s, self.first_s * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return step * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, hides nothing

    def succeeded(self) -> None:
        """Go back to the first step."""
        self.failures = 0
