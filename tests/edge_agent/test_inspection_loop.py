"""The loop in this process: verdicts, what is recorded, what is set aside, and frames during a swap."""

from __future__ import annotations

import shutil
import threading
import time

import cv2
import numpy as np
import pytest

from edge_agent.agent import InspectionLoop
from edge_agent.camera_config import FolderCamera
from edge_agent.errors import InferenceError
from edge_agent.inference import LoadedRelease
from edge_agent.memory_budget import MemoryBudget
from edge_agent.outbox import Outbox
from edge_agent.sources.folder import FolderSource
from edge_agent.web.picture import draw
from inspection import Capture, PictureLimits, Sampling, Verdict
from tests.edge_agent.bench import Bench, loaded
from tests.edge_agent.models import BAD, DOUBTFUL, GOOD, picture, quadrant_model
from tests.edge_agent.outbox_items import LIMITS
from tests.edge_agent.servers import wait_for


def test_verdicts_and_detections_are_those_worked_out_by_hand(tmp_path):
    """A white quadrant fails, a grey one is uncertain, dark ones pass; the boxes are the quadrants."""
    bench = Bench(tmp_path)
    bench.active.set(loaded(tmp_path))
    with bench:
        for name, kind in (("1.png", GOOD), ("2.png", BAD), ("3.png", DOUBTFUL)):
            bench.feed(name, picture(*kind))
        wait_for(lambda: len(bench.results()) == 3)
        wait_for(lambda: bench.waiting() == [])
        results = bench.results()
    assert [item["verdict"] for item in results] == ["pass", "fail", "uncertain"]
    assert results[1]["detections"][0]["box"] == {"x": 0, "y": 0, "width": 32, "height": 32}
    assert results[1]["detections"][0]["score"] == pytest.approx(1.0)
    assert len({item["capture_id"] for item in results}) == 3
    assert draw(bench.recent.all()[0], MemoryBudget(30_000_000))[:3] == b"\xff\xd8\xff"


def test_only_the_doubtful_frame_waits_for_upload(tmp_path):
    """The Capture of a doubtful frame holds its detections and the release that judged it."""
    bench = Bench(tmp_path)
    release = loaded(tmp_path)
    bench.active.set(release)
    with bench:
        for name, kind in (("1.png", GOOD), ("2.png", BAD), ("3 傷.png", DOUBTFUL)):
            bench.feed(name, picture(*kind))
        wait_for(lambda: len(bench.results()) == 3)
        item = bench.outbox.next_image()
        assert bench.outbox.depth()["uncertain"] == 1
    capture = Capture.from_json(item.payload)
    assert (capture.original_name, capture.release_digest) == ("3 傷.png", release.digest)
    assert capture.verdict is Verdict.UNCERTAIN
    assert capture.detections[0].score == pytest.approx(128 / 255, abs=0.001)


def test_bad_files_are_set_aside_with_a_reason_and_counted_and_the_rest_goes_on(tmp_path):
    """A bad file neither ends nor stops the loop."""
    bench = Bench(tmp_path)
    bench.active.set(loaded(tmp_path))
    with bench:
        bench.feed("1-empty.png", b"")
        bench.feed("2-text.png", b"no image at all")
        bench.feed("3-half.png", picture(*BAD)[:60])
        bench.feed("4-half.jpg", draw_jpeg()[:-200])
        bench.feed("5-good.png", picture(*BAD))
        wait_for(lambda: len(bench.results()) == 1 and bench.waiting() == [])
        counters = bench.outbox.counters()
    rejected = {path.name for path in (bench.camera / "rejected").iterdir() if not path.name.endswith(".txt")}
    assert rejected == {"1-empty.png", "2-text.png", "3-half.png", "4-half.jpg"}
    assert counters["rejected.empty"] == counters["rejected.not-an-image"] == 1
    assert counters["rejected.truncated"] == 2


def draw_jpeg() -> bytes:
    return cv2.imencode(".jpg", np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8))[1].tobytes()


