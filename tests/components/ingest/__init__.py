"""Tests of `components/ingest`."""
