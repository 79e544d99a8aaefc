"""The step that shows what the label store holds."""
