"""Dataset manifests: what a training run froze, named by digest."""
