"""Tests of `components/stores/datasets`."""
