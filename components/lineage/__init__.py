"""Trace a device or an image back to the labels and people behind it, and trace these forward again."""
