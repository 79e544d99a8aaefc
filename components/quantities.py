"""Amounts of processors and of memory as Kubernetes writes them: `500m`, `2`; `256Mi`, `50G`.

One notation for all that reads them: the use case, the sizes of steps, and the sizes of volumes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

CPU: Final = r"(?:[0-9]*[.])?[0-9]+m?"
"""The form of an amount of processors."""
BYTES: Final = r"[0-9]+(?:k|K|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?"
"""The form of an amount of bytes. Kubernetes writes a thousand as `k`, Kubeflow Pipelines as `K`: both are taken."""

_LETTERS: Final = "KMGTPE"
_FACTORS: Final[Mapping[str, int]] = {
    "": 1,
    "k": 1000,
    **{letter: 1000**power for power, letter in enumerate(_LETTERS, start=1)},
    **{f"{letter}i": 1024**power for power, letter in enumerate(_LETTERS, start=1)},
}


def cores(cpu: str) -> float:
    """Processors of an amount such as `500m`.

    Raises:
        ValueError: it has another form.
    """
    if re.fullmatch(CPU, cpu) is None:
        raise ValueError(f"expected processors such as 500m or 2, but got {cpu!r}")
    return float(cpu.removesuffix("m")) / (1000 if cpu.endswith("m") else 1)


def byte_count(size: str) -> int:
    """Bytes of an amount such as `50Gi`.

    Raises:
        ValueError: it has another form.
    """
    if re.fullmatch(BYTES, size) is None:
        raise ValueError(f"expected a size such as 50Gi, but got {size!r}")
    digits = size.rstrip("kKMGTPEi")
    return int(digits) * _FACTORS[size[len(digits) :]]
