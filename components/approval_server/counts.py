"""What the server answered since it started, as metrics. Paths and names of accounts are no labels: there are many."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from components.metrics_text import Metric

_ANSWERS = ("2xx", "3xx", "4xx", "5xx")


class RequestCounts:
    """Counts of answers. Safe to share between threads. accounts_ok: whether the administrator's files are in use."""

    def __init__(self, accounts_ok: Callable[[], bool] = lambda: True) -> None:
        self._accounts_ok = accounts_ok
        self._lock = threading.Lock()
        self._answers: Counter[str] = Counter()
        self._refused = 0
        self._wrong_passwords = 0

    def answered(self, status: int, *, with_password: bool) -> None:
        """Count an answer. with_password: the request carried credentials, so that 401 means that they are wrong."""
        with self._lock:
            self._answers[f"{status // 100}xx"] += 1
            self._wrong_passwords += status == 401 and with_password

    def refused(self) -> None:
        """Count a request that the door refused."""
        with self._lock:
            self._refused += 1

    def metrics(self) -> list[Metric]:
        """The counts as they are now."""
        with self._lock:
            answers = tuple(({"answer": name}, self._answers[name]) for name in _ANSWERS)
            return [
                Metric("kizu_approval_requests_total", "Requests by class of answer.", answers, "counter", ("answer",)),
                Metric(
                    "kizu_approval_refused_total", "Requests that no rule knows.", (({}, self._refused),), "counter"
                ),
                Metric(
                    "kizu_approval_wrong_passwords_total",
                    "Requests with a wrong account or password.",
                    (({}, self._wrong_passwords),),
                    "counter",
                ),
                Metric(
                    "kizu_approval_accounts_ok",
                    "1: the files of accounts and approvers are in use as they are now.",
                    (({}, float(self._accounts_ok())),),
                ),
            ]
