"""Backups of an installation, and their restore: both databases, and every bucket."""
