"""Releases over the air: what is offered, how it is fetched, tried, kept or given up."""
