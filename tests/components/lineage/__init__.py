"""Tests of `components/lineage`."""
