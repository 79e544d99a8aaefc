"""Find images without an approved label: a full scan, an incremental scan, and the way of the reference sample."""
