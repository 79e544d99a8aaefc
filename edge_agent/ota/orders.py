"""The way of a command to the one thread that owns the transitions, and of the answer back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from edge_agent.errors import StateError
from edge_agent.ota.operator_command import Command

ANSWER_S: Final = 25.0
STOPPING: Final = "the agent is stopping; give the command again when it has started"


class Orders:
    """Commands of all threads, which one thread carries out. Without such a thread, the caller carries them out.

    Args:
        carry_out: carries a command out and returns what happened; raises StateError where it cannot be carried out.
        answer_s: how long a command waits for a step that cannot be interrupted.
    """

    def __init__(self, carry_out: Callable[[Command], str], answer_s: float = ANSWER_S) -> None:
        self._carry_out = carry_out
        self._answer_s = answer_s
        self._lock = threading.Lock()
        # Held by a command that is carried out before a thread owns them, so that the thread waits for its end.
        self._turn = threading.Lock()
        self._owned = False
        self._closed = False
        self._waiting: deque[_Order] = deque()
        self.interrupt: Final = threading.Event()
        """Set while a command waits, and from `close` on: a download or a trial should end for now."""

    def own(self) -> None:
        """From now on only the calling thread carries out commands, in `carry_out_waiting`."""
        with self._turn:
            self._owned = True

    def give(self, command: Command) -> str:
        """Have a command carried out; what happened.

        Raises:
            StateError: it could not be carried out; the message says why.
        """
        with self._turn:
            if not self._owned:
                return self._carry_out(command)
        order = _Order(command)
        with self._lock:
            if self._closed:
                raise StateError(STOPPING)
            self._waiting.append(order)
            self.interrupt.set()
        if order.done.wait(self._answer_s):
            return order.outcome()
        with self._lock:
            if order in self._waiting:
                self._waiting.remove(order)
                raise StateError(
                    "the agent is in a step that cannot be interrupted; nothing was changed, give the command again"
                )
        if not order.done.wait(self._answer_s):
            raise StateError("the command is still being carried out; the page shows which release runs")
        return order.outcome()

    def carry_out_waiting(self) -> None:
        """Carry out the commands that wait. For the thread that owns them."""
        while True:
            with self._lock:
                if not self._waiting:
                    if not self._closed:
                        self.interrupt.clear()
                    return
                order = self._waiting.popleft()
            try:
                order.end(answer=self._carry_out(order.command))
            except StateError as e:
                order.end(error=e)
            except Exception as e:
                order.end(error=StateError(f"the agent failed to carry it out: {type(e).__name__}: {e}"))
                raise

    def close(self) -> None:
        """Refuse the commands that wait and those that come."""
        with self._lock:
            self._closed = True
            refused, self._waiting = self._waiting, deque()
            self.interrupt.set()
        for order in refused:
            order.end(error=StateError(STOPPING))


class _Order:
    def __init__(self, command: Command) -> None:
        self.command = command
        self.done = threading.Event()
        self._answer = ""
        self._error: StateError | None = None

    def end(self, *, answer: str = "", error: StateError | None = None) -> None:
        self._answer, self._error = answer, error
        self.done.set()

    def outcome(self) -> str:
        if self._error is not None:
            raise self._error
        return self._answer
