"""Publishes releases: the TUF keys, the signer, and the pipeline step that sends requests to the signer."""
