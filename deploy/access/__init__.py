"""The identities and their rights, the buckets, and the folder that an installation keeps them in."""
