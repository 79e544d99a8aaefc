"""Tests of what a cluster is given: manifests and Dockerfiles, without a cluster and without Docker."""
