"""`python -m deploy.local.guard [--grace SECONDS] COMMAND…`: runs a server, and ends it and its children with the
supervisor.

Linux only. The guard and all its descendants are one process group. Orphans of the server become children of the guard
(PR_SET_CHILD_SUBREAPER). If the supervisor dies, even by kill -9, the kernel sends SIGTERM to the guard
(PR_SET_PDEATHSIG), and the guard kills the group at once. If the guard is killed, the kernel kills the server, and the
supervisor ends the rest of the group.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from typing import Final

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
GRACE_S: Final = 15.0
# These signals are awaited with sigwait, not handled: a handler could interrupt a wait, and could not wait itself.
_WAITED: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})


def main(argv: list[str]) -> int:
    """Run the command, and end its group on SIGTERM and SIGINT. Returns the command's exit code."""
    grace_s = GRACE_S
    if argv[:1] == ["--grace"]:
        grace_s, argv = float(argv[1]), argv[2:]
    parent = os.getppid()
    if os.getpgrp() != os.getpid():
        os.setsid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return 1
    server = _start(argv)
    code: int | None = None
    while code is None:
        if signal.sigwait(_WAITED) == signal.SIGCHLD:
            code = _reap().get(server)
        elif os.getppid() != parent:
            os.killpg(0, signal.SIGKILL)  # no supervisor waits for a clean end, and the ports must become free
        else:
            code = 0
    _end_group(grace_s)
    return code


def _start(argv: list[str]) -> int:
    guard = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == guard:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED)
                os.execvp(argv[0], argv)  # noqa: S606 - a list of our own, never a shell
        except OSError as e:
            os.write(2, f"{argv[0]} cannot be started: {e}\n".encode())
        finally:
            os._exit(127)
    return pid


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value)


def _reap() -> dict[int, int]:
    """Return pid -> exit code, as a shell gives it, of the children that ended. The key -1 means that none is left."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended | {-1: 0}
        if pid == 0:
            return ended
        code = os.waitstatus_to_exitcode(status)
        ended[pid] = code if code >= 0 else 128 - code


def _end_group(grace_s: float) -> None:
    """Send SIGTERM to the whole group. After `grace_s` seconds, send SIGKILL to the rest, which includes the guard."""
    os.killpg(0, signal.SIGTERM)  # the guard blocks this signal
    deadline = time.monotonic() + grace_s
    while -1 not in _reap():
        if time.monotonic() > deadline:
            os.killpg(0, signal.SIGKILL)
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
