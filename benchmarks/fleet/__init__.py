"""Rollouts over simulated fleets: the device's own decisions, the signer's steps, the reconciler's rule."""
