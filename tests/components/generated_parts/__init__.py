"""Tests of `components/generated_parts`."""
