"""A lineage as values, as text, and as a graph in a real Chromium; whatever is in it was written by others."""

from __future__ import annotations

import shutil
from xml.etree import ElementTree

import pytest

from components.lineage.graph import INVERSE, Edge, Kind, Lineage, LineageBuilder, Node, Relation
from components.lineage.svg import MAX_IN_COLUMN, to_svg
from components.lineage.text import to_text

CHROMIUM = shutil.which("chromium")
HOSTILE = "<script>alert(1)</script>\x1b[31m\x00\n& \"'\u202e"
IMAGE, DATASET = "3f" * 32, "d1" * 32


def small() -> Lineage:
    """An image in a dataset that two trainings learned from; one of the two is not there."""
    out = LineageBuilder()
    frame = out.add(Kind.FRAME, IMAGE, {"at": "s3://kizu-raw/x.png", "empty": "", "none": None, "count": 0})
    release = out.add(Kind.RELEASE, "ab" * 32, missing="named by a Capture, but no such release is published")
    out.link(frame, Relation.JUDGED_BY, release)
    label = out.add(Kind.LABEL, "e" * 64, {"status": "approved"})
    out.link(label, Relation.LABELS, frame)
    out.link(label, Relation.DRAWN_BY, out.add(Kind.PERSON, "7"))
    dataset = out.add(Kind.DATASET, DATASET)
    out.link(dataset, Relation.HOLDS, label, "train")
    for run in ("1" * 32, "2" * 32):
        out.link(out.add(Kind.RUN, run), Relation.TRAINED_ON, dataset)
    out.link(out.add(Kind.RUN, "1" * 32, {"late": "fact"}), Relation.TRAINED_ON, dataset)
    return out.build(frame)


def test_the_text_is_a_tree_both_ways_and_ends_with_what_is_missing():
    """The text shows both directions as a tree, leaves empty facts out, and ends with the missing links."""
    assert to_text(small()) == (
        f"frame {IMAGE}\n"
        "   - at: s3://kizu-raw/x.png\n"
        "   - count: 0\n"
        f"   judged by: release {'ab' * 32}\n"
        "      ! named by a Capture, but no such release is published\n"
        f"   labelled by: label {'e' * 64}\n"
        "      - status: approved\n"
        "      drawn by: person 7\n"
        f"      held by (train): dataset {DATASET}\n"
        f"         taught: run {'1' * 32}\n"
        f"         taught: run {'2' * 32}\n"
        "\n"
        "1 link(s) missing:\n"
        f"   release {'ab' * 32}: named by a Capture, but no such release is published\n"
    )


def test_every_relation_can_be_read_both_ways():
    """Every relation has words for its inverse."""
    assert set(INVERSE) == set(Relation)


def test_a_lineage_is_written_and_read_as_it_was():
    """A lineage survives a round trip through JSON, with unknown keys in the document and in a node."""
    data = small().to_json()
    assert Lineage.from_json(data) == Lineage.from_json(Lineage.from_json(data).to_json())
    assert b'"schema_version":1' in data
    newer = data.replace(b'{"asked":', b'{"later":1,"asked":').replace(b'"kind":"person"', b'"kind":"person","x":2')
    assert Lineage.from_json(newer).to_json() != data
    assert Lineage.from_json(newer).unknown == {"later": 1}


def test_a_graph_with_a_loose_end_is_refused():
    """A lineage whose edge or question names a missing node, or that has a node twice, is refused."""
    node = Node(kind=Kind.PERSON, name="7")
    edge = Edge(source="label:e", target=node.id, relation=Relation.DRAWN_BY)
    with pytest.raises(ValueError, match="label:e"):
        Lineage(asked=node.id, nodes=(node,), edges=(edge,))
    with pytest.raises(ValueError, match="person:8"):
        Lineage(asked="person:8", nodes=(node,), edges=())
    with pytest.raises(ValueError, match="once"):
        Lineage(asked=node.id, nodes=(node, node), edges=())


def hostile() -> Lineage:
    out = LineageBuilder()
    device = out.add(Kind.DEVICE, "line-1", {HOSTILE: HOSTILE, "long": "x" * 5000})
    release = out.add(Kind.RELEASE, HOSTILE, missing=HOSTILE)
    out.link(device, Relation.RUNS, release, HOSTILE)
    return out.build(device)


def test_what_devices_say_reaches_a_terminal_as_signs_only():
    """No line of its own, no escape sequence, no change of direction, and no more than fits."""
    text = to_text(hostile())
    assert len(text.splitlines()) == 8
    assert all(sign.isprintable() for line in text.splitlines() for sign in line)
    assert max(map(len, text.splitlines())) < 700


def test_the_drawing_is_xml_in_which_nothing_is_more_than_text():
    """Elements that we draw, and no others; two drawings of the same are the same bytes."""
    svg = to_svg(hostile())
    root = ElementTree.fromstring(svg)
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {"svg", "title", "rect", "g", "text", "path"}
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on") or "href" in name]
    assert svg == to_svg(hostile())


def many(count: int) -> Lineage:
    out = LineageBuilder()
    dataset = out.add(Kind.DATASET, DATASET)
    for number in range(count):
        label = out.add(Kind.LABEL, f"{number:064x}", missing="gone" if number == count - 1 else "")
        out.link(dataset, Relation.HOLDS, label)
    return out.build(dataset)


def test_a_column_that_is_too_long_ends_with_how_many_there_are_besides():
    """A column that is too long ends with the number of the other nodes and how many of them are missing."""
    svg = to_svg(many(10_000))
    assert svg.count("data-node") == 1 + MAX_IN_COLUMN + 1
    assert f"and {10_000 - MAX_IN_COLUMN} more" in svg
    assert "1 of them missing" in svg
    assert "more" not in to_svg(many(MAX_IN_COLUMN))


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_the_graph_is_drawn_in_a_browser_with_each_box_in_its_column_and_none_over_another(tmp_path):
    """A browser draws each box in its column without overlaps, runs no script and fetches nothing.

    People and images are on the left, and each text is inside its box.
    """
    from playwright.sync_api import sync_playwright

    drawn = {"small": small(), "hostile": hostile(), "many": many(100)}
    for name, lineage in drawn.items():
        (tmp_path / f"{name}.svg").write_text(to_svg(lineage), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        page = browser.new_page()
        asked, dialogs = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        for name, lineage in drawn.items():
            page.goto(f"file://{tmp_path}/{name}.svg")
            boxes = page.eval_on_selector_all(
                "[data-node]",
                "all => all.map(g => { const r = g.querySelector('rect').getBoundingClientRect();"
                " return [g.dataset.node, r.left, r.top, r.right, r.bottom]; })",
            )
            for index, (_, left, top, right, bottom) in enumerate(boxes):
                for _, other_left, other_top, other_right, other_bottom in boxes[index + 1 :]:
                    assert right < other_left or other_right < left or bottom < other_top or other_bottom < top
            if name == "small":
                left = {node: x for node, x, *_ in boxes}
                order = [f"frame:{IMAGE}", f"label:{'e' * 64}", f"dataset:{DATASET}", f"run:{'1' * 32}"]
                assert [left[node] for node in order] == sorted({left[node] for node in order})
                assert left["person:7"] == left[order[0]]
                assert set(left) == {node.id for node in lineage.nodes}
                assert page.get_by_text("judged by", exact=True).last.is_visible()
        browser.close()
    assert dialogs == []
    assert asked == [f"file://{tmp_path}/{name}.svg" for name in drawn]
