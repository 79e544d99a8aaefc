"""Tests of `components/approval_server`."""
