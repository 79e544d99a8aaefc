"""The model registry, and the rules that a model meets on its way to a release: evaluation report, gate, approval."""
