"""A first look at the photographs of a new product, and the use case file that follows from it."""
