"""Starts pipelines on this machine for the reconciler: each in a process of its own, with the pipeline's own identity.

The runs end with the process that started them. A run that was ended by `close` gives its claim up, so that it starts
again at once when the reconciler is back. After a kill the claim has a run that is lost, and is taken over after ten
minutes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol

from components.stores.objects.claims import RunState
from components.stores.objects.s3 import S3ObjectStore
from deploy.access.layout import Layout
from deploy.local.runs import RunFailed, RunStopped, run_pipeline
from pipelines.run_records import RunRecords, new_run_id, utc_now
from reconciler.starts import StartedRun, StartError

_log = logging.getLogger(__name__)
_START_S: Final = 120.0


class RunPipeline(Protocol):
    """`deploy.local.runs.run_pipeline`, or what takes its place."""

    def __call__(
        self,
        layout: Layout,
        pipeline: str,
        arguments: dict[str, Any],
        *,
        run_id: str | None = None,
        claim: str = "",
        on_start: Callable[[], None] | None = None,
        stop: threading.Event | None = None,
    ) -> dict[str, Any]:
        """Run a pipeline to its end."""


class BackgroundRuns:
    """The port `reconciler.starts.Starter` on one machine.

    Args:
        store, bucket: where runs keep their records.
        ended: called when a run has ended and its claim says so, from the run's own thread.
    """

    def __init__(
        self,
        layout: Layout,
        store: S3ObjectStore,
        bucket: str,
        *,
        run: RunPipeline = run_pipeline,
        clock: Callable[[], datetime] = utc_now,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._ended = ended
        self._layout = layout
        self._store = store
        self._bucket = bucket
        self._run = run
        self._clock = clock
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def runs(self, pipeline: str) -> RunRecords:
        """The records of the runs of a pipeline."""
        return RunRecords(self._store, self._bucket, pipeline)

    def start(self, pipeline: str, arguments: Mapping[str, Any], claim: str, run: StartedRun) -> str:
        """Start a run in a process of its own, and return its id once the process is there and noted.

        Raises:
            StartError: the process could not be started, or its start could not be noted: then it was ended.
        """
        if self._stop.is_set():
            raise StartError(f"{pipeline} is not started: the reconciler stops")
        run_id = new_run_id(self._clock())
        noted = threading.Event()
        failure: list[BaseException] = []
        thread = threading.Thread(
            target=self._work, args=(pipeline, dict(arguments), claim, run, run_id, noted, failure),
            name=f"run {run_id}", daemon=True,
        )  # fmt: skip
        self._threads = [known for known in self._threads if known.is_alive()]
        self._threads.append(thread)
        thread.start()
        if not noted.wait(_START_S):
            raise StartError(f"the process of {pipeline} was not there within {_START_S:.0f} s")
        if failure:
            raise StartError(f"{pipeline} could not be started: {failure[0]}") from failure[0]
        return run_id

    def wait(self) -> None:
        """Wait until all runs that this object started have ended."""
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """End all runs that this object started, and wait until their claims say so."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _work(
        self,
        pipeline: str,
        arguments: dict[str, Any],
        claim: str,
        run: StartedRun,
        run_id: str,
        noted: threading.Event,
        failure: list[BaseException],
    ) -> None:
        def on_start() -> None:
            run.started(run_id)
            noted.set()

        try:
            self._run(self._layout, pipeline, arguments, run_id=run_id, claim=claim, on_start=on_start, stop=self._stop)
        except RunStopped:
            run.withdrawn()
            return
        except RunFailed as e:
            _log.error("run %s of %s: %s", run_id, pipeline, e)
            run.ended(RunState.FAILED, str(e).partition("\n")[0])
            self._ended()
            return
        except Exception as e:  # whatever prevents a start is told to who asked for it
            if noted.is_set():
                _log.exception("run %s of %s", run_id, pipeline)
                run.ended(RunState.FAILED, f"{type(e).__name__}: {e}")
                self._ended()
            else:
                failure.append(e)
            return
        finally:
            noted.set()
        run.ended(RunState.SUCCEEDED, "")
        self._ended()
