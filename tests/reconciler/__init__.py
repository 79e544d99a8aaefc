"""Tests of `reconciler`."""
