"""Tests of `components/stores/releases`."""
