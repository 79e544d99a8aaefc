"""Cameras: the port and its implementations."""
