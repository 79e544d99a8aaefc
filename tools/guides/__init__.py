"""The pictures of `docs/guides/`: boxes on generated parts, and the real pages as a browser shows them."""
