"""Tests of `components/dataset`."""
