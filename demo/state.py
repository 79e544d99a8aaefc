"""What the steps of a demo share: its options, its state, and how it speaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from components.stores.models.registry import ModelRegistry
from components.stores.objects.s3 import S3ObjectStore
from components.use_case import UseCase
from demo.data import DemoData
from demo.device import Device
from demo.progress import Progress
from demo.summary import RoundFacts, RoundResult
from deploy.access.identities import store_for
from deploy.access.layout import Layout


class DemoError(RuntimeError):
    """The demo cannot continue. The message says what to do."""


class GateFailed(Exception):
    """A model did not pass its gate, or a person rejected it. The demo ends, and the champion stays."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The options of `kizu demo`. use_case: the name of a shipped one, or a file; None: the one of the images.

    start: `good` begins with good parts alone (`demo/good_start.py`); empty: with labelled defects.
    """

    data: Path | None = None
    use_case: str | None = None
    real_people: bool = False
    fresh: bool = False
    stop: bool = False
    quick: bool = False
    rounds: int = 2
    start: str = ""


@dataclass(slots=True)
class Demo:
    """One demo: its installation, its data, and what it has said and found so far."""

    layout: Layout
    options: DemoOptions
    console: Console
    use_case: UseCase
    data: DemoData
    progress: Progress
    device: Device
    began: float
    registry: ModelRegistry
    results: list[RoundResult] = field(default_factory=list)
    rounds: list[RoundFacts] = field(default_factory=list)

    def store(self, identity: str) -> S3ObjectStore:
        """S3 with an identity of this installation."""
        return store_for(self.layout, identity)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Say what begins and, at its end, how long it took."""
        at = time.monotonic()
        minutes, seconds = divmod(int(at - self.began), 60)
        self.console.print(f"[bold][{minutes:02d}:{seconds:02d}][/bold] {title}", highlight=False)
        with self.console.status(title):
            yield
        self.console.print(f"        done in {time.monotonic() - at:.0f} s", style="dim", highlight=False)

    def say(self, text: str) -> None:
        """Say one line about the present step."""
        self.console.print(f"        {text}", highlight=False, soft_wrap=True)

    def show(self, name: str, what: str, draw: Callable[[Path], bool]) -> None:
        """Draw a picture, if an interrupted demo did not draw it before, and say where it is and since when."""
        path = self.layout.home / "demo" / name
        if not path.exists() and not draw(path):
            return
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        self.say(f"[green]{what}, as a picture (after {minutes} min {seconds} s): {path}[/green]")
