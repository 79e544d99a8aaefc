"""The step that registers a model that passed its gate, and the model card."""
