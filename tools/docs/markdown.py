"""Reads Markdown: links, anchors and code blocks, each with its line."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

_NOT_IN_AN_ANCHOR: Final = re.compile(r"[^\w\- ]")
_HTML_ANCHOR: Final = re.compile(r"""<\w+[^>]*\b(?:id|name)=["']([^"']+)["']""")
_parser: Final = MarkdownIt("commonmark").enable(["table", "strikethrough"])


@dataclass(frozen=True, slots=True)
class Link:
    """A link or an image. line: the line of the block that contains it, counted from 1."""

    target: str
    line: int


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A fenced or an indented block. language: the first word after the fence; empty for an indented block."""

    language: str
    text: str
    line: int


def links(text: str) -> Iterator[Link]:
    """Return all links and images of a page, in order."""
    for token in _parser.parse(text):
        if token.type != "inline":
            continue
        line = _line(token)
        for child in token.children or ():
            if child.type in ("softbreak", "hardbreak"):
                line += 1
            target = child.attrGet("href" if child.type == "link_open" else "src")
            if child.type in ("link_open", "image") and target is not None:
                yield Link(str(target), line)


def anchors(text: str) -> frozenset[str]:
    """Return the anchors of a page: those that GitHub gives its headings, and those written as HTML."""
    found: set[str] = set()
    counts: dict[str, int] = {}
    tokens = _parser.parse(text)
    for token, following in itertools.pairwise(tokens):
        if token.type == "heading_open":
            slug = anchor_of("".join(child.content for child in following.children or ()))
            number = counts.get(slug, 0)
            counts[slug] = number + 1
            found.add(f"{slug}-{number}" if number else slug)
    found.update(_HTML_ANCHOR.findall(text))
    return frozenset(found)


def anchor_of(heading: str) -> str:
    """Return the anchor that GitHub gives a heading: lower case, no punctuation, a hyphen for each space."""
    return _NOT_IN_AN_ANCHOR.sub("", heading.strip().lower()).replace(" ", "-")


def code_blocks(text: str) -> Iterator[CodeBlock]:
    """Return all code blocks of a page, in order."""
    for token in _parser.parse(text):
        if token.type == "fence":
            yield CodeBlock((token.info.split() or [""])[0], token.content, _line(token) + 1)
        elif token.type == "code_block":
            yield CodeBlock("", token.content, _line(token))


def _line(token: Token) -> int:
    return (token.map or [0])[0] + 1
