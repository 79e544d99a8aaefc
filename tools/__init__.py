"""Tools that build and check this repository. They are not shipped."""
