"""Finds every moment at which a scenario changes the disk, and ends the process there: once for each, by SIGKILL.

`python -m tests.edge_agent.crash_points <scenario> <how> <folder>` is a fork server: it imports everything once, starts
no thread, and forks a child for the run that is killed and another for the start after it. It prints what it tried as
JSON, `{"tried": {kind: number}, "ends": number, "problems": […]}`: the points, and how often the process was ended.

A kill at a point where the disk, and what the outside world has seen, are as at the point before leaves the same
behind: such neighbours are tried once.

A point lies before and after each call of the `Disk` port, of a statement or commit of SQLite and of the object store,
before each single step that a call of the port is made of, and before each change that python-tuf makes to its cache.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from edge_agent.disk import RealDisk, Steps
from edge_agent.outbox_schema import connect

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate")


class Points:
    """Numbers the moments of a run. At number `fatal` it calls `end`, which does not return.

    Args:
        left: what a kill would leave behind now; `states` has it for each moment.
    """

    def __init__(
        self,
        fatal: int = 0,
        end: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGKILL),
        left: Callable[[], str] = str,
    ) -> None:
        self.names: list[str] = []
        self.states: list[str] = []
        self.fatal = fatal
        self.end = end
        self.left = left

    def __call__(self, name: str) -> None:
        self.names.append(name)
        self.states.append(self.left())
        if len(self.names) == self.fatal:
            self.end()


class Watched:
    """Any port, with a point before each call and, where wanted, after it."""

    def __init__(self, port: object, kind: str, points: Points, *, after: bool = True) -> None:
        self._port, self._kind, self._points, self._after = port, kind, points, after

    def __getattr__(self, name: str):
        call = getattr(self._port, name)

        def watched(*args, **kwargs):
            self._points(f"{self._kind}: before {name}")
            result = call(*args, **kwargs)
            if self._after:
                self._points(f"{self._kind}: after {name}")
            return result

        return watched


class AsTheyAre:
    """The ports of a scenario without points: for what goes before, and for the start after the crash."""

    def __init__(self, steps: Steps) -> None:
        self.disk = RealDisk(steps)

    def store(self, store):
        return store

    def connect(self, path: Path) -> sqlite3.Connection:
        return connect(path)


class Watch:
    """The ports of a scenario, all of them with points."""

    def __init__(self, points: Points, steps: Steps) -> None:
        self.points = points
        self.past_the_port: list[str] = []
        """Changes under the watched folder by our own code that did not go through `edge_agent/disk.py`."""
        self.disk = Watched(RealDisk(Watched(steps, "step", points, after=False)), "disk", points)

    def store(self, store):
        return Watched(store, "store", self.points)

    def connect(self, path: Path) -> sqlite3.Connection:
        points = self.points

        class Connection(sqlite3.Connection):
            def execute(self, sql, *args):
                word = " ".join(sql.split()[:3])
                points(f"sqlite: before {word}")
                cursor = super().execute(sql, *args)
                points(f"sqlite: after {word}")
                return cursor

        return connect(path, Connection)

    def listen(self, folder: Path) -> None:
        """See every change that Python code makes under `folder`; there is no way back, so only in a child."""

        def hook(event: str, args: tuple) -> None:
            if event not in _CHANGES or not str(args[0]).startswith(str(folder)):
                return
            if event == "open" and not (set(args[1] or "") & set("wax+") or (args[2] or 0) & _WRITES):
                return
            who = _who()
            if who == "tuf":
                self.points(f"tuf: before {event}")
            elif who not in ("edge_agent/disk.py", "tests"):
                self.past_the_port.append(f"{event} {args[0]} by {who}")

        sys.addaudithook(hook)


def _who() -> str:
    """Whose code is at work: the innermost frame that is not Python's own."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if "/site-packages/tuf/" in name:
            return "tuf"
        if "/edge_agent/" in name and "/tests/" not in name:
            return "edge_agent/" + name.rsplit("/edge_agent/", 1)[1]
        if "/tests/" in name and "/crash_points.py" not in name:
            return "tests"
        frame = frame.f_back
    return "?"


