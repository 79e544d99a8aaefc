"""Tests of `components/labeling`."""
