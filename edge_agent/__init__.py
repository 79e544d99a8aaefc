"""The device: it inspects frames, sends back the images that help training, and takes signed releases."""

from typing import Final

__version__: Final = "0.1.0"
