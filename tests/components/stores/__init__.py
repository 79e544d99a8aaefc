"""Tests of `components/stores`."""
