"""Tests of `inspection`."""
