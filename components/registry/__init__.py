"""The step that registers a model which passed its gate, and the rules of approval."""
