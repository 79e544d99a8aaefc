"""The guides for operators and labelers use the words that the real pages show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from components.labeling.texts import TEXTS as LABELING
from edge_agent.web import metrics
from edge_agent.web.texts import TEXTS as PAGE

REPOSITORY = Path(__file__).resolve().parents[2]
GUIDES = REPOSITORY / "docs" / "guides"
OPERATOR = {"en": GUIDES / "operator.md", "ja": GUIDES / "operator.ja.md"}
LABELER = {"en": GUIDES / "labeler.md", "ja": GUIDES / "labeler.ja.md"}
NAMED = (
    "no_release", "offline", "wrong", "roll_back", "roll_back_yes", "said_objection", "said_rolled_back", "today",
    "set_aside", "skipped", "coming", "updates", "s3", "mqtt", "outbox", "dropped",
)  # fmt: skip


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_operators_guide_names_verdicts_buttons_and_rows_as_the_page_does(language):
    """Each text of the page that the guide speaks of stands in it, letter by letter."""
    guide = " ".join(OPERATOR[language].read_text(encoding="utf-8").split())
    for verdict in ("pass", "fail", "uncertain"):
        assert f"**{PAGE[language][verdict].upper()}**" in guide
    for key in NAMED:
        assert PAGE[language][key] in guide, key


def test_what_the_japanese_operators_guide_quotes_is_on_the_page():
    """Everything in Japanese quotation marks is a text of the page."""
    quoted = set(re.findall("「([^」]+)」", OPERATOR["ja"].read_text(encoding="utf-8").replace("**", "")))
    assert quoted <= set(PAGE["ja"].values())


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_metrics_of_the_operators_guide_exist(language):
    """Each `kizu_…` in the guide is the name of a metric; a counter may end in `_total`."""
    source = Path(metrics.__file__).read_text(encoding="utf-8")
    names = set(re.findall(r"kizu_\w+", OPERATOR[language].read_text(encoding="utf-8")))
    assert names
    for name in names:
        assert f'"{name.removesuffix("_total")}"' in source, name


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_labelers_guide_names_the_choices_of_the_verifier(language):
    """The guide names Approve, Reject, and the line above a returned picture as the page shows them."""
    guide, texts = LABELER[language].read_text(encoding="utf-8"), LABELING[language]
    for text in (texts.approve, texts.reject, texts.returned.partition(":")[0]):
        assert text in guide


@pytest.mark.parametrize("name", ["labeler", "operator"])
def test_both_languages_have_the_same_sections_tables_and_pictures(name):
    """Both languages have equally many headings, rows, pictures and list items, so that neither is changed alone."""
    shapes = []
    for page in (GUIDES / f"{name}.md", GUIDES / f"{name}.ja.md"):
        lines = page.read_text(encoding="utf-8").splitlines()
        shapes.append([sum(line.startswith(mark) for line in lines) for mark in ("## ", "|", "![", "1. ", "- ")])
    assert shapes[0] == shapes[1]
