"""The settings of the heap, tested in a process of its own, and how much memory is free."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

from edge_agent.memory import free_memory_bytes, resident_bytes

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


def test_the_free_memory_is_that_of_the_tightest_limit(tmp_path):
    """The machine has much free, the service's group less, and its file cache can be dropped."""
    group = tmp_path / "sys/fs/cgroup/system.slice/kizu-edge.service"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    assert free_memory_bytes(tmp_path) is None
    (tmp_path / "proc/meminfo").write_text("MemTotal: 8000000 kB\nMemAvailable:    4000000 kB\n")
    assert free_memory_bytes(tmp_path) == 4_096_000_000
    (tmp_path / "proc/self/cgroup").write_text("0::/system.slice/kizu-edge.service\n")
    (group.parent / "memory.max").write_text("max\n")
    (group / "memory.max").write_text("536870912\n")
    (group / "memory.current").write_text("200000000\n")
    (group / "memory.stat").write_text("anon 1\ninactive_file 50000000\n")
    assert free_memory_bytes(tmp_path) == 536_870_912 - 150_000_000
    assert (free_memory_bytes() or 1) > 0


def test_the_memory_of_a_process_is_what_it_uses():
    """A process that is gone uses none that could be told."""
    assert resident_bytes(os.getpid()) > 1_000_000
    assert resident_bytes(2**22 + 1) is None
