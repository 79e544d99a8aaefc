"""The views' rules on columns, beside the same rules on objects, in plain words."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from components.stores.labels.store import SCHEMA
from components.stores.labels.views import COLUMNS, condensed, images_by_label, latest_approved, unique

NOON = datetime(2025, 4, 1, 12, tzinfo=UTC)


@st.composite
def histories(draw):
    """Events of a few images, in any order, many at the same moment, some written twice."""
    event = st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["labelled", "approved", "rejected", "deleted", "reopened", "unusable"]),
        st.integers(0, 3),
        st.sampled_from([None, "7"]),
    )
    events = [
        {
            "event_id": f"{number:02d}",
            "sha256": image,
            "status": status,
            "at": NOON + timedelta(seconds=second),
            "task": task,
        }
        for number, (image, status, second, task) in enumerate(draw(st.lists(event, max_size=12)))
    ]
    again = draw(st.lists(st.sampled_from(events), max_size=4)) if events else []
    return draw(st.permutations(events + again))


def table(events):
    return pa.Table.from_pylist(events, schema=pa.schema([SCHEMA.field(name) for name in COLUMNS]))


def in_plain_words(events):
    """(event of each image with an approved label, images that wait, imported ones that wait, unusable images)."""
    once = {event["event_id"]: event for event in events}
    approved, last, unusable = {}, {}, set()
    for event in sorted(once.values(), key=lambda event: (event["at"], event["event_id"])):
        last[event["sha256"]] = (event["status"], event["task"])
        if event["status"] == "approved":
            approved[event["sha256"]] = event["event_id"]
        elif event["status"] in ("deleted", "reopened", "unusable"):
            approved.pop(event["sha256"], None)
        if event["status"] in ("approved", "deleted", "reopened", "unusable"):
            (unusable.add if event["status"] == "unusable" else unusable.discard)(event["sha256"])
    drawn = {image for image, (status, task) in last.items() if status == "labelled" and task}
    imported = {image for image, (status, task) in last.items() if status == "labelled" and not task}
    return approved, drawn, imported, unusable


def on_columns(rows):
    approved = latest_approved(rows)
    found = dict(zip(approved["sha256"].to_pylist(), approved["event_id"].to_pylist(), strict=True))
    images = images_by_label(rows)
    assert sorted(images.approved.to_pylist()) == sorted(found)
    return found, *(set(part.to_pylist()) for part in (images.waiting, images.imported, images.unusable))


@given(histories())
def test_columns_say_what_objects_say(events):
    """Whatever the order of arrival, moments shared, events written twice; nothing at all included."""
    assert on_columns(table(events)) == in_plain_words(events)


@given(histories(), st.integers(0, 16))
def test_what_was_condensed_says_the_same_together_with_what_comes_later(events, seen):
    """Wherever the last look stopped, and if it sees some events again."""
    before = condensed(table(events[:seen]))
    assert before.num_rows <= 2 * 3
    assert on_columns(pa.concat_tables([before, table(events[max(0, seen - 2) :])])) == in_plain_words(events)


def test_each_event_is_there_once():
    """Of two rows with one identity the last one stays, and the others keep their order."""
    rows = pa.table({"event_id": ["a", "b", "a", "c"], "row": [0, 1, 2, 3]})
    assert unique(rows)["row"].to_pylist() == [1, 2, 3]
