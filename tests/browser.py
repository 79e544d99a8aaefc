"""Debian's Chromium for the tests of pages; where there is none they are skipped, and say so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tools.guides.browser import CHROMIUM, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A browser that reaches for nothing by itself; ended after the test."""
    with chromium() as opened:
        yield opened
