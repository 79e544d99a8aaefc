"""Tests of `components/registry`."""
