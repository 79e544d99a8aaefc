"""Tests of `components/stores/raw_images`."""
