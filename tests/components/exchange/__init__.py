"""Tests of `components/exchange`."""
