"""Tests of `components/stores/models`."""
