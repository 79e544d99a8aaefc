"""A run of labeling or verification reads columns of the label store, and whole events only where they count."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.labeling import labeling_job, verification_job
from components.labeling.image_facts import RawFacts
from components.labeling.known_events import KnownEvents
from components.labeling.reopening import standings
from components.labeling.task_data import LabelingData, VerificationData
from components.labeling.tasks import Task
from components.labeling.unlabelled import Batch
from components.labeling.waiting import Waiting
from components.stores.labels import store
from components.stores.labels.store import SCHEMA, LabelColumns, LabelStatus, LabelStore, Mark
from components.stores.labels.upkeep import compact
from components.use_case import parse_use_case
from tests.components.stores.labels.label_events import event

USE_CASE = parse_use_case(
    "name: tags\nclasses: [scratch]\nlabeling: {instructions: x, max_images_per_job: 2}\n"
    "gates: {min_map50: 0.5, max_escape_rate: 0.5, max_overkill_rate: 0.5}\n"
)
KINDS = [LabelStatus(name) for name in ("labelled", "approved", "rejected", "deleted", "reopened", "unusable")]


def sha(number):
    return f"{number:064x}"


def imported(numbers, status=LabelStatus.APPROVED, **more):
    return [event("tags", f"{status}-{number}", sha256=sha(number), status=status, **more) for number in numbers]


class Tenure:
    """A lease that is always held."""

    def renew(self):
        pass


class Server:
    """A Label Studio with one open labeling task, and nothing in the verification project."""

    def __init__(self):
        data = LabelingData(
            image=f"s3://kizu-raw/plant/cam-1/2026/11/22/{sha(10**6)}.jpg", sha256=sha(10**6), width=64, height=48,
            group="p1", reason="", device="d", day="",
        )  # fmt: skip
        self.task = Task(1, data.to_data(), (), (), True)

    def ensure_project(self, use_case, role):
        return 1 if role == "labeling" else 2

    def mark(self, project):
        return ""

    def tasks(self, project):
        return [self.task] if project == 1 else []


class Listed(Server):
    """A Label Studio that counts its listings. marks: of the verification project; listings: its tasks, each time."""

    def __init__(self, marks, *listings):
        super().__init__()
        self._marks, self._listings, self.listed, self.removed = list(marks), list(listings), [], []

    def mark(self, project):
        return self._marks.pop(0)

    def tasks(self, project):
        self.listed.append(project)
        return super().tasks(project) if project == 1 else self._listings.pop(0) if self._listings else []

    def delete_task(self, task_id):
        self.removed.append(task_id)

    def show_boxes(self, *_):
        pass


class Clock:
    """Time that passes with each sleep; `act` happens with the first one."""

    def __init__(self, act=lambda: None):
        self.at, self._act = 0.0, act

    def now(self):
        return self.at

    def sleep(self, seconds):
        if not self.at:
            self._act()
        self.at += seconds
        return True


@pytest.fixture
def labels(tmp_path):
    return LabelStore(str(tmp_path / "events"), {})


@pytest.fixture
def read(monkeypatch):
    """The ids of the events that were made to objects, and how many rows were read as columns."""
    made, rows = [], []
    from_row, columns = store._from_row, LabelStore.columns

    def counted(row):
        made.append(row["event_id"])
        return from_row(row)

    def counted_columns(self, names, **more):
        found = columns(self, names, **more)
        rows.append(found.rows.num_rows)
        return found

    monkeypatch.setattr(store, "_from_row", counted)
    monkeypatch.setattr(LabelStore, "columns", counted_columns)
    return made, rows


def label(labels):
    return labeling_job.label(
        USE_CASE, Batch(use_case="tags", images=()), Server(), labels, lambda: nullcontext(Tenure())
    )


def verify(labels, clock, wait_s=0.0):
    waiting = Waiting(wait_s, 1.0, clock.now, clock.sleep)
    return verification_job.verify(
        USE_CASE, Server(), labels, RawFacts(None), None, lambda: nullcontext(Tenure()), waiting
    )


def test_no_run_makes_objects_of_events_that_are_settled(labels, read):
    """Labels that were imported as trusted concern no labeler and no verifier, however many there are."""
    labels.append(imported(range(300)))
    assert label(labels).labelled == 0
    assert verify(labels, Clock()).open_labeling == 1
    assert read[0] == []


def test_a_pass_reads_only_what_was_appended_since_the_one_before(labels, read):
    """A run that waits for people reads the whole table once, though it makes a pass with each change."""
    labels.append(imported(range(300)))
    clock = Clock(lambda: labels.append(imported([300, 301])))
    verify(labels, clock, wait_s=3.0)
    assert read[1] == [300, 2, 2, 0, 0]
    assert sorted(read[0]) == ["tags-approved-300", "tags-approved-301"]


def test_a_quiet_pass_lists_each_project_once(labels):
    """The mark says that nothing changed since the first listing; after a change the verification is listed again."""
    quiet, busy = Listed(["a", "a"]), Listed(["a", "b"])
    for server in (quiet, busy):
        waiting = Waiting(0.0, 1.0, Clock().now)
        verification_job.verify(USE_CASE, server, labels, RawFacts(None), None, lambda: nullcontext(Tenure()), waiting)
    assert quiet.listed == [2, 1]
    assert busy.listed == [2, 1, 2]


def test_no_task_is_removed_by_a_listing_of_before(labels):
    """Somebody began to draw in one of two twins since the first listing. A mark does not say so."""
    (waits,) = imported([1], LabelStatus.LABELLED, boxes=())
    labels.append([dataclasses.replace(waits, image_uri=f"s3://kizu-raw/plant/import-a/2026/11/22/{sha(1)}.jpg")])
    data = VerificationData.of(labels.events(use_case="tags")[0], annotation="", annotators=(), note="").to_data()
    twins = [Task(number, data, (), (), number == drafted) for drafted in (0, 2) for number in (1, 2)]
    server = Listed(["a", "a"], twins[:2], twins[2:])
    verification_job.verify(
        USE_CASE, server, labels, RawFacts(None), None, lambda: nullcontext(Tenure()), Waiting(0.0, 1.0, Clock().now)
    )
    assert server.removed == [1]


def test_after_a_compaction_a_pass_reads_everything_once_more(labels):
    """Old and new rows lie in the same files then; what is known is the same as before."""
    labels.append(imported(range(5)))
    known = KnownEvents(labels, "tags")
    labels.append(imported([5], LabelStatus.REOPENED))
    assert known.refresh() == 6
    compact(labels)
    labels.append(imported([6], LabelStatus.REOPENED))
    assert known.refresh() == 7
    assert set(known.in_doubt()) == {sha(5), sha(6)}
    assert known.refresh() == 0


def test_what_a_run_has_appended_is_known_at_once_and_is_no_other_event_when_it_is_read_again(labels):
    """Nothing is recorded twice: not in the pass that appended it, and not in the next one."""
    known = KnownEvents(labels, "tags")
    known.refresh()
    mine = imported([1, 2])
    assert labeling_job.record(labels, known, mine) == mine
    assert labeling_job.record(labels, known, mine) == []
    known.refresh()
    assert labeling_job.record(labels, known, mine) == []
    assert known.of_images([sha(1), sha(9)], [LabelStatus.APPROVED]) == mine[:1]
    assert known.with_ids(["tags-approved-2", "nobody's"]) == mine[1:]


def test_whoever_reopens_an_image_reads_the_events_of_that_image_only(labels, read):
    """An image is found by the beginning of its sha256, and those that are set aside by their last decision."""
    labels.append(imported(range(300)))
    labels.append(imported([7], LabelStatus.REOPENED, minutes=1) + imported([8, 9], LabelStatus.UNUSABLE, minutes=1))
    labels.append(imported([9], LabelStatus.DELETED, minutes=2))
    known = KnownEvents(labels, "tags")
    known.refresh()
    assert known.starting_with(sha(7)[:-1]) == [sha(number) for number in range(16)]
    assert (known.starting_with(sha(299)), known.starting_with("f")) == ([sha(299)], [])
    stands = known.standing([sha(7), sha(11), sha(999)])
    assert {image: stand.last.status for image, stand in stands.items()} == {
        sha(7): LabelStatus.REOPENED, sha(11): LabelStatus.APPROVED,
    }  # fmt: skip
    assert list(known.aside()) == [sha(8)]
    assert len(read[0]) == 3


def test_events_of_another_use_case_or_project_are_not_known(labels):
    """An approval counts against a decision only in the project of that decision."""
    labels.append([*imported([1], project="2"), event("other", "x", sha256=sha(1))])
    known = KnownEvents(labels, "tags")
    assert known.refresh() == 1
    assert [e.project for e in known.of_images([sha(1)], [LabelStatus.APPROVED], project="2")] == ["2"]
    assert known.of_images([sha(1)], [LabelStatus.APPROVED], project="3") == []
    assert known.of_images([sha(1)], [LabelStatus.REJECTED]) == []


class Rows:
    """A label store in memory, whose rows come in two parts."""

    def __init__(self, first, second):
        self._parts, self._asked = [first, second], 0

    def columns(self, names, *, use_case, after):
        version = self._asked
        self._asked += 1
        chosen = [store._to_row(e) for e in self._parts[version]]
        rows = store.pa.Table.from_pylist(chosen, schema=SCHEMA).select(list(names))
        return LabelColumns(rows, Mark("t", version), whole=after is None)

    def events(self, *, use_case, version, event_ids=None, after=None):
        found = self._parts[version] if after is not None else [e for p in self._parts[: version + 1] for e in p]
        wanted = None if event_ids is None else set(event_ids.to_pylist())
        return [e for e in found if wanted is None or e.event_id in wanted]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(KINDS), st.integers(0, 3), st.booleans()), max_size=12),
    st.integers(0, 12),
)
def test_columns_say_what_the_rules_over_events_say(acts, seen):
    """Whatever happened to an image, in whatever order, and wherever the first pass stopped."""
    events = [
        event("tags", f"{n:02}", sha256=sha(image), status=kind, minutes=at, task="7" if drawn else None)
        for n, (image, kind, at, drawn) in enumerate(acts)
    ]
    known = KnownEvents(Rows(events[:seen], events[seen:]), "tags")
    known.refresh()
    known.in_doubt()
    known.refresh()
    stands = standings(events)
    assert known.in_doubt() == {
        image: found
        for image, found in stands.items()
        if found.is_imported or (found.decided is not None and found.decided.status is LabelStatus.REOPENED)
    }
    returned = (LabelStatus.REOPENED, LabelStatus.REJECTED)
    images = [sha(0), sha(1)]
    assert known.to_begin_with(images) == {i: s for i, s in stands.items() if i in images and s.last.status in returned}
