"""Wiring: the pipelines, how they are compiled, run here and submitted, and the command `kizu`."""
