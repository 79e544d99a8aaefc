"""Tries new software in a process of its own, before it is started in the place of the present one.

`python -m edge_agent.software.trial <config> [<release folder> <digest>]` runs with the packages of the new slot, as
the launcher starts them. It imports what the agent imports, reads the configuration, and has the release that inspects
reproduce its golden samples. It prints one line of JSON, `{"ok": …, "reason": …, "message": …}`.
"""

from __future__ import annotations

import compileall
import json
import os
import py_compile
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.child import TooLong, run_child
from edge_agent.memory import (
    TooMuchMemory,
    end_first_without_memory,
    free_memory_bytes,
    resident_bytes,
    share_of,
    within_memory,
)

_TIMEOUT_S: Final = 600.0
_LOWEST: Final = 19


@dataclass(frozen=True, slots=True)
class SoftwareTrial:
    """The outcome. reason: a fixed word, empty where it passed."""

    ok: bool
    reason: str = ""
    message: str = ""


def try_software(
    python: str,
    site: Path,
    config: Path,
    release: tuple[Path, str] | None,
    stop: threading.Event,
    timeout_s: float = _TIMEOUT_S,
    memory_bytes: int | None = None,
    resident: Callable[[int], int | None] = resident_bytes,
) -> SoftwareTrial:
    """Run the trial in a child process, at the lowest priority and with a memory limit of its own (`within_memory`).

    Args:
        python: what the launcher starts a slot with.
        site: the packages of the new slot.
        config: the device's configuration file.
        release: folder and digest of the release that inspects; None where there is none.
        stop: ends the trial when it is set.
        memory_bytes: the most that it may use; None: nine tenths of what is free now.
        resident: the memory that a process uses, in bytes; None where the system does not say.

    Raises:
        Interrupted: `stop` was set; nothing is known about the software.
        EdgeError: the child could not be started.
    """
    command = [python, "-S", "-P", "-m", "edge_agent.software.trial", str(config)]
    if release is not None:
        command += [str(release[0]), release[1]]
    kept = {name: os.environ[name] for name in os.environ if name.startswith("KIZU_EDGE_")}
    kept |= {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    environment = {**kept, "PYTHONPATH": str(site)}
    look = within_memory(memory_bytes or share_of(free_memory_bytes()), resident)
    try:
        end = run_child(command, environment, stop, timeout_s, "trial of new software", look)
    except TooLong:
        return SoftwareTrial(False, "trial-too-long", f"its trial did not end within {timeout_s:.0f} s")
    except TooMuchMemory as e:
        return SoftwareTrial(False, "too-much-memory", str(e))
    try:
        return SoftwareTrial(**json.loads(end.output.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        if end.code == -signal.SIGKILL:
            message = "the system ended the trial, as it does where memory runs out"
            return SoftwareTrial(False, "too-much-memory", message)
        return SoftwareTrial(False, "cannot-start", f"it died with exit code {end.code}: {end.last_words}")


def compile_site(site: Path) -> None:
    """Compile the packages once: where Python may not write bytecode, each start would compile them again.

    A power cut may leave half of a compiled file, which would not be noticed, so all is synced before this returns.
    """
    compileall.compile_dir(site, quiet=2, workers=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    os.sync()


def run_trial(config: Path, release: tuple[Path, str] | None) -> SoftwareTrial:
    """What the child does, in the new software."""
    from edge_agent.config import load_config
    from edge_agent.inference import RuntimeChoice

    loaded = load_config(config)
    import edge_agent.assembly  # noqa: F401 - whatever the agent needs is imported here

    if release is not None:
        from edge_agent.ota.trial import try_release

        result = try_release(*release, RuntimeChoice.from_config(loaded.inference))
        if not result.ok:
            return SoftwareTrial(False, f"release-{result.reason}", result.message)
    return SoftwareTrial(True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run in the child process; print the result and return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with suppress(OSError):
        os.nice(_LOWEST)
    end_first_without_memory()
    release = (Path(given[1]), given[2]) if len(given) == 3 else None
    try:
        compile_site(Path(__file__).resolve().parents[2])
        result = run_trial(Path(given[0]), release)
    except Exception as e:  # whatever it is, new software that meets it is not started
        result = SoftwareTrial(False, "cannot-start", f"{type(e).__name__}: {e}")
    sys.stdout.write(json.dumps({"ok": result.ok, "reason": result.reason, "message": result.message}) + "\n")
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())
