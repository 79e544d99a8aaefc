"""The bytes of those images of a split that are asked for."""

from __future__ import annotations

from collections.abc import Sequence

from components.stores.datasets.manifest import ManifestImage
from components.stores.objects.image_cache import Fetch


class Pictures:
    """The images of a split by index. Each is fetched when it is first asked for and then kept in memory."""

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
        """At most `most` images, spread over the split."""
        step = max(1, len(self._entries) // most)
        return [self[index] for index in range(0, len(self._entries), step)][:most]
