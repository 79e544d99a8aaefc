"""A candidate beside the running release: it decides nothing, delays nothing, and leaves nothing behind."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_agent.damaged import DamagedFiles
from edge_agent.disk import RealDisk
from edge_agent.errors import Interrupted, UpdateError
from edge_agent.memory_budget import MemoryBudget
from edge_agent.send_back import Judged, SendBack
from edge_agent.shadow.files import ShadowFiles
from edge_agent.shadow.process import Answer, ShadowProcess
from edge_agent.shadow.shadow import Shadow, order_for
from edge_agent.shadow.tally import Counts, rest_s
from inspection import Capture, DesiredState, PartView, Reason, ShadowOrder, ShadowTally, ShadowVerdict, Verdict, Wave
from inspection.image import MAX_PIXELS
from inspection.region import Region
from tests.edge_agent.bench import Bench, loaded
from tests.edge_agent.models import BAD, DOUBTFUL, GOOD, build_candidate, picture
from tests.edge_agent.servers import wait_for

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CANDIDATE = build_candidate(2, gain=0.5)
ORDER = ShadowOrder(release_digest=CANDIDATE.digest, devices=("dev1",), share=1.0, cpu_share=0.5)
DESIRED = DesiredState(
    sequence=1, use_case="tags", waves=(Wave(release_digest="a" * 64, percent=100.0),), probation_s=1.0, shadow=ORDER
)


class Device:
    """The candidate's side of a device: a source, a candidate and clocks that do what the test says."""

    def __init__(self, folder: Path, **options) -> None:
        self.folder = folder
        self.options = options
        self.budget = MemoryBudget(60_000_000)
        self.now_s = 0.0
        self.now = NOW
        self.fetches: Exception | None = None
        self.starts: Exception | None = None
        self.answers: list[Answer | Exception] = []
        self.sent: list[tuple[str, str, Verdict]] = []
        self.rests: list[float] = []
        self.log: list[str] = []
        self.is_paused = False
        self.start()

    def start(self) -> None:
        self.files = ShadowFiles(self.folder, RealDisk(), DamagedFiles(self.folder / "damaged"))
        self.shadow = Shadow(
            self.files,
            lambda interrupted: self,
            self.start_judge,
            **{
                "budget": self.budget,
                "paused": lambda: self.is_paused,
                "differs": lambda judged, digest, verdict: self.sent.append((judged.sha256, digest, verdict)),
                "monotonic": lambda: self.now_s,
                "utc_now": lambda: self.now,
                "rest": lambda event, seconds: self.rests.append(seconds),
            }
            | self.options,
        )
        self.shadow.boot()

    # -- the source
    def refresh(self) -> None:
        if self.fetches:
            raise self.fetches

    def fetch_candidate(self, digest: str, folder: Path):
        self.log.append("fetched")
        CANDIDATE.write(folder)
        return CANDIDATE.candidate

    # -- the candidate's process
    def start_judge(self, folder: Path, digest: str, interrupted: threading.Event):
        assert (folder / "candidate.json").exists()
        if self.starts:
            raise self.starts
        self.log.append("started")
        return self

    def judge(self, data: bytes, view: PartView) -> Answer:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.log.append("closed")

    # -- what the tests do
    def bring_up(self, order: ShadowOrder = ORDER) -> None:
        self.shadow.want(order)
        self.shadow.step()
        self.shadow.step()
        self.rests.clear()

    def judges(self, judged: Judged, answer: Answer | Exception) -> None:
        self.answers.append(answer)
        self.shadow.hand_over(judged)
        self.shadow.step()

    def tally(self) -> ShadowTally:
        found = self.shadow.tally()
        assert found is not None
        return found


