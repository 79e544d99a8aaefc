"""The label store on a real S3."""

import multiprocessing
import uuid

import pytest
from pydantic import SecretStr

from components.settings import Settings
from components.stores.labels.store import LabelEvent, LabelStatus, LabelStore, LabelStoreError, boxes_digest, event_id
from inspection.geometry import Box, LabelledBox
from tests.components.stores.labels.label_events import NOON, SCRATCH, event


@pytest.fixture(scope="module")
def labels(installation):
    return LabelStore.open(installation)


@pytest.fixture
def use_case():
    """A name that no other test writes under: the table is one."""
    return f"u{uuid.uuid4().hex[:8]}"


def test_an_event_is_read_as_it_was_written(labels, use_case):
    """Every column is read as it was written, with text outside ASCII and fractions of pixels and seconds."""
    written = event(
        use_case,
        annotator="1",
        verifier="2",
        reason="ぼやけ",
        prelabel_model="m",
        project="3",
        task="4",
        annotation="5",
    )
    labels.append([written])
    assert labels.events(use_case=use_case) == [written]


def test_an_image_without_a_box_is_a_label_too(labels, use_case):
    """An image without a box is a label: a person looked at a good part."""
    labels.append([event(use_case, boxes=())])
    assert labels.events(use_case=use_case)[0].boxes == ()


def test_appending_again_changes_nothing(labels, use_case):
    """A writer that was killed may append the same events again, alone or among new ones."""
    first = labels.append([event(use_case, "a"), event(use_case, "a")])
    assert labels.append([event(use_case, "a")]) == first
    assert labels.append([]) == first
    assert labels.append([event(use_case, "a"), event(use_case, "b")]) == first + 1
    assert [e.event_id for e in labels.events(use_case=use_case)] == [f"{use_case}-a", f"{use_case}-b"]


def test_a_version_is_read_as_it_was(labels, use_case):
    """A later approval does not change what is read of an earlier version."""
    before = labels.append([event(use_case, "a")])
    after = labels.append([event(use_case, "b", minutes=1, boxes=())])
    assert labels.latest_approved(use_case, version=before)["ab" * 32].boxes == SCRATCH
    assert labels.latest_approved(use_case, version=after)["ab" * 32].boxes == ()
    assert labels.latest_approved(use_case, version=-1) == {}


def test_a_version_that_is_not_there_is_an_error(labels, use_case):
    """A version that does not exist raises an error; the latest version is never read in its place."""
    version = labels.append([event(use_case)])
    with pytest.raises(LabelStoreError, match="cannot open"):
        labels.events(version=version + 1000)


def test_the_latest_approval_counts_whatever_the_order_of_arrival(labels, use_case):
    """The latest approval is the one with the latest time of the act."""
    labels.append([event(use_case, "late", minutes=5, boxes=())])
    labels.append([event(use_case, "early", minutes=1)])
    assert labels.latest_approved(use_case)["ab" * 32].event_id == f"{use_case}-late"


def test_neither_a_label_nor_a_rejection_is_an_approval(labels, use_case):
    """A label or a rejection approves nothing, and the rejection of a new label leaves the earlier approval."""
    labels.append(
        [event(use_case, "l", status=LabelStatus.LABELLED), event(use_case, "r", status=LabelStatus.REJECTED)]
    )
    assert labels.latest_approved(use_case) == {}
    labels.append([event(use_case, "a", minutes=1), event(use_case, "r2", minutes=2, status=LabelStatus.REJECTED)])
    assert list(labels.latest_approved(use_case)) == ["ab" * 32]


def test_a_deleted_image_is_gone_until_it_is_approved_again(labels, use_case):
    """An image that was deleted after its approval has no approved label; a later approval counts again."""
    labels.append([event(use_case, "a"), event(use_case, "d", minutes=1, status=LabelStatus.DELETED)])
    assert labels.latest_approved(use_case) == {}
    labels.append([event(use_case, "a2", minutes=2)])
    assert list(labels.latest_approved(use_case)) == ["ab" * 32]


