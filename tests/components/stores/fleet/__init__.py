"""Tests of `components/stores/fleet`."""
