"""Which version is published again after a loss, and above which sequence."""

from datetime import UTC, datetime

import pytest

from components.deployment.recovery import RecoveryError, recover
from components.stores.models.registry import ModelVersion
from inspection.documents import Reported


class Signer:
    """It records what it is asked."""

    def __init__(self):
        self.asked = []

    def recover(self, model, version, *, sequence_above, metadata_above):
        self.asked.append((model, version, sequence_above, metadata_above))
        return sequence_above + 1


class Models:
    """Versions 1 to 4; approved are those that are named."""

    def __init__(self, approved, champion=None):
        self.approved, self.champion = approved, champion

    def _version(self, number):
        return ModelVersion("tags", number, "r", {"approval": "approved" if number in self.approved else "rejected"})

    def by_alias(self, name, alias):
        return self._version(self.champion) if self.champion else None

    def versions(self, name):
        return [self._version(number) for number in (4, 3, 2, 1)]


def report(device, sequence, use_case="tags"):
    return Reported(
        device=device, group="line", use_case=use_case, reported_at=datetime(2030, 1, 1, tzinfo=UTC), state="running",
        sequence_seen=sequence,
    )  # fmt: skip


def recovered(*reports, approved=(1, 2, 3), champion=None, **options):
    signer = Signer()
    found = recover(signer, Models(approved, champion), reports, "tags", champion="champion", **options)
    return signer.asked, found


def test_the_sequence_goes_on_above_the_highest_that_any_device_reports():
    """A device of an older agent names no use case and counts; one of another product does not."""
    asked, found = recovered(report("d2", 5), report("d1", 7, None), report("other", 90, "caps"))
    assert asked == [("tags", 3, 7, 0)]
    assert (found.sequence, found.devices) == (8, ("d1", "d2"))


def test_a_number_can_be_given_for_devices_that_do_not_report():
    """The higher of both counts."""
    assert recovered(report("d1", 7), above=20)[0][0][2] == 20
    assert recovered(report("d1", 7), above=3)[0][0][2] == 7
    assert recovered(above=20)[0][0][2] == 20
    with pytest.raises(RecoveryError, match="--above"):
        recovered(report("other", 90, "caps"))


@pytest.mark.parametrize(
    ("approved", "champion", "version", "published"),
    [((1, 2, 3), 2, 0, 2), ((1, 2, 3), None, 0, 3), ((1, 3), 2, 0, 3), ((1, 2, 3), 2, 1, 1)],
    ids=["the champion", "the newest approved", "a champion that was rejected since", "what was asked for"],
)
def test_the_champion_is_published_unless_another_version_is_asked_for(approved, champion, version, published):
    """It is what the group ran last as a whole."""
    asked, _ = recovered(report("d1", 7), approved=approved, champion=champion, version=version)
    assert asked[0][1] == published


def test_without_an_approved_version_nothing_is_published():
    """The message says what to do first."""
    with pytest.raises(RecoveryError, match="approve one"):
        recovered(report("d1", 7), approved=())
