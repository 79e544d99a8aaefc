"""A stand-in for S3's listing: pages of a thousand keys of images and captures, in the order of S3."""

from __future__ import annotations

from bisect import bisect_left
from threading import Lock

from benchmarks.labels.material import Factory
from components.stores.objects.list_page import ListPage

PAGE = 1000


class PagedListing:
    """Serves `list_page` as S3 does. pages, keys: the number served so far."""

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._names = [folder.name for folder in factory.folders]
        self._lock = Lock()
        self.pages = 0
        self.keys = 0

    def list_page(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", start_after: str = "", token: str | None = None
    ) -> ListPage:
        """See the port. start_after: a folder, with a slash at the end."""
        first, last = bisect_left(self._names, prefix), bisect_left(self._names, f"{prefix}\U0010ffff")
        if delimiter:
            below = {f"{name[: (name + '/').index('/', len(prefix))]}/" for name in self._names[first:last]}
            self._served(0)
            return ListPage([], sorted(below), None)
        if start_after:
            first = max(first, bisect_left(self._names, start_after.removesuffix("/")))
        folder, place = (int(part) for part in token.split(":")) if token else (first, 0)
        keys: list[str] = []
        while folder < last and len(keys) < PAGE:
            taken = self._of_folder(folder, place, PAGE - len(keys))
            keys += taken
            place += len(taken)
            if place == 2 * self._images(folder):
                folder, place = folder + 1, 0
        self._served(len(keys))
        return ListPage(keys, (), f"{folder}:{place}" if folder < last else None)

    def _images(self, folder: int) -> int:
        return self._factory.folders[folder].stop - self._factory.folders[folder].start

    def _of_folder(self, number: int, place: int, count: int) -> list[str]:
        folder = self._factory.folders[number]
        # Each image has two keys. Its capture sorts before it, because "." and a hex digit come before ".j".
        start, stop = folder.start + place // 2, min(folder.stop, folder.start + (place + count + 1) // 2)
        keys = []
        for index in range(start, stop):
            key = f"{folder.name}/{self._factory.sha256(index)}.jpg"
            keys += [self._factory.capture_of(key), key]
        return keys[place % 2 : place % 2 + count]

    def _served(self, keys: int) -> None:
        with self._lock:
            self.pages += 1
            self.keys += keys