def test_without_a_release_frames_wait_in_the_folder(tmp_path):
    """The frames are inspected as soon as there is a release."""
    bench = Bench(tmp_path)
    with bench:
        bench.feed("1.png", picture(*BAD))
        time.sleep(0.5)
        assert (bench.waiting(), bench.results()) == (["1.png"], [])
        bench.active.set(loaded(tmp_path))
        wait_for(lambda: len(bench.results()) == 1)


def test_a_frame_recorded_before_a_kill_is_put_away_and_not_inspected_again(tmp_path):
    """The kill came after the result was on disk and before the file was moved."""
    bench = Bench(tmp_path)
    bench.active.set(loaded(tmp_path))
    bench.feed("1.png", picture(*BAD))
    done = bench.source.done
    bench.source.done = lambda frame, result: (_ for _ in ()).throw(InterruptedError)
    with pytest.raises(InterruptedError):
        bench.loop.step(bench.active.get(), 1.0)
    assert len(bench.results()) == 1
    bench.source.done = done
    with bench:
        wait_for(lambda: bench.waiting() == [])
        assert len(bench.results()) == 1
        assert bench.outbox.counters()["frames"] == 1
        wait_for(lambda: bench.outbox.recorded_keys() == ())


def test_a_swap_in_full_flight_loses_and_doubles_no_frame(tmp_path):
    """Each frame is judged by exactly one of the releases."""
    bench = Bench(tmp_path)
    releases = [loaded(tmp_path, version=number, gain=1 - number / 100) for number in range(3)]
    bench.active.set(releases[0])
    with bench:
        for number in range(200):
            bench.feed(f"{number:04}.png", picture(*BAD, seed=number))
            if number % 20 == 0:
                bench.active.set(releases[(number // 20) % 3])
            time.sleep(0.003)
        wait_for(lambda: len(bench.results()) >= 200)
        results = bench.results()
    assert [item["original_name"] for item in results] == [f"{number:04}.png" for number in range(200)]
    assert {item["release_digest"] for item in results} == {release.digest for release in releases}


@pytest.mark.parametrize(("brightness", "reason"), [(0, "dark"), (255, "bright"), (128, "flat")])
def test_a_picture_of_one_grey_is_uncertain_whatever_the_network_says(tmp_path, brightness, reason):
    """The network finds nothing on a black picture: that is no good part. The reason is told, counted and sent."""
    bench = Bench(tmp_path)
    bench.feed("1.png", cv2.imencode(".png", np.full((64, 64, 3), brightness, np.uint8))[1].tobytes())
    assert bench.loop.step(loaded(tmp_path), 2.0)
    [result] = bench.results()
    assert (result["verdict"], result["reason"]) == ("uncertain", reason)
    counters = bench.outbox.counters()
    assert (counters[f"doubted.{reason}"], counters["verdict.uncertain"]) == (1, 1)
    assert bench.outbox.depth()["uncertain"] == 1
    bench.outbox.close()


def test_a_release_brings_the_limits_of_its_line(tmp_path):
    """A picture far darker than those of the training split is uncertain, although it shows something."""
    limits = PictureLimits(brightness_low=60.0, brightness_high=250.0, contrast_low=5.0, sharpness_low=1.0, pictures=40)
    bench = Bench(tmp_path)
    release = loaded(tmp_path, picture_limits=limits)
    for name, kind in (("1.png", GOOD), ("2.png", BAD)):
        bench.feed(name, picture(*kind))
        assert bench.loop.step(release, 2.0)
    assert [(item["verdict"], item["reason"]) for item in bench.results()] == [("uncertain", "dark"), ("fail", None)]
    bench.outbox.close()


class Broken:
    """An inspector whose runtime fails on every frame."""

    def inspect(self, image, *, score_floor=None, **view):
        raise InferenceError("the runtime fell over")


def test_a_model_that_fails_keeps_the_frame_during_probation_and_sets_it_aside_after(tmp_path):
    """On probation the release is at fault; after it, the frame is."""
    on_probation = [True]
    bench = Bench(tmp_path, on_probation=lambda: on_probation[0])
    good = loaded(tmp_path)
    broken = LoadedRelease(good.digest, good.release, good.model, Broken())
    bench.feed("1.png", picture(*BAD))
    for _ in range(5):
        with pytest.raises(InferenceError):
            bench.loop.step(broken, 1.0)
    assert bench.waiting() == ["1.png"]
    on_probation[0] = False
    for _ in range(3):
        with pytest.raises(InferenceError):
            bench.loop.step(broken, 1.0)
    assert bench.waiting() == []
    assert bench.outbox.counters() == {"rejected.inference-failed": 1}
    bench.outbox.close()


def test_a_network_that_answers_with_nan_never_passes_a_part(tmp_path):
    """The model fails on such a frame; other frames get their verdicts."""
    bench = Bench(tmp_path)
    bench.active.set(loaded(tmp_path, model=quadrant_model(nan_above=0.9)))
    bench.feed("1.png", picture(*BAD))
    bench.feed("2.png", picture(*DOUBTFUL))
    for _ in range(3):
        with pytest.raises(InferenceError, match="expected finite numbers"):
            bench.loop.step(bench.active.get(), 1.0)
    assert bench.loop.step(bench.active.get(), 1.0)
    assert [item["verdict"] for item in bench.results()] == ["uncertain"]
    assert bench.outbox.counters()["rejected.inference-failed"] == 1
    bench.outbox.close()


def test_a_network_that_answers_with_nan_at_once_is_not_loaded(tmp_path):
    """A release whose model computes nothing is refused before it inspects anything."""
    with pytest.raises(InferenceError, match="does not work on a black picture"):
        loaded(tmp_path, model=quadrant_model(gain=float("nan")), golden=())


def test_the_quota_of_the_release_bounds_what_goes_back(tmp_path):
    """Frames beyond the quota are counted."""
    bench = Bench(tmp_path)
    sampling = Sampling(uncertain_low=0.3, uncertain_high=0.7, max_per_hour=2)
    bench.active.set(loaded(tmp_path, sampling=sampling))
    with bench:
        for number in range(5):
            bench.feed(f"{number}.png", picture(*DOUBTFUL, seed=number))
        wait_for(lambda: len(bench.results()) == 5)
        assert bench.outbox.depth()["uncertain"] == 2
        assert bench.outbox.counters()["over_quota"] == 3


def test_corrupt_frames_in_a_row_stop_nothing(tmp_path):
    """After a hundred corrupt frames of four kinds a good frame is inspected, and none of them comes again."""
    bench = Bench(tmp_path)
    bench.active.set(loaded(tmp_path))
    kinds = (b"", b"no image at all", picture(*BAD)[:60], draw_jpeg()[:-200])
    for number in range(100):
        bench.feed(f"{number:03}.png", kinds[number % 4])
    bench.feed("last.png", picture(*BAD))
    with bench:
        wait_for(lambda: len(bench.results()) == 1 and bench.waiting() == [])
        assert bench.results()[0]["original_name"] == "last.png"
        counters = bench.outbox.counters()
        assert sum(count for name, count in counters.items() if name.startswith("rejected.")) == 100
        wait_for(lambda: bench.outbox.recorded_keys() == ())
        assert bench.health.problem == ""


def folder_source(folder, name) -> FolderSource:
    path = folder / name
    path.mkdir()
    return FolderSource(
        FolderCamera(name=name, path=path, poll_interval_s=0.02, settle_s=0.0), folder / f"{name}-done"
    )  # fmt: skip


def test_each_camera_has_its_turn_and_one_that_is_gone_holds_up_no_other(tmp_path):
    """Beside a camera that floods the loop, another one waits for one frame at most, even while a folder is gone."""
    many, few, gone = (folder_source(tmp_path, name) for name in ("many", "few", "gone"))
    shutil.rmtree(tmp_path / "gone")
    bench = Bench(tmp_path)
    bench.loop = InspectionLoop(
        [gone, many, few], bench.active, bench.outbox, bench.health, bench.recent,
        site="plant1", device="dev1", publish=True,
    )  # fmt: skip
    for number in range(30):
        (tmp_path / "many" / f"{number:02}.png").write_bytes(picture(*GOOD, seed=number))
    for number in range(5):
        (tmp_path / "few" / f"{number:02}.png").write_bytes(picture(*BAD, seed=number))
    bench.active.set(loaded(tmp_path))
    bench.thread = threading.Thread(target=bench.loop.run, args=(bench.stop,))
    with bench:
        wait_for(lambda: len(bench.results()) == 35)
        results = bench.results()
        assert "gone" in bench.health.problem
        (tmp_path / "gone").mkdir()
        (tmp_path / "gone" / "back.png").write_bytes(picture(*BAD, seed=99))
        wait_for(lambda: len(bench.results()) == 36)
        assert bench.results()[-1]["camera"] == "gone"
        wait_for(lambda: bench.health.problem == "")
    assert [item["camera"] for item in results[:10]] == ["many", "few"] * 5
    # The same names in two folders are two frames.
    assert len({item["capture_id"] for item in results}) == 35


def test_frames_on_which_the_release_before_would_decide_otherwise_go_back(tmp_path):
    """The comparison runs after the result is recorded, at the rate of the policy."""
    sampling = Sampling(uncertain_low=0.3, uncertain_high=0.7, disagreement_rate=1.0)
    bench = Bench(tmp_path)
    # The old one sees half as much: what is white is grey to it.
    bench.active.set(loaded(tmp_path, version=1, gain=0.5, sampling=sampling))
    new = loaded(tmp_path, version=2, sampling=sampling)
    bench.active.previous = bench.active.get()
    bench.active.set(new)
    with bench:
        bench.feed("1-good.png", picture(*GOOD))
        bench.feed("2-bad.png", picture(*BAD))
        wait_for(lambda: len(bench.results()) == 2 and bench.waiting() == [])
        wait_for(lambda: bench.outbox.next_image() is not None)
        capture = Capture.from_json(bench.outbox.next_image().payload)
    assert (capture.original_name, capture.reason, capture.verdict) == ("2-bad.png", "disagreement", Verdict.FAIL)
    assert capture.release_digest == new.digest


def test_frames_are_compared_whatever_the_verdict_and_each_is_sent_once(tmp_path):
    """The share of disagreement is that of the line, its doubtful frames among them; those are sent as doubtful."""
    sampling = Sampling(uncertain_low=0.3, uncertain_high=0.7, disagreement_rate=1.0)
    counted = []
    bench = Bench(tmp_path, compared=lambda digest, differs: counted.append((digest, differs)))
    bench.active.previous = loaded(tmp_path, version=1, gain=0.1, sampling=sampling)
    new = loaded(tmp_path, version=2, sampling=sampling)
    bench.active.set(new)
    for name, kind in (("1.png", GOOD), ("2.png", DOUBTFUL), ("3.png", BAD)):
        bench.feed(name, picture(*kind))
        assert bench.loop.step(new, 2.0)
    assert counted == [(new.digest, False), (new.digest, True), (new.digest, True)]
    sent = [Capture.from_json(item.payload) for item in bench.outbox.images(9)]
    assert sorted((item.original_name, str(item.reason)) for item in sent) == [
        ("2.png", "uncertain"), ("3.png", "disagreement")
    ]  # fmt: skip
    bench.outbox.close()


def test_no_release_before_or_a_rate_of_zero_compares_nothing(tmp_path):
    """The comparison costs a second inference, so only the policy turns it on."""
    sampling = Sampling(uncertain_low=0.3, uncertain_high=0.7)
    bench = Bench(tmp_path)
    bench.active.set(loaded(tmp_path, version=2, sampling=sampling))
    bench.active.previous = loaded(tmp_path, version=1, gain=0.5, sampling=sampling)
    with bench:
        bench.feed("1.png", picture(*BAD))
        wait_for(lambda: len(bench.results()) == 1 and bench.waiting() == [])
    reopened = Outbox(tmp_path / "outbox", LIMITS)
    assert reopened.next_image() is None
    reopened.close()
