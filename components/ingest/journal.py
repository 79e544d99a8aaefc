"""A journal of what an import has stored, so that an interrupted import need not read everything again.

It is a file of JSON lines, one for each image: the name in the source, a stamp that changes with its bytes, its sha256
and the key of its Capture. The journal is a hint: the import asks the store whether the Capture is there before it uses
a line. A line that was cut off is ignored, and its image is stored again, which changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import IO


@dataclass(frozen=True, slots=True)
class Done:
    """An image that is in the raw bucket, with its Capture."""

    name: str
    stamp: str
    sha256: str
    capture_key: str


class Journal:
    """The lines of one import. Safe to share between threads."""

    def __init__(self, known: dict[str, Done], stream: IO[str] | None) -> None:
        self._known = known
        self._stream = stream
        self._lock = Lock()

    def find(self, name: str, stamp: str) -> Done | None:
        """The entry of a file, if its bytes are still the same."""
        done = self._known.get(name)
        return done if done is not None and stamp and done.stamp == stamp else None

    def add(self, done: Done) -> None:
        """Add an entry. Call it after the image and its Capture are in the store."""
        with self._lock:
            self._known[done.name] = done
            if self._stream is not None:
                self._stream.write(json.dumps(asdict(done)) + "\n")
                self._stream.flush()


@contextmanager
def open_journal(path: Path | None) -> Iterator[Journal]:
    """Open the journal of an import; it is made if there is none. None: the import keeps no journal."""
    if path is None:
        yield Journal({}, None)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {done.name: done for done in _lines(path)}
    with path.open("a", encoding="utf-8") as stream:
        stream.write("\n")  # after a line that was cut off
        yield Journal(known, stream)


def _lines(path: Path) -> Iterator[Done]:
    try:
        stream = path.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    with stream:
        for line in stream:
            try:
                value = json.loads(line)
                if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
                    yield Done(**value)
            except (ValueError, TypeError):
                continue