def in_child(work: Callable[[], object]) -> tuple[int, object]:
    """Fork, work, and bring back the child's end (0, -SIGKILL, 1) and its answer."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        code = 0
        try:
            answer = work()
        except BaseException:
            answer, code = traceback.format_exc(), 1
        with os.fdopen(writer, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), json.loads(text) if text else None


def try_all(scenario, how: str, root: Path) -> dict:
    """Run `scenario` to its end once, then once for each point, and after each the start that follows."""
    from tests.edge_agent.power import PowerSteps

    template = root / "template"
    template.mkdir()
    _must(in_child(lambda: scenario.prepare(template, AsTheyAre(Steps()))))

    def run(folder: Path, fatal: int):
        points = Points(fatal)
        if how == "kill" and not fatal:
            points.left = partial(_left_behind, folder)
        steps = Steps()
        if how != "kill":
            steps = PowerSteps(folder, how)
            points.end = steps.cut
        watch = Watch(points, scenario.on(steps, folder))
        watch.listen(folder)
        scenario.run(folder, watch, partial(_say, folder))
        return points.names, points.states, watch.past_the_port

    clean = _copy(template, root / "clean")
    names, states, past_the_port = _must(in_child(lambda: run(clean, 0)))
    problems = [f"not through the port: {item}" for item in past_the_port]
    problems += _must(in_child(partial(_checked, scenario, clean)))
    tried: Counter[str] = Counter()
    ends = 0
    for number, name in enumerate(names, start=1):
        if how != "kill" and not name.startswith(("step", "tuf", "sqlite: after COMMIT")):
            continue  # the disk is as it was at the point before
        tried[name.split(":")[0]] += 1
        if how == "kill" and number > 1 and states[number - 1] == states[number - 2]:
            continue
        ends += 1
        folder = _copy(template, root / "point")
        code, answer = in_child(partial(run, folder, number))
        where = f"point {number}, {name}"
        if code != -signal.SIGKILL:
            problems.append(f"{where}: expected the run to be killed, but it ended with {code}: {answer}")
            continue
        code, answer = in_child(partial(_checked, scenario, folder))
        problems += [f"{where}: {item}" for item in (answer if code == 0 else [f"the next start failed: {answer}"])]
    return {"tried": tried, "ends": ends, "problems": problems}


def _left_behind(folder: Path) -> str:
    """A digest of all files and links under `folder`, and of what the outside world has seen."""
    found = hashlib.sha256(str(_said(folder)).encode())
    for path in sorted(folder.rglob("*")):
        found.update(f"{path.relative_to(folder)} {path.lstat().st_mode} ".encode())
        if path.is_symlink():
            found.update(str(path.readlink()).encode())
        # SQLite makes the index of its log anew from the log.
        elif path.is_file() and not path.name.endswith("-shm"):
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _checked(scenario, folder: Path) -> list[str]:
    return list(scenario.check(folder, AsTheyAre(scenario.on(Steps(), folder)), _said(folder)))


def _copy(template: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder, symlinks=True)
    _file_of_words(folder).unlink(missing_ok=True)
    return folder


def _file_of_words(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.said")


def _say(folder: Path, word: str) -> None:
    """What the outside world has seen of a run: kept whatever happens to it."""
    descriptor = os.open(_file_of_words(folder), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{word}\n".encode())
    os.close(descriptor)


def _said(folder: Path) -> list[str]:
    path = _file_of_words(folder)
    return path.read_text().splitlines() if path.exists() else []


def _must(answer: tuple[int, object]):
    code, value = answer
    if code != 0:
        raise RuntimeError(f"the scenario itself fails ({code}): {value}")
    return value


def main() -> None:
    from tests.edge_agent.crash_frames import Caps, DamagedIndex, Frames, FramesApart, OldIndex, Parts, Posted
    from tests.edge_agent.crash_software import NewSoftware
    from tests.edge_agent.crash_updates import Beside, FirstInstall, UnsyncedUpdate, Update

    scenarios = {
        kind.__name__: kind
        for kind in (
            Update,
            Beside,
            FirstInstall,
            UnsyncedUpdate,
            Frames,
            FramesApart,
            Caps,
            OldIndex,
            DamagedIndex,
            Posted,
            Parts,
            NewSoftware,
        )
    }
    name, how, folder = sys.argv[1:]
    logging.disable()
    # The one beside this is onnxruntime's, from its import on: it waits, and holds nothing that a child would want.
    threads = len(list(Path("/proc/self/task").iterdir()))
    assert threads <= 2, f"expected to fork before any session or pool has started, but {threads} threads run"
    with tempfile.TemporaryDirectory(dir=folder) as root:
        print(json.dumps(try_all(scenarios[name](), how, Path(root))))


if __name__ == "__main__":
    main()
