"""An acceptance run on a real cluster: `make test-cluster`."""
