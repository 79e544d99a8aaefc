"""Tests of `kizu`."""
