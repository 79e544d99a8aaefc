"""Records which steps of a demo are done, so that a killed demo continues where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.stores.objects.whole_file import write_whole


class Progress:
    """A JSON file of the finished steps and their results. It is replaced atomically after each step."""

    def __init__(self, file: Path, key: str) -> None:
        self._file = file
        self._steps: dict[str, Any] = {}
        if file.exists():
            saved = json.loads(file.read_bytes())
            if saved["key"] != key:
                raise ValueError(
                    "an earlier demo with other data or another use case is stored here; "
                    "remove it with: make clean (or start from the beginning with FRESH=1)"
                )
            self._steps = saved["steps"]
        self._key = key

    def once(self, step: str, act: Callable[[], Any]) -> Any:
        """Run a step, or return its stored result if it is done already. A result is a JSON value."""
        if step not in self._steps:
            result = act()
            self._steps[step] = result
            self._save()
        return self._steps[step]

    def _save(self) -> None:
        write_whole(self._file, json.dumps({"key": self._key, "steps": self._steps}, indent=1).encode())
