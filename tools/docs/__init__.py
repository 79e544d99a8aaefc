"""Tools for the documents: they check links and shell lines, and generate pages from code."""
