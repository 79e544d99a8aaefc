"""Cameras: the port that the inspection loop uses, and its implementations."""
