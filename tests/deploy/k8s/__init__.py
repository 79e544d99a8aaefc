"""Tests of the commands for a cluster, against a kubectl that answers from memory."""