@pytest.fixture
def device(tmp_path):
    return Device(tmp_path / "state")


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Frames with their verdicts, as the inspection loop hands them over."""
    handed: list[Judged] = []
    bench = Bench(tmp_path_factory.mktemp("line"), beside=handed.append)
    release = loaded(bench.camera.parent / "releases")
    for name, kind in (("1.png", GOOD), ("2.png", BAD), ("3.png", DOUBTFUL)):
        bench.feed(name, picture(*kind))
        assert bench.loop.step(release, 2.0)
    bench.outbox.close()
    return dict(zip(("good", "bad", "doubtful"), handed, strict=True))


# -- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ORDER),
        ({"shadow": replace(ORDER, devices=("dev2",))}, None),
        ({"use_case": "bottles"}, None),
        ({"shadow": None}, None),
    ],
)
def test_only_a_device_that_is_named_takes_the_order(changes, expected):
    """Others of its group, and devices that inspect another product, ignore it."""
    assert order_for(replace(DESIRED, **changes), device="dev1", use_case="tags") == expected
    assert order_for(None, device="dev1", use_case="tags") is None


@pytest.mark.parametrize(
    ("cpu_s", "took_s", "cpu_share", "expected"),
    [(0.2, 0.2, 0.5, 0.2), (0.2, 0.2, 1.0, 0.0), (0.1, 0.5, 0.5, 0.0), (0.1, 0.1, 0.1, 0.9), (0.0, 0.0, 0.5, 0.0)],
)
def test_a_candidate_rests_until_its_processor_time_is_below_its_share(cpu_s, took_s, cpu_share, expected):
    """Time in which it waited for a processor counts as rest."""
    assert rest_s(cpu_s, took_s, cpu_share) == pytest.approx(expected)


def test_the_counts_are_those_of_the_frames_that_both_judged():
    """Each pair of verdicts, worked out by hand, and the 95th percentile of the processor time."""
    counts = Counts(NOW, "a" * 64, skipped=2)
    pairs = [
        (Verdict.PASS, Verdict.PASS, False), (Verdict.FAIL, Verdict.PASS, True), (Verdict.PASS, Verdict.FAIL, True),
        (Verdict.UNCERTAIN, Verdict.FAIL, True), (Verdict.UNCERTAIN, Verdict.UNCERTAIN, False),
    ]  # fmt: skip
    for number, (candidate, release, differs) in enumerate(pairs):
        assert counts.add(candidate, release, 0.01 * (number + 1)) is differs
    assert Counts.of(counts.kept()).reported("b" * 64, "") == ShadowTally(
        release_digest="b" * 64, since=NOW, frames=5, skipped=2, disagreed=3, fail=1, uncertain=2, former_fail=2,
        former_uncertain=1, p95_ms=50.0,
    )  # fmt: skip


# -- the way of a candidate -------------------------------------------------------------------------------------------


def test_a_candidate_is_fetched_and_judges_and_its_disagreements_are_told(device, judged):
    """The frames are those of the line; the running release's verdicts on them are counted beside."""
    device.bring_up()
    assert (device.log, device.tally().reason) == (["fetched", "started"], "")
    device.judges(judged["good"], Answer(Verdict.PASS, 0.0))
    device.judges(judged["bad"], Answer(Verdict.UNCERTAIN, 0.0))
    found = device.tally()
    assert (found.frames, found.disagreed, found.uncertain, found.fail) == (2, 1, 1, 0)
    assert (found.former_fail, found.former_uncertain, found.skipped, found.since) == (1, 0, 0, NOW)
    assert device.sent == [(judged["bad"].sha256, CANDIDATE.digest, Verdict.UNCERTAIN)]


def test_nothing_happens_without_an_order(device, judged):
    """No frame is held, and the report says nothing of a candidate."""
    device.shadow.step()
    device.shadow.hand_over(judged["bad"])
    assert (device.shadow.tally(), device.log) == (None, [])
    assert device.budget.free_bytes() == device.budget.waiting_bytes


def test_a_frame_that_finds_the_candidate_busy_is_skipped_and_counted(device, judged):
    """One frame waits at most; frames outside the share, and those of a probation, count nowhere."""
    device.bring_up()
    for _ in range(4):
        device.shadow.hand_over(judged["good"])
    device.is_paused = True
    device.shadow.hand_over(judged["good"])
    device.is_paused = False
    device.answers.append(Answer(Verdict.PASS, 0.0))
    device.shadow.step()
    found = device.tally()
    assert (found.frames, found.skipped) == (1, 3)
    device.shadow.want(replace(ORDER, share=0.0))
    device.shadow.step()
    device.shadow.hand_over(judged["good"])
    assert device.tally().skipped == 3


