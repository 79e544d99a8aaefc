"""The pipeline step that writes the label report."""
