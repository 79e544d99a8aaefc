"""Run the command `kizu` as a process, and check how it reports an error."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def kizu(*arguments, home, **environment):
    """Run `kizu` with these arguments and no server configured. home: its KIZU_HOME."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "kizu", *map(str, arguments)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=120,
        env=kept | {"KIZU_HOME": str(home), "COLUMNS": "200"} | environment,
    )  # fmt: skip


def assert_is_an_error_in_one_line(result, *words):
    """Check that the exit code is not zero and that stderr is one line with these words, without a trace."""
    assert result.returncode not in (0, None)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("kizu: ")
    for word in words:
        assert word in lines[0]
