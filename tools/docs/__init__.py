"""The documents: their links, the pages that are generated from code, and the shell lines that they show."""
