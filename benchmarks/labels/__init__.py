"""Finding images without an approved label: a full look, a look at what is new, and the reference sample's way."""
