"""What an import has put already, so that it can be taken up again without reading everything again.

A file of JSON lines, one an image: the name in the source, the stamp that changes with its bytes, its sha256 and the
key of its Capture. It is a hint: whoever uses a line asks the store whether the Capture is there. A line that was cut
off is passed over, and its image is put again, which changes nothing.
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
        """What became of a file, if its bytes are still the same."""
        done = self._known.get(name)
        return done if done is not None and stamp and done.stamp == stamp else None

    def add(self, done: Done) -> None:
        """Remember; called after the image and its Capture are in the store."""
        with self._lock:
            self._known[done.name] = done
            if self._stream is not None:
                self._stream.write(json.dumps(asdict(done)) + "\n")
                self._stream.flush()


@contextmanager
def open_journal(path: Path | None) -> Iterator[Journal]:
    """The journal of an import, made where there is none; None: nothing is remembered."""
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
