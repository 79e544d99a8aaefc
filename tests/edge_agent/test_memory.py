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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc on this machine")
def test_pictures_that_are_freed_go_back_to_the_system_though_small_things_stay():
    """200 MB of pictures, then small things after them that are kept."""
    answer = subprocess.run([sys.executable, "-c", _SCRIPT, "flat"], capture_output=True, text=True, check=True).stdout
    kept, grown_mb = json.loads(answer)
    assert kept
    assert grown_mb < 5
