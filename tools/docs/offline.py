"""Checks that a built site loads nothing from other servers: `python tools/docs/offline.py docs/_build/html`.

It imports only the standard library, so that it runs in the environment of Sphinx and in that of the tests.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

# Attributes whose address a browser loads by itself. It loads a plain link (`<a href>`) only after a click.
_FETCHED: Final = {
    "script": ("src",), "img": ("src", "srcset"), "iframe": ("src",), "source": ("src", "srcset"), "video": ("src",),
    "audio": ("src",), "embed": ("src",), "object": ("data",), "image": ("href", "xlink:href"), "use": ("href",),
}  # fmt: skip
_LINKS_FETCHED: Final = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload"}
_ELSEWHERE: Final = re.compile(r"(?:https?:)?//", re.IGNORECASE)
_IN_A_STYLE: Final = re.compile(r"""(?:url\(\s*["']?|@import\s+["'])((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)


class _Assets(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        wanted = list(_FETCHED.get(tag, ()))
        if tag == "link" and _LINKS_FETCHED & set(values.get("rel", "").lower().split()):
            wanted.append("href")
        self.found.extend(values[name] for name in wanted if _ELSEWHERE.match(values.get(name, "")))
        self.found.extend(_IN_A_STYLE.findall(values.get("style", "")))


def assets_elsewhere(site: Path) -> Iterator[tuple[str, str]]:
    """Yield the file and the address of each script, style, font or picture that a page would load from elsewhere."""
    for path in sorted(site.rglob("*")):
        name = path.relative_to(site).as_posix()
        if path.suffix == ".html":
            parser = _Assets()
            text = path.read_text(encoding="utf-8")
            parser.feed(text)
            styles = "".join(re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL | re.IGNORECASE))
            yield from ((name, address) for address in (*parser.found, *_IN_A_STYLE.findall(styles)))
        elif path.suffix in (".css", ".svg"):
            yield from ((name, address) for address in _IN_A_STYLE.findall(path.read_text(encoding="utf-8")))


def main() -> int:
    """Print each such address. Returns 1 if there is one, or if there is no page."""
    site = Path(sys.argv[1])
    pages = len(list(site.rglob("*.html")))
    found = list(assets_elsewhere(site))
    for name, address in found:
        sys.stdout.write(f"{site / name}: it would fetch {address}\n")
    if not found and pages:
        sys.stdout.write(f"{pages} pages, none of which asks another server for anything: {site}/index.html\n")
    return 0 if pages and not found else 1


if __name__ == "__main__":
    sys.exit(main())
