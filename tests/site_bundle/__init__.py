"""The test of a whole site bundle: `make test-bundle`."""
