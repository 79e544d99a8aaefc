"""`make demo`: the whole loop, twice, on this machine."""
