"""Photographs of parts that do not exist, with their true boxes: for the demo, for tests, and to learn from first."""
