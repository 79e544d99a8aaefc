"""The step that freezes labels into a dataset manifest."""
