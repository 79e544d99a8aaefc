"""The settings of the heap, tested in a process of its own."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

# The dynamic threshold of glibc rises with the first mapped picture that is freed; then heaps take the next ones.
_SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from edge_agent.memory import keep_heap_flat

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

kept = keep_heap_flat() if sys.argv[1] == "flat" else False
np.ones(30_000_000, np.uint8)
before = resident_mb()
pictures = [np.ones(2_000_000, np.uint8) for _ in range(100)]
small = [bytearray(3000) for _ in range(10)]
del pictures
print(json.dumps([kept, resident_mb() - before]))
"""


def grown_mb(arm: str) -> tuple[bool, float]:
    """Whether the setting was made, and by how many MB the process had grown at the end."""
    command = [sys.executable, "-c", _SCRIPT, arm]
    kept, grown = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return kept, grown


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc on this machine")
def test_pictures_that_are_freed_go_back_to_the_system_though_small_things_stay():
    """200 MB of pictures are freed, and small things that were made after them are kept."""
    kept, grown = grown_mb("flat")
    assert kept
    assert grown < 5


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc on this machine")
def test_without_the_setting_the_same_pictures_stay_with_the_process():
    """The control arm: the setting is what makes the difference, not the script."""
    kept, grown = grown_mb("as it comes")
    assert not kept
    assert grown > 100
