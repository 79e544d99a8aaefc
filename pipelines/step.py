"""Run one step of a pipeline on this machine, and keep the step's own error in a file.

`python -m pipelines.step --error-file FILE MODULE ARGUMENT…` runs a module as `python -m MODULE ARGUMENT…` does. The
module is kfp's executor: kfp's local runner says only that a step failed, not why.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def main(argv: list[str]) -> None:
    """Run the module. Its exception is written to the file and raised again, so that the log shows its trace."""
    option, error_file, module, *arguments = argv
    if option != "--error-file":
        raise SystemExit(f"expected --error-file, but got {option}")
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Exception as e:
        Path(error_file).write_text(str(e) or type(e).__name__, encoding="utf-8")
        raise


if __name__ == "__main__":
    main(sys.argv[1:])
