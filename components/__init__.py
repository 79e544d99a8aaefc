"""The steps of the loop, one folder each, and what several of them share."""
