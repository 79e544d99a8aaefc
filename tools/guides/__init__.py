"""Makes the pictures of `docs/guides/`: boxes on generated parts, and screenshots of the real pages."""
