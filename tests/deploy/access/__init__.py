"""Tests of `deploy/access`."""
