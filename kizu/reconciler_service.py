"""The reconciler as a service: passes again and again, a door, and one of several replicas that acts.

The clients of the servers are imported when there is something to do, so that a service without products is small and
starts quickly.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from components.same_line import SameLine
from kizu.reconciling import compose, has_files, holder, products_of

if TYPE_CHECKING:
    from components.settings import Settings
    from kizu.reconciling import PassResult, Reconciling
    from reconciler.products import Products

_log = logging.getLogger(__name__)

_LATE: Final = 10
"""After so many intervals without a pass the service is not healthy any more."""

_SHORTEST_S: Final = 1.0
"""The shortest pause between two passes that nobody asked for."""


def pause_until(again_at: datetime | None, now: datetime, every_s: float) -> float:
    """Seconds until the next pass: `every_s`, or less where a wait ends before that.

    again_at: when the first wait ends whose end is known.
    """
    if again_at is None:
        return every_s
    return min(every_s, max((again_at - now).total_seconds(), min(_SHORTEST_S, every_s)))


class ReconcilerService:
    """Passes until it is stopped. say: gets what each pass did.

    Args:
        every_s: seconds between two passes.
        listen: address and port of the door; None: no door.
        idle: do nothing but wait until a product is automated or a release is ordered.
        now: the time by which the lease expires, in seconds since 1970.
    """

    def __init__(
        self,
        config: Settings,
        every_s: float,
        listen: str | None,
        *,
        idle: bool = False,
        say: Callable[[PassResult], None] = lambda _: None,
        composed: Callable[..., Reconciling] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        from reconciler.counters import Counters
        from reconciler.door import Door, HintSecrets

        if config.notify_webhook or config.notify_to or config.smtp_host:
            from reconciler.notifier import notifier_of

            notifier_of(config)  # half a way to send notices is an error now, not at the first notice
        self._config = config
        self._every_s = every_s
        self._idle = idle
        self._say = say
        self._compose = composed or partial(compose, run_ended=self._wake)
        self._again_at: datetime | None = None
        self._now = now
        self._products: Products | None = None
        self._counters = Counters()
        self._stopped = threading.Event()
        self._alive_at = time.monotonic()
        self._said = SameLine()
        self._reconciling: Reconciling | None = None
        self._lease: Any = None
        self._acting = False
        self.door = (
            Door(listen, HintSecrets.from_settings(config), self._counters.text, self._healthy, self._counters.hinted)
            if listen
            else None
        )

    def stop(self, _number: int = 0, _frame: Any = None) -> None:
        """End the loop; a pass that is at work comes to its end first. For signal handlers."""
        self._stopped.set()
        if self.door is not None:
            self.door.wake()

    def run(self) -> None:
        """Make passes until `stop` is called. A pass that fails is told, and the next one is made.

        Raises:
            CommandError, SettingsError: what is set cannot work; no later pass would.
        """
        from components.settings import SettingsError
        from kizu.context import CommandError

        with ExitStack() as stack:
            if self.door is not None:
                stack.enter_context(self.door)
            stack.callback(self._close)
            while not self._stopped.is_set():
                began = time.monotonic()
                try:
                    self._turn()
                except (CommandError, SettingsError):
                    raise
                except Exception as e:
                    self._counters.failed()
                    self._say_failure(e)
                else:
                    self._counters.passed(time.monotonic() - began, datetime.now(UTC))
                    self._said.forget()
                self._alive_at = time.monotonic()  # also after a failure: a restart mends no server
                self._sleep()

    def _say_failure(self, error: Exception) -> None:
        """One line, and the same again at most once a minute; a trace only where the fault may be in this code."""
        from components.stores.objects.s3 import ObjectStoreError
        from components.stores.releases.signer_client import SignerError

        if not self._said.is_due(str(error), time.monotonic()):
            return
        is_away = isinstance(error, (ObjectStoreError, SignerError))
        _log.error("this pass failed: %s; the next one is in %.0f s", error, self._every_s, exc_info=not is_away)

    def _turn(self) -> None:
        self._again_at = None
        if self._products is None:
            if self._idle and not has_files(self._config) and not self._is_released():
                return
            self._products = products_of(self._config)
        served = self._products.read()
        self._counters.serves(len(served.products), len(served.damaged))
        if self._idle and not served.products and self._reconciling is None and not self._is_released():
            return
        if self._reconciling is None:
            self._reconciling = self._compose(self._config, self._products, self._still_acting)
        if not self._acts():
            return
        result = self._reconciling.run()
        self._counters.decided(result.decisions)
        self._counters.failed(result.failures)
        self._again_at = result.again_at
        self._say(result)

    def _is_released(self) -> bool:
        """Whether something was released, whose rollout and champion need passes; no where the signer is away."""
        from components.stores.releases.signer_client import SignerClient, SignerError

        try:
            return bool(SignerClient.from_settings(self._config).desired_names())
        except SignerError:
            return False

    def _acts(self) -> bool:
        """Whether this replica holds the lease, after trying to."""
        from components.stores.objects.leases import Lease, LeaseError, LeaseRules
        from components.stores.objects.s3 import S3ObjectStore

        if self._lease is None:
            store, bucket = S3ObjectStore.from_settings(self._config), self._config.bucket("state")
            rules = LeaseRules(ttl_s=2 * self._every_s + 30)
            self._lease = Lease(store, bucket, "leases/reconciler/all/", holder(), rules, self._now)
        was = self._acting
        try:
            if was:
                self._lease.renew()
            else:
                self._acting = self._lease.try_acquire()
        except LeaseError:
            self._acting = False
        self._counters.acts(self._acting)
        if self._acting and not was and self._reconciling is not None:
            self._reconciling.took_over()
            _log.info("this replica acts from now on")
        return self._acting

    def _still_acting(self) -> None:
        self._lease.renew()

    def _sleep(self) -> None:
        if self._stopped.is_set():
            return
        pause_s = pause_until(self._again_at, datetime.now(UTC), self._every_s)
        if self.door is not None:
            self.door.wait(pause_s)
        else:
            self._stopped.wait(pause_s)

    def _wake(self) -> None:
        if self.door is not None:
            self.door.wake()

    def _healthy(self) -> bool:
        return time.monotonic() - self._alive_at < _LATE * self._every_s + 60

    def _close(self) -> None:
        if self._reconciling is not None:
            self._reconciling.close()
        if self._acting:
            with suppress(Exception):  # it expires by itself
                self._lease.release()
