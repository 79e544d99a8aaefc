"""A candidate that judges beside the running release: in a process of its own, after the verdict, deciding nothing."""