def test_use_cases_do_not_see_each_other(labels, use_case):
    """Events of one use case are not returned for another, although both share a table."""
    labels.append([event(use_case), event(f"{use_case}x")])
    assert [e.use_case for e in labels.events(use_case=use_case)] == [use_case]


def _append_five(options, use_case, writer):
    labels = LabelStore.open(Settings(**options))
    for number in range(5):
        labels.append([event(use_case, f"{writer}-{number}")])


def test_two_processes_that_append_at_once_lose_nothing(s3, installation, use_case):
    """Every event of both processes is stored once, even where both create the table at the same time."""
    from deploy.access.buckets import ensure

    prefix = f"t{uuid.uuid4().hex[:8]}-"
    ensure(s3.store("admin")._client, prefix, allowed_origins=["http://127.0.0.1"])
    options = {
        "s3_endpoint": installation.s3_endpoint,
        "access_key_id": installation.access_key_id,
        "secret_access_key": installation.secret_access_key.get_secret_value(),
        "bucket_prefix": prefix,
    }
    labels = LabelStore.open(Settings(**options))
    assert (labels.version(), labels.events(), labels.latest_approved("any")) == (-1, [], {})
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_five, args=(options, use_case, name)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    found = [e.event_id for e in labels.events(use_case=use_case)]
    assert sorted(found) == sorted(f"{use_case}-{writer}-{number}" for writer in "ab" for number in range(5))


def test_an_identity_without_rights_is_told_so_by_the_store(installation, s3):
    """Reading with a device's key raises `LabelStoreError` and does not return an empty table."""
    s3.device("line1")
    key = s3.devices["line1"]
    stranger = installation.model_copy(
        update={
            "access_key_id": key.access_key,
            "secret_access_key": SecretStr(key.secret_key),
            "bucket_prefix": "kizu-",
        }
    )
    with pytest.raises(LabelStoreError):
        LabelStore.open(stranger).events()


def test_nobody_verifies_their_own_label():
    """An event with the same user as annotator and verifier is refused; an imported event may have neither."""
    with pytest.raises(ValueError, match="verifier must be another person"):
        event("u", annotator="7", verifier="7")
    assert event("u", annotator="7", verifier="8").verifier == "8"
    assert event("u").verifier is None


@pytest.mark.parametrize(
    ("change", "said"),
    [({"sha256": "x"}, "sha256"), ({"at": NOON.replace(tzinfo=None)}, "zone"), ({"width": 0}, "positive sides")],
)
def test_an_event_is_valid_at_birth(change, said):
    """An event with a malformed digest, a time without a zone, or a side that is not positive is refused."""
    values = {
        "event_id": "e", "use_case": "u", "image_uri": "s3://b/k", "sha256": "ab" * 32, "width": 1, "height": 1,
        "boxes": (), "status": LabelStatus.APPROVED, "at": NOON, "group": "g", "source": "s",
    }  # fmt: skip
    with pytest.raises(ValueError, match=said):
        LabelEvent(**{**values, **change})


def test_the_same_act_has_the_same_identity_and_parts_do_not_run_together():
    """Equal parts give equal event ids, and parts such as ("1", "23") and ("12", "3") give different ones."""
    first = event_id("ls", "1", "23", "now", LabelStatus.LABELLED)
    assert first == event_id("ls", "1", "23", "now", LabelStatus.LABELLED)
    assert first != event_id("ls", "12", "3", "now", LabelStatus.LABELLED)
    assert first != event_id("ls", "1", "23", "now", LabelStatus.APPROVED)


def test_the_digest_of_boxes_knows_no_order_and_a_hundredth_of_a_pixel():
    """Reordered or rounded boxes have the same digest; a box moved by a pixel or of another class has another."""
    a, b = LabelledBox("x", Box(1, 2, 3, 4)), LabelledBox("y", Box(5, 6, 7, 8))
    assert boxes_digest([a, b]) == boxes_digest([b, a])
    assert boxes_digest([LabelledBox("x", Box(1.0001, 2, 3, 4))]) == boxes_digest([a])
    assert boxes_digest([LabelledBox("x", Box(2, 2, 3, 4))]) != boxes_digest([a])
    assert boxes_digest([LabelledBox("y", a.box)]) != boxes_digest([a])
