"""What a device counts of its releases: for the report, for a probation, and over a restart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.damaged import DamagedFiles
from edge_agent.disk import RealDisk, Steps
from edge_agent.ota.probation import Tally
from edge_agent.ota.tallies import Tallies
from edge_agent.ota.tally_file import TallyFile
from edge_agent.result import Result
from inspection import LineTally, Verdict

NOW = datetime(2026, 1, 2, tzinfo=UTC)
A, B, C, D = (letter * 64 for letter in "abcd")


def count(tallies: Tallies, digest: str | None, frames: int, verdict: Verdict = Verdict.PASS, infer_ms=20.0) -> None:
    judged = verdict is not Verdict.NOT_INSPECTED
    result = Result(
        capture_id="0" * 32, sha256="1" * 64 if judged else None, captured_at=NOW, decided_at=NOW, device="dev1",
        camera="top", release_digest=digest, model_sha256="2" * 64, verdict=verdict,
        reason=None if judged else "deadline", infer_ms=infer_ms if judged else None,
    )  # fmt: skip
    for _ in range(frames):
        tallies.add(result)


@pytest.fixture
def tallies() -> Tallies:
    return Tallies(lambda: NOW)


def test_the_numbers_of_a_release_are_those_of_its_frames(tallies):
    """Triggers without a verdict are counted apart; the time is the 95th percentile; the newest release is last."""
    count(tallies, B, 1)
    count(tallies, A, 90, infer_ms=20.0)
    count(tallies, A, 6, Verdict.FAIL, infer_ms=50.0)
    count(tallies, A, 4, Verdict.UNCERTAIN, infer_ms=50.0)
    count(tallies, A, 3, Verdict.NOT_INSPECTED)
    for differs in (True, False, False):
        tallies.add_compared(A, differs)
    assert [line.release_digest for line in tallies.lines()] == [B, A]
    assert tallies.lines()[-1] == LineTally(
        release_digest=A, since=NOW, frames=100, fail=6, uncertain=4, not_inspected=3, p95_ms=50.0, compared=3,
        disagreed=1,
    )  # fmt: skip
    assert tallies.former(A) == tallies.of(A) == Tally(100, 6, 4, 50.0)


def test_results_without_a_release_count_nowhere(tallies):
    """A trigger that came before the first release is no frame of any."""
    count(tallies, None, 1, Verdict.NOT_INSPECTED)
    assert tallies.lines() == ()


def test_only_the_latest_frames_and_releases_count(tallies):
    """2000 frames of a release, and three releases: a report stays small, and follows the line."""
    count(tallies, A, 500, Verdict.FAIL)
    count(tallies, A, 1990)
    count(tallies, A, 5, Verdict.NOT_INSPECTED)
    for _ in range(2100):
        tallies.add_compared(A, True)
    (line,) = tallies.lines()
    assert (line.frames, line.fail, line.not_inspected, line.compared) == (2000, 10, 5, 2000)
    count(tallies, A, 9000, Verdict.NOT_INSPECTED)
    assert tallies.lines()[0].frames + tallies.lines()[0].not_inspected == 4000
    for digest in (B, C, D):
        count(tallies, digest, 1)
    assert [line.release_digest for line in tallies.lines()] == [B, C, D]


def test_a_probation_counts_from_its_begin(tallies):
    """What the release did in an earlier life counts neither for the probation nor for the line."""
    count(tallies, A, 5, Verdict.FAIL)
    tallies.begin(A)
    assert tallies.of(A) == Tally()
    assert tallies.lines()[0].frames == 0
    count(tallies, A, 2)
    assert tallies.of(A).frames == tallies.lines()[0].frames == 2


def test_a_probation_that_goes_on_after_a_restart_keeps_the_numbers_of_the_line(tallies):
    """The state of the activation holds what the probation had seen before, so those frames are not counted twice."""
    count(tallies, A, 5, Verdict.FAIL)
    tallies.begin(A, goes_on=True)
    count(tallies, A, 2)
    assert tallies.of(A) == Tally(2, 0, 0, 20.0)
    assert (tallies.lines()[0].frames, tallies.lines()[0].fail) == (7, 5)


# -- over a restart ---------------------------------------------------------------------------------------------------


def file_in(folder, disk=None) -> TallyFile:
    return TallyFile(folder, disk or RealDisk(), DamagedFiles(folder / "damaged"))


def after_a_restart(folder) -> Tallies:
    again = Tallies(lambda: NOW + timedelta(days=1))
    file_in(folder).load(again)
    return again


def test_what_the_releases_decided_survives_a_restart(tallies, tmp_path):
    """The next release is compared with the former one of before the restart; a probation begins anew."""
    count(tallies, B, 40, Verdict.FAIL, infer_ms=31.46)
    count(tallies, A, 3, Verdict.UNCERTAIN)
    count(tallies, A, 2, Verdict.NOT_INSPECTED)
    tallies.add_compared(A, True)
    assert file_in(tmp_path).save(tallies)
    again = after_a_restart(tmp_path)
    assert again.lines()[1] == tallies.lines()[1]
    assert again.former(B) == Tally(40, 40, 0, 31.5)
    assert again.of(B) == Tally()
    count(again, B, 1)
    assert again.lines()[-1].frames == 41


def test_the_file_is_written_only_where_something_was_counted(tallies, tmp_path):
    """A line that stands still wears no flash."""
    file = file_in(tmp_path)
    count(tallies, A, 1)
    assert (file.save(tallies), file.save(tallies)) == (True, False)
    again, other = Tallies(), file_in(tmp_path)
    other.load(again)
    assert other.save(again) is False


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b'{"schema_version":1,"releases":[{"release_digest":"x","since":"2026-01-02T00:00:00+00:00",'
        b'"verdicts":"","infer_ms":[],"compared":""}]}',
        b'{"schema_version":1,"releases":[{"release_digest":"' + A.encode() + b'","since":"2026-01-02T00:00:00+00:00",'
        b'"verdicts":"pp","infer_ms":[1],"compared":""}]}',
    ],
)
def test_a_damaged_file_is_set_aside_and_the_counts_begin_anew(tmp_path, damage):
    """Counts are no reason to stop an agent."""
    (tmp_path / "tallies.json").write_bytes(damage)
    assert after_a_restart(tmp_path).lines() == ()
    assert DamagedFiles(tmp_path / "damaged").count() == 1


class Ends(Steps):
    """Steps of which the n-th does not come about any more."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __getattribute__(self, name):
        if name in ("write", "sync", "rename", "sync_folder"):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        return super().__getattribute__(name)


@pytest.mark.parametrize("step", range(4))
def test_a_kill_while_the_file_is_written_leaves_the_counts_of_before_or_of_now(tallies, tmp_path, step):
    """At each step of the writing."""
    count(tallies, A, 1)
    file_in(tmp_path).save(tallies)
    count(tallies, A, 1)
    with pytest.raises(KeyboardInterrupt):
        file_in(tmp_path, RealDisk(Ends(step))).save(tallies)
    assert after_a_restart(tmp_path).lines()[0].frames in (1, 2)
    assert DamagedFiles(tmp_path / "damaged").count() == 0


def test_a_full_disk_only_delays_the_writing(tallies, tmp_path):
    """The next call writes it."""

    class Full(RealDisk):
        def write(self, path, data, *, mode=0o600):
            raise OSError(28, "No space left on device")

    count(tallies, A, 1)
    file = TallyFile(tmp_path, Full(), DamagedFiles(tmp_path / "damaged"))
    assert file.save(tallies) is False
    file._disk = RealDisk()
    assert file.save(tallies) is True
