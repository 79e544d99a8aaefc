"""The bytes of some images of a split."""

from __future__ import annotations

from collections.abc import Sequence

from components.stores.datasets.manifest import ManifestImage
from components.stores.objects.image_cache import Fetch


class Pictures:
    """Images by their index, fetched when they are asked for and then kept: those that are shown are few."""

    def __init__(self, entries: Sequence[ManifestImage], fetch: Fetch) -> None:
        self._entries = entries
        self._fetch = fetch
        self._known: dict[int, bytes] = {}

    def __getitem__(self, index: int) -> bytes:
        if index not in self._known:
            entry = self._entries[index]
            self._known[index] = self._fetch(entry.uri, entry.sha256)
        return self._known[index]

    def some(self, most: int) -> list[bytes]:
        """Images spread over the split."""
        step = max(1, len(self._entries) // most)
        return [self[index] for index in range(0, len(self._entries), step)][:most]
