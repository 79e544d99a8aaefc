"""Tests of `components/reporting`."""
