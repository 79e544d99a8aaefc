"""Signed releases: the TUF repository in S3, and the client of the signer that writes it."""
