"""Compile the pipelines to `pipelines/compiled/*.yaml`, for a cluster. The files are committed; a test checks them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Final

from kfp import compiler

PIPELINES: Final = ("labeling", "training", "evaluation", "deployment")
FOLDER: Final = Path(__file__).parent / "compiled"


def compile_all(folder: Path = FOLDER) -> list[Path]:
    """Write one YAML file for each pipeline; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in PIPELINES:
        path = folder / f"{name}.yaml"
        function = getattr(importlib.import_module(f"pipelines.{name}"), name)
        compiler.Compiler().compile(function, str(path))
        written.append(path)
    return written
