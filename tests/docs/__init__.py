"""The documents and their tools."""
