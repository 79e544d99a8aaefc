"""Tests of `components/stores/labels`."""
