"""How long to wait before the next try."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass
class Backoff:
    """Doubling from `first_s` to `limit_s`, with full jitter, so that a fleet does not come back as one."""

    first_s: float = 1.0
    limit_s: float = 300.0
    failures: int = 0

    def failed(self) -> float:
        """Count a failure; seconds to wait now, between half and all of the step."""
        step = min(self.limit_s, self.first_s * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return step * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, hides nothing

    def succeeded(self) -> None:
        """Begin again from the first step."""
        self.failures = 0
