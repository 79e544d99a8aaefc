"""Tests of `components/webhooks`."""