def test_a_frame_that_would_take_much_of_the_memory_for_images_is_skipped(device, judged):
    """A candidate gets at most a quarter of what is free; the images of the line have the rest."""
    device.bring_up()
    large = replace(judged["good"], frame=replace(judged["good"].frame, data=bytes(device.budget.waiting_bytes // 3)))
    device.shadow.hand_over(large)
    assert device.tally().skipped == 1
    assert device.budget.free_bytes() == device.budget.waiting_bytes


def test_a_candidate_stays_below_its_share_of_a_processor(device, judged):
    """A frame of 0.2 s of processor time at a share of 0.5 is followed by as long a rest."""
    device.bring_up()
    device.judges(judged["good"], Answer(Verdict.PASS, 0.2))
    assert device.rests == [pytest.approx(0.4)]  # the test's clock stood still in the meantime


def test_the_end_of_the_order_ends_the_process_and_leaves_nothing(device, judged):
    """Files, memory and the frame that waits are free again."""
    device.bring_up()
    device.shadow.hand_over(judged["bad"])
    device.shadow.want(None)
    device.shadow.step()
    assert device.log == ["fetched", "started", "closed"]
    assert list((device.folder / "shadow").iterdir()) == []
    assert (device.shadow.tally(), device.budget.free_bytes()) == (None, device.budget.waiting_bytes)
    device.start()
    assert device.shadow.tally() is None


def test_another_candidate_begins_anew_and_another_share_does_not(device, judged):
    """The files of the former candidate go; a new share changes neither process nor counts."""
    device.bring_up()
    device.judges(judged["good"], Answer(Verdict.PASS, 0.0))
    device.bring_up(replace(ORDER, share=0.5))
    assert (device.log, device.tally().frames) == (["fetched", "started"], 1)
    other = replace(ORDER, release_digest="c" * 64)
    device.bring_up(other)
    assert device.log == ["fetched", "started", "closed", "fetched", "started"]
    assert (device.tally().frames, device.tally().release_digest) == (0, "c" * 64)
    assert not device.files.folder(CANDIDATE.digest).exists()


@pytest.mark.parametrize(
    "failure", [UpdateError("crashed", "signal 11"), UpdateError("too-much-memory", "900 MiB"), ValueError("odd")]
)
def test_a_candidate_that_fails_ends_and_stays_ended_until_it_is_ordered_anew(device, judged, failure):
    """Also over a restart. The reason is reported; stop and start try it again."""
    device.bring_up()
    stop = threading.Event()
    device.answers.append(failure)
    device.shadow._changed = stop.set
    device.shadow.hand_over(judged["good"])
    device.shadow.run(stop)
    assert "closed" in device.log
    reason = device.tally().reason
    assert reason.startswith(("crashed: ", "too-much-memory: ", "internal: ValueError"))
    device.start()
    device.shadow.step()
    assert (device.tally().reason, device.log.count("started")) == (reason, 1)
    device.shadow.want(None)
    device.shadow.step()
    device.bring_up()
    assert (device.tally().reason, device.log.count("started")) == ("", 2)


@pytest.mark.parametrize("reason", ["golden-samples", "newer-agent-needed", "unusable-model"])
def test_a_candidate_that_fails_its_trial_judges_nothing(device, judged, reason):
    """It is tried as a release is, and the report says why it was refused."""
    device.starts = UpdateError(reason, "a.png: expected a scratch")
    device.bring_up()
    device.shadow.hand_over(judged["bad"])
    assert device.tally().reason == f"{reason}: a.png: expected a scratch"
    assert device.budget.free_bytes() == device.budget.waiting_bytes


def test_a_store_that_does_not_answer_is_asked_again_later(device):
    """The report says what the candidate waits for."""
    device.fetches = UpdateError("unreachable", "no network", transient=True)
    device.bring_up()
    assert device.tally().reason == "unreachable: no network"
    device.shadow.step()
    assert device.log == []
    device.fetches = None
    device.now_s += 20.0
    device.shadow.step()
    assert (device.log, device.tally().reason) == (["fetched", "started"], "")


def test_a_candidate_goes_on_after_a_restart_without_a_network(device, judged):
    """The order and the counts are on the disk; its process checks the files again."""
    device.bring_up()
    device.judges(judged["bad"], Answer(Verdict.PASS, 0.0))
    device.shadow.stop()
    device.fetches = UpdateError("unreachable", "no network", transient=True)
    device.now += timedelta(days=1)
    device.start()
    device.shadow.step()
    assert device.log == ["fetched", "started", "closed", "started"]
    assert (device.tally().frames, device.tally().disagreed, device.tally().since) == (1, 1, NOW)


def test_the_counts_begin_anew_with_another_running_release(device, judged):
    """They compare the candidate with one release."""
    device.bring_up()
    device.judges(judged["good"], Answer(Verdict.PASS, 0.0))
    device.now += timedelta(hours=1)
    other = replace(judged["good"], result=replace(judged["good"].result, release_digest="e" * 64))
    device.judges(other, Answer(Verdict.PASS, 0.0))
    assert (device.tally().frames, device.tally().since) == (1, NOW + timedelta(hours=1))


def test_another_order_interrupts_a_frame_and_the_memory_of_it_is_free(device, judged):
    """The process is in the middle of a frame, so it is ended."""
    device.bring_up()
    device.judges(judged["good"], Interrupted("another order"))
    assert device.log[-1] == "closed"
    assert device.budget.free_bytes() == device.budget.waiting_bytes


@pytest.mark.parametrize("damage", ["half", "more disagreements than frames"])
def test_a_damaged_state_file_is_set_aside_and_the_next_poll_orders_again(device, judged, damage):
    """It holds up neither the agent nor the next order, and its counts are not reported."""
    device.bring_up()
    device.judges(judged["good"], Answer(Verdict.PASS, 0.0))
    device.shadow.stop()
    file = device.folder / "shadow" / "shadow.json"
    text = file.read_text()
    file.write_text(text[:9] if damage == "half" else text.replace('"disagreed":0', '"disagreed":7'))
    device.start()
    assert (device.shadow.tally(), DamagedFiles(device.folder / "damaged").count()) == (None, 1)
    device.bring_up()
    assert device.tally().reason == ""


# -- beside the line --------------------------------------------------------------------------------------------------


def test_a_candidate_that_hangs_delays_no_verdict(tmp_path):
    """While it thinks about its first frame, the line gets the verdicts of all five; three are skipped."""
    thinking, go_on, stop = threading.Event(), threading.Event(), threading.Event()
    device = Device(tmp_path / "state", rest=threading.Event.wait)

    def hang(data: bytes, view: PartView) -> Answer:
        thinking.set()
        assert go_on.wait(60)
        return Answer(Verdict.PASS, 0.0)

    device.judge = hang
    bench = Bench(tmp_path, beside=device.shadow.hand_over)
    release = loaded(tmp_path)
    device.shadow.want(ORDER)
    thread = threading.Thread(target=device.shadow.run, args=(stop,))
    thread.start()
    try:
        wait_for(lambda: "started" in device.log and device.shadow._judging is not None)
        bench.feed("0.png", picture(*BAD, seed=0))
        assert bench.loop.step(release, 2.0)
        assert thinking.wait(60)
        for number in range(1, 5):
            bench.feed(f"{number}.png", picture(*BAD, seed=number))
            assert bench.loop.step(release, 2.0)
        assert [item["verdict"] for item in bench.results()] == ["fail"] * 5
        assert bench.waiting() == []
        assert not go_on.is_set()
        go_on.set()
        wait_for(lambda: device.tally().frames == 2)
    finally:
        go_on.set()
        stop.set()
        thread.join(20)
        bench.outbox.close()
    assert device.tally().disagreed == 2


def test_a_frame_on_which_the_candidate_differs_goes_back_and_names_it(tmp_path, judged):
    """A doubtful frame was sent already: a second Capture names the candidate. The quota of the device holds."""
    bench = Bench(tmp_path)
    send = SendBack(bench.outbox, "plant1")
    send.candidate_differs(judged["doubtful"], CANDIDATE.digest, Verdict.PASS)
    (item,) = bench.outbox.images(9)
    capture = Capture.from_json(item.payload)
    assert (capture.reason, capture.verdict) == (Reason.DISAGREEMENT, Verdict.UNCERTAIN)
    assert capture.shadow == ShadowVerdict(release_digest=CANDIDATE.digest, verdict=Verdict.PASS)
    assert capture.release_digest == judged["doubtful"].result.release_digest
    assert capture.capture_id != judged["doubtful"].result.capture_id
    none_left = replace(judged["bad"], policy=replace(judged["bad"].policy, max_per_minute=1))
    send.candidate_differs(none_left, CANDIDATE.digest, Verdict.PASS)
    assert (len(bench.outbox.images(9)), bench.outbox.counters()["over_quota"]) == (1, 1)
    bench.outbox.close()


# -- the process ------------------------------------------------------------------------------------------------------


def process(folder: Path, digest: str, interrupted=None, **options) -> ShadowProcess:
    return ShadowProcess(
        folder, digest, precision="fp32", max_pixels=MAX_PIXELS, interrupted=interrupted or threading.Event(), **options
    )


def test_a_candidate_judges_in_a_process_of_its_own_and_its_death_is_an_answer(tmp_path):
    """The verdicts are those of its network, worked out by hand; a kill, and a picture that is none, have a reason."""
    running = process(CANDIDATE.write(tmp_path / "c"), CANDIDATE.digest)
    try:
        answers = [running.judge(picture(*kind)) for kind in (GOOD, BAD)]
        # Half as bright: what is white to others is grey to it.
        assert [answer.verdict for answer in answers] == [Verdict.PASS, Verdict.UNCERTAIN]
        assert all(0 <= answer.cpu_s < 60 for answer in answers)
        with pytest.raises(UpdateError, match="ImageError") as odd:
            running.judge(b"no picture")
        assert odd.value.reason == "runtime-error"
        running._child.kill()
        with pytest.raises(UpdateError) as killed:
            running.judge(picture(*GOOD))
        assert killed.value.reason == "too-much-memory"
    finally:
        running.close()


@pytest.mark.parametrize("damage", ["golden-samples", "damaged"])
def test_a_candidate_that_is_not_what_it_says_does_not_start(tmp_path, damage):
    """Its golden samples come out otherwise, or a file on this disk was changed."""
    built = build_candidate(2, gain=0.5, golden_score=0.9) if damage == "golden-samples" else CANDIDATE
    folder = built.write(tmp_path / "c")
    if damage == "damaged":
        (folder / "model.onnx").write_bytes(b"other")
    with pytest.raises(UpdateError) as refused:
        process(folder, built.digest)
    assert refused.value.reason == damage


def test_a_process_that_takes_too_much_memory_or_is_interrupted_is_ended(tmp_path):
    """Neither waits for its answer."""
    folder = CANDIDATE.write(tmp_path / "c")
    with pytest.raises(UpdateError) as refused:
        process(folder, CANDIDATE.digest, memory_bytes=1000, resident=lambda pid: 2**20)
    assert refused.value.reason == "too-much-memory"
    interrupted = threading.Event()
    interrupted.set()
    with pytest.raises(Interrupted):
        process(folder, CANDIDATE.digest, interrupted)


def test_a_candidate_is_told_which_region_of_a_camera_is_judged(tmp_path, judged):
    """It decides on the same part of the picture as the release; a camera without a region is judged as a whole."""
    told = []

    class Telling(Device):
        def judge(self, data: bytes, view: PartView, region: Region | None = None) -> Answer:
            told.append(region)
            return super().judge(data, view)

    for regions in ({"camera": Region(rotate=90)}, {"other": Region(rotate=90)}):
        device = Telling(tmp_path / f"state-{len(told)}", regions=regions)
        device.bring_up()
        device.judges(judged["good"], Answer(Verdict.PASS, 0.01))
    assert told == [Region(rotate=90), None]
