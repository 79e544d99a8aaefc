"""Tests of `components/stores/objects`."""
