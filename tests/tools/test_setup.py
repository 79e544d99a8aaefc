"""`tools/setup`: two at once do not write into the same environments."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_second_setup_waits_for_the_first_and_says_so(tmp_path):
    """While another process holds the lock of the folder, a setup makes no environment."""
    (tmp_path / "tools").mkdir()
    script = Path(shutil.copy(REPOSITORY / "tools" / "setup", tmp_path / "tools" / "setup"))
    with (tmp_path / ".setup.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with subprocess.Popen([script, "dev"], stdout=subprocess.PIPE, text=True) as second:
            assert second.stdout is not None
            assert "waiting for its end" in second.stdout.readline()
            assert sorted(path.name for path in tmp_path.iterdir()) == [".setup.lock", "tools"]
            second.terminate()
