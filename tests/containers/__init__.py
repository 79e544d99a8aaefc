"""Tests of the images: built, and run as the manifests say."""
