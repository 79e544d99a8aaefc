"""The device: it inspects frames, sends back the images that help training, and takes signed releases."""

from typing import Final

__version__: Final = "0.1.0"
STATE_VERSION: Final = 1
"""The form of the state folder that this agent writes and reads. It rises where the agent before could not read what
this one writes. A device takes no software that it could not come back from, so a release that only reads the new form
goes before the one that writes it."""
MIN_LAUNCHER: Final = 1
"""The oldest launcher (`edge_agent/launcher.py`) that can start this agent."""
