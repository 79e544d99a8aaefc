"""Which steps of a demo are done: a killed demo goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.stores.objects.whole_file import write_whole


class Progress:
    """A JSON file of finished steps and their results, replaced atomically after each."""

    def __init__(self, file: Path, key: str) -> None:
        self._file = file
        self._steps: dict[str, Any] = {}
        if file.exists():
            saved = json.loads(file.read_bytes())
            if saved["key"] != key:
                raise ValueError(
                    "an earlier demo with other data or another use case lies here; "
                    "remove it with: make clean (or begin again with FRESH=1)"
                )
            self._steps = saved["steps"]
        self._key = key

    def once(self, step: str, act: Callable[[], Any]) -> Any:
        """The result of a step: its own, or what it returned when it ended well before. Results are JSON values."""
        if step not in self._steps:
            result = act()
            self._steps[step] = result
            self._save()
        return self._steps[step]

    def _save(self) -> None:
        write_whole(self._file, json.dumps({"key": self._key, "steps": self._steps}, indent=1).encode())
