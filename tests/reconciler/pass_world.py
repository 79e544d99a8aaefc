"""A world in memory for passes of the reconciler: the ports as fakes, the claims and decisions as they are.

`Faults` ends the process at any call of a port, before the call has an effect or after it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from components.stores.objects.claims import Claims, RunState
from components.stores.objects.s3 import ObjectInfo, ObjectNotFound, ObjectStoreError
from components.use_case import load_use_case
from kizu.context import DEFAULT_USE_CASE
from reconciler.decisions import Decision, DecisionLog
from reconciler.notices import Message
from reconciler.notifier import NoticeError
from reconciler.one_pass import Loop
from reconciler.products import Served, product_of
from reconciler.seeing import Sources
from reconciler.starts import StartError
from reconciler.training_due import TrainingFacts
from reconciler.view import FinishedLabels, SeenDesired, SeenRun, SeenVersion

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
STATE = "kizu-state"
PRODUCT = product_of(load_use_case(DEFAULT_USE_CASE))
NAME = PRODUCT.name


class Killed(BaseException):
    """The process ended here."""


class Lost(Exception):
    """An answer was lost: the call had its effect, and the caller cannot know."""


class Faults:
    """Counts the calls of ports, and ends the process at one of them. at: the number of that call, from 1."""

    def __init__(self) -> None:
        self.calls = 0
        self.at = 0
        self.after = False
        self.lost = False

    def arm(self, at: int, *, after: bool, lost: bool = False) -> None:
        self.calls, self.at, self.after, self.lost = 0, at, after, lost

    def disarm(self) -> None:
        self.calls, self.at = 0, 0

    def around(self, call: Any, *arguments: Any, **named: Any) -> Any:
        """Make a call of a port."""
        self.calls += 1
        here = self.calls == self.at
        if here and not self.after:
            raise Lost if self.lost else Killed
        result = call(*arguments, **named)
        if here:
            raise Lost if self.lost else Killed
        return result


class MemoryObjects:
    """The calls of `S3ObjectStore` that claims, leases and decisions make."""

    def __init__(self, faults: Faults) -> None:
        self.objects: dict[str, bytes] = {}
        self._modified: dict[str, datetime] = {}
        self._faults = faults

    def _do(self, call, *arguments, **named):
        try:
            return self._faults.around(call, *arguments, **named)
        except Lost as e:
            raise ObjectStoreError("the answer was lost") from e

    def put(self, bucket, key, data, *, if_absent=False, if_match=None, content_type=""):
        return self._do(self._put, key, data, if_absent, if_match)

    def _put(self, key, data, if_absent, if_match):
        if if_absent and key in self.objects:
            return False
        if if_match is not None and (key not in self.objects or etag(self.objects[key]) != if_match):
            return False
        self.objects[key] = data
        self._modified[key] = max(self._modified.values(), default=NOW) + timedelta(seconds=1)
        return True

    def get(self, bucket, key):
        return self.get_with_etag(bucket, key)[0]

    def get_with_etag(self, bucket, key):
        return self._do(self._get, key)

    def _get(self, key):
        if key not in self.objects:
            raise ObjectNotFound(key)
        return self.objects[key], etag(self.objects[key])

    def exists(self, bucket, key):
        return self._do(lambda: key in self.objects)

    def delete(self, bucket, key):
        self._do(lambda: self.objects.pop(key, None))

    def list(self, bucket, prefix="") -> Iterator[ObjectInfo]:
        found = self._do(lambda: sorted(key for key in self.objects if key.startswith(prefix)))
        return iter(
            [
                ObjectInfo(key, len(self.objects[key]), etag(self.objects[key]), self._modified.get(key, NOW))
                for key in found
            ]
        )


def etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Runs:
    """Runs of all pipelines: id -> (claim, pipeline, state). `starts` keeps each start that had its effect."""

    faults: Faults
    known: dict[str, list[Any]] = field(default_factory=dict)
    starts: list[tuple[str, str]] = field(default_factory=list)
    arguments: list[dict[str, Any]] = field(default_factory=list)

    def runs(self, pipeline):
        return self

    def find(self, claim):
        return self._ask(lambda: next((run for run, item in reversed(self.known.items()) if item[0] == claim), None))

    def state(self, run_id):
        return self._ask(lambda: self.known[run_id][2] if run_id in self.known else RunState.LOST)

    def start(self, pipeline, arguments, claim, run):
        run_id = self._ask(lambda: self._start(pipeline, arguments, claim))
        run.started(run_id)
        return run_id

    def _start(self, pipeline, arguments, claim):
        run_id = f"run-{len(self.known) + 1}"
        self.known[run_id] = [claim, pipeline, RunState.RUNNING]
        self.starts.append((pipeline, claim))
        self.arguments.append(dict(arguments))
        return run_id

    def end(self, state=RunState.SUCCEEDED):
        for item in self.known.values():
            if item[2] is RunState.RUNNING:
                item[2] = state

    def _ask(self, call):
        try:
            return self.faults.around(call)
        except Lost as e:
            raise StartError("the answer was lost") from e


@dataclass
class Mailbox:
    """Keeps the messages that were taken. refuse: takes none."""

    faults: Faults
    taken: list[Message] = field(default_factory=list)
    refuse: bool = False

    def send(self, message):
        if self.refuse:
            raise NoticeError("the mailbox is full")
        try:
            self.faults.around(self.taken.append, message)
        except Lost as e:
            raise NoticeError("the answer was lost") from e


@dataclass
class Servers:
    """What the servers say. All four ports of a view."""

    versions: tuple[SeenVersion, ...] = ()
    waiting: SeenVersion | None = None
    run: SeenRun | None = None
    state: SeenDesired | None = None
    training: TrainingFacts | None = None
    annotated_at: datetime | None = None

    def approved(self, model):
        return self.versions

    def pending(self, model):
        return self.waiting

    def last_run(self, model):
        return self.run

    def desired(self, use_case, group):
        return self.state

    def facts(self, use_case, last_run):
        return self.training

    def newest(self, use_case):
        return FinishedLabels(self.annotated_at)


@dataclass
class Fixed:
    """The products, as they are given."""

    served: Served

    def read(self):
        return self.served


class World:
    """Servers, store, runs and mailbox, which outlive each process that reconciles."""

    def __init__(self, *products) -> None:
        self.faults = Faults()
        self.store: Any = MemoryObjects(self.faults)
        self.runs = Runs(self.faults)
        self.mail = Mailbox(self.faults)
        self.servers = Servers()
        self.products: Any = Fixed(Served(products or (PRODUCT,)))
        self.now = NOW
        self._processes = 0

    def loop(self, **more: Any) -> Loop:
        """A new process that reconciles."""
        self._processes += 1
        named = {
            "starter": self.runs, "notifier": self.mail, "mlflow_url": "http://mlflow.example",
            "holder": f"p{self._processes}", "clock": lambda: self.now, **more,
        }  # fmt: skip
        sources = Sources(self.servers, self.servers, self.servers, self.servers)
        claims, decisions = Claims(self.store, STATE), DecisionLog(self.store, STATE)
        starter, notifier = named.pop("starter"), named.pop("notifier")
        return Loop(self.products, sources, claims, starter, decisions, notifier, **named)

    def says(self, **changes: Any) -> None:
        """The servers say something else from now on, to the processes that are at work too."""
        for name, value in changes.items():
            setattr(self.servers, name, value)

    def wait(self, **delta: float) -> None:
        self.now += timedelta(**delta)

    def decisions(self) -> list[Decision]:
        """The decisions that are kept, by key."""
        objects = self.store.objects
        return [Decision.from_json(objects[key]) for key in sorted(objects) if key.startswith("decisions/")]

    def all_there_is_to_do(self) -> None:
        """An approved version, enough labels, finished labels, a version that waits, and a gate that failed."""
        self.says(
            versions=(SeenVersion(3, "r3", approved_by="ann"), SeenVersion(2, "r2")),
            waiting=SeenVersion(4, "r4"),
            run=SeenRun("r5", "7", passed=False),
            state=SeenDesired(sequence=2, version=2),
            training=TrainingFacts(label_version=57, new_labels=50, last=None),
            annotated_at=NOW - timedelta(minutes=3),
        )


def folder_of(tmp_path: Path) -> Path:
    """A folder for use case files that is not there yet."""
    return tmp_path / "use-cases"
