"""`make demo`: runs the whole loop twice on this machine."""
