"""The labeling step: images without an approved label become tasks, people's boxes become verified label events."""
