"""The candidate's process, as the agent sees it: starts it, hands it images, and ends it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edge_agent.errors import EdgeError, Interrupted, UpdateError
from edge_agent.memory import resident_bytes
from edge_agent.ota.trial import child_environment, share_of_free
from edge_agent.shadow.worker import LENGTH_BYTES
from edge_agent.tightening import NOT_TIGHTENED, Tightening
from inspection import Verdict
from inspection.part_view import UNKNOWN_VIEW, PartView
from inspection.region import Region

_START_S: Final = 180.0
_FRAME_S: Final = 60.0
_LOOK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Answer:
    """What the candidate says of one image. cpu_s: the processor time that it took, in seconds."""

    verdict: Verdict
    cpu_s: float


class ShadowProcess:
    """A process in which one candidate judges. For one thread.

    Args:
        interrupted: set where the process must end at once.
        memory_bytes: the most memory that it may use; None for nine tenths of what is free now.
        tighten: stricter acceptance rules than the candidate's, as for the release.

    Raises:
        UpdateError: the candidate may not judge; its reason is a fixed word.
        Interrupted: `interrupted` was set.
        EdgeError: the process could not be started.
    """

    def __init__(
        self,
        folder: Path,
        digest: str,
        *,
        precision: str,
        max_pixels: int,
        interrupted: threading.Event,
        memory_bytes: int | None = None,
        tighten: Tightening = NOT_TIGHTENED,
        resident: Callable[[int], int | None] = resident_bytes,
    ) -> None:
        self._interrupted = interrupted
        self._limit = memory_bytes or share_of_free()
        self._resident = resident
        self._rest = b""
        command = [
            sys.executable, "-m", "edge_agent.shadow.worker", str(folder), digest,
            "--precision", precision, "--max-pixels", str(max_pixels), "--tighten", json.dumps(asdict(tighten)),
        ]  # fmt: skip
        try:
            self._child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
                env=child_environment(),
            )  # fmt: skip
        except OSError as e:
            raise EdgeError(f"cannot start a process for the candidate: {e}") from e
        try:
            answer = self._answer(_START_S)
            if answer.get("ready") is not True:
                raise UpdateError(str(answer.get("reason", "unusable-release")), str(answer.get("message", "")))
        except BaseException:
            self.close()
            raise

    def judge(self, data: bytes, view: PartView = UNKNOWN_VIEW, region: Region | None = None) -> Answer:
        """Judge one image.

        Args:
            data: the bytes of the image file.
            view: how its camera sees the part.
            region: what of the picture is judged; all of it where it is None.

        Raises:
            UpdateError: the candidate failed on it, ended, or took too long or too much memory; close it.
            Interrupted: `interrupted` was set; close it.
        """
        try:
            about = b"" if region is None else region.to_json()
            for item in (json.dumps(asdict(view)).encode(), about, data):
                self._write(len(item).to_bytes(LENGTH_BYTES))
                self._write(item)
        except (BrokenPipeError, ConnectionResetError):
            raise self._ended() from None
        answer = self._answer(_FRAME_S)
        if "error" in answer:
            raise UpdateError("runtime-error", str(answer["error"]))
        return Answer(Verdict(str(answer["verdict"])), float(answer["cpu_s"]))

    def close(self) -> None:
        """End the process; its memory is free when this returns."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()

    def _write(self, data: bytes) -> None:
        pipe, view = self._child.stdin, memoryview(data)
        assert pipe is not None
        os.set_blocking(pipe.fileno(), False)
        until = time.monotonic() + _FRAME_S
        while view:
            self._look(until)
            if select.select([], [pipe], [], _LOOK_S)[1]:
                view = view[os.write(pipe.fileno(), view) :]

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        pipe = self._child.stdout
        assert pipe is not None
        until = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            self._look(until)
            if not select.select([pipe], [], [], _LOOK_S)[0]:
                continue
            piece = os.read(pipe.fileno(), 65536)
            if not piece:
                raise self._ended()
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _look(self, until: float) -> None:
        if self._interrupted.is_set():
            raise Interrupted("the candidate's process was ended from outside")
        if time.monotonic() > until:
            raise UpdateError("too-slow", "the candidate did not answer in time")
        used = self._resident(self._child.pid)
        if self._limit is not None and used is not None and used > self._limit:
            raise UpdateError(
                "too-much-memory", f"it used {used // 2**20} MiB, over the limit of {self._limit // 2**20} MiB"
            )

    def _ended(self) -> UpdateError:
        code = self._child.wait()
        if code == -signal.SIGKILL:
            return UpdateError("too-much-memory", "the system ended the process, as it does where memory runs out")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return UpdateError("crashed", f"the process of the candidate died with {how}")
