"""The device: capture, infer, decide, record; send back what teaches; take signed releases. No training framework."""

from typing import Final

__version__: Final = "0.1.0"
