"""Each trigger ends in exactly one result within its deadline, and never with the picture of a later part."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.agent import InspectionLoop
from edge_agent.camera_config import GenICamCamera, OpenCvCamera
from edge_agent.errors import InferenceError, SourceError, StateError
from edge_agent.inference import LoadedRelease
from edge_agent.missed_triggers import MissedTriggers
from edge_agent.objections import Objections
from edge_agent.sources.genicam_camera import GenICamGrabber
from edge_agent.sources.grabbed import GrabbedSource
from edge_agent.sources.make import queues_by_camera, trigger_queues
from edge_agent.sources.port import Frame
from edge_agent.sources.trigger import Asked, Trigger, TriggerQueue
from inspection import decode_image
from inspection.verdict import NoVerdict
from tests.edge_agent.bench import Bench, loaded
from tests.edge_agent.models import BAD, picture
from tests.edge_agent.servers import wait_for

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Clock:
    """Seconds that the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def time(self) -> datetime:
        return NOON + timedelta(seconds=self.now_s - 1000.0)


def ask(queue: TriggerQueue, *parts: str) -> None:
    for part in parts:
        queue.put(json.dumps({"part_id": part, "id": f"m-{part}"}).encode())


def missed(queue: TriggerQueue) -> list[tuple[str, str]]:
    return [(item.trigger.part_id, str(item.reason)) for item in queue.take_missed()]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue(clock):
    return TriggerQueue(deadline_s=0.5, max_waiting=3, clock=clock, now=clock.time)


# -- the rule, without threads ----------------------------------------------------------------------------------------


def test_a_trigger_is_missed_once_its_deadline_has_passed_and_not_before(queue, clock):
    """At the deadline itself a verdict is still in time."""
    ask(queue, "A")
    trigger = queue.take()
    clock.now_s += 0.5
    assert queue.is_open(trigger)
    assert missed(queue) == []
    clock.now_s += 0.001
    assert not queue.is_open(trigger)
    assert missed(queue) == [("A", "deadline")]
    assert (missed(queue), queue.claim(trigger), queue.next_deadline()) == ([], False, None)


def test_whoever_settles_a_trigger_first_decides(queue, clock):
    """A trigger with its verdict is not missed later; a missed one gets no verdict later."""
    ask(queue, "A", "B")
    first, second = queue.take(), queue.take()
    assert queue.claim(first)
    queue.miss(second, NoVerdict.READ_FAILED)
    assert (queue.claim(first), queue.claim(second)) == (False, False)
    clock.now_s += 10
    assert missed(queue) == [("B", "read-failed")]


def test_a_verdict_that_could_not_be_recorded_leaves_its_trigger_open(queue, clock):
    """The trigger is missed at its deadline then, and not forgotten."""
    ask(queue, "A")
    trigger = queue.take()
    assert queue.claim(trigger)
    queue.reopen(trigger)
    clock.now_s += 1
    assert missed(queue) == [("A", "deadline")]


def test_no_more_triggers_wait_than_the_configuration_allows(queue):
    """One more is missed at once; a settled one makes room, also while its picture is inspected."""
    ask(queue, "A", "B", "C", "D")
    assert missed(queue) == [("D", "queue-full")]
    assert queue.claim(queue.take())
    ask(queue, "E", "F")
    assert missed(queue) == [("F", "queue-full")]


def test_a_message_that_comes_twice_is_one_trigger(queue, clock):
    """It is told by its id, also after the first one was missed."""
    ask(queue, "A", "A")
    clock.now_s += 1
    ask(queue, "A")
    assert missed(queue) == [("A", "deadline")]
    assert queue.take() is None


def test_a_trigger_that_waited_too_long_is_not_given_to_the_camera(queue, clock):
    """Only those that are in time are."""
    ask(queue, "A")
    clock.now_s += 0.4
    ask(queue, "B")
    clock.now_s += 0.2
    assert queue.take().part_id == "B"
    assert queue.next_deadline() == 1000.9


def test_a_deadline_lies_after_its_trigger():
    """A trigger is valid from its birth on."""
    with pytest.raises(ValueError, match="expected a deadline after the trigger"):
        Trigger("k", NOON, at=2.0, deadline=1.0)


# -- a camera ---------------------------------------------------------------------------------------------------------


class Camera:
    """A free-running camera whose every read the test allows, and whose pictures say which read took them."""

    def __init__(self) -> None:
        self.allowed = threading.Semaphore(0)
        self.waits = threading.Semaphore(0)
        self.reads = 0
        self.fails = 0
        self.down = False
        self.ended = False

    def open(self) -> None:
        if self.down:
            raise SourceError("gone")

    def read(self):
        self.waits.release()
        self.allowed.acquire()
        if self.ended or self.down:
            raise SourceError("gone")
        self.reads += 1
        if self.fails:
            self.fails -= 1
            raise SourceError("hiccup")
        return decode_image(picture(*BAD, seed=self.reads))

    def close(self) -> None:
        pass

    def step(self) -> None:
        """Let one read end, and wait until the next one has begun."""
        self.allowed.release()
        assert self.waits.acquire(timeout=10)

    def end(self) -> None:
        self.ended = True
        for _ in range(100):
            self.allowed.release()


@pytest.fixture
def rig(queue):
    camera = Camera()
    source = GrabbedSource(
        "top", camera, mode="latest", wake=threading.Event(), triggers=queue, encoding="png", reconnect_limit_s=0.02
    )
    assert camera.waits.acquire(timeout=10)
    yield camera, source
    camera.end()
    source.close()


def parts(source) -> list[str | None]:
    found = []
    while True:
        try:
            frame = source.next(0.0)
        except SourceError:
            return found
        if frame is None:
            return found
        found.append(frame.part_id)


def test_two_quick_triggers_are_two_frames_whatever_the_mode(rig, queue):
    """No picture that was asked for replaces another."""
    camera, source = rig
    ask(queue, "A", "B")
    for _ in range(3):
        camera.step()
    assert parts(source) == ["A", "B"]
    assert source.take_skipped() == 0


def test_a_picture_that_comes_after_the_deadline_is_not_that_of_the_part(rig, queue, clock):
    """The camera hung while the part moved on."""
    camera, source = rig
    ask(queue, "A")
    camera.step()  # the read that was under way when the trigger came; the next one is for the trigger
    clock.now_s += 0.6
    camera.step()
    assert parts(source) == []
    assert missed(queue) == [("A", "deadline")]


def test_triggers_of_a_camera_that_is_gone_take_no_later_picture(rig, queue, clock):
    """Each is missed at its deadline with the reason, and the camera works for the next part."""
    camera, source = rig
    camera.step()
    camera.down = True
    camera.allowed.release()
    wait_for(lambda: queue.lost)
    ask(queue, "A", "B")
    clock.now_s += 0.6
    assert missed(queue) == [("A", "camera-lost"), ("B", "camera-lost")]
    camera.down = False
    assert camera.waits.acquire(timeout=10)
    camera.step()
    assert parts(source) == []
    ask(queue, "C")
    camera.step()
    camera.step()
    assert parts(source) == ["C"]
    assert missed(queue) == []


def test_a_trigger_whose_read_fails_is_missed_at_once(rig, queue):
    """The next part has its own trigger and its own picture."""
    camera, source = rig
    ask(queue, "A")
    camera.step()
    camera.fails = 1
    camera.step()
    wait_for(lambda: queue.next_deadline() is None)
    assert missed(queue) == [("A", "read-failed")]
    ask(queue, "B")
    camera.step()
    camera.step()
    assert parts(source) == ["B"]


def test_pictures_do_not_pile_up_while_nobody_inspects(rig, queue, clock):
    """A picture is dropped once its trigger is missed."""
    camera, source = rig
    for number in range(20):
        ask(queue, f"P{number}")
        camera.step()
        camera.step()
        clock.now_s += 0.4
    assert len(source._pictures) <= 2
    assert len(missed(queue)) >= 18


# -- the loop, the result and the thread that watches -----------------------------------------------------------------


class Bell:
    """A camera with one frame for each trigger, taken at once."""

    def __init__(self, queue: TriggerQueue, *datas: bytes) -> None:
        self.name = "top"
        self.queue = queue
        self.datas = list(datas)
        self.back: list = []

    def next(self, timeout_s):
        if self.back:
            return self.back.pop()
        trigger = self.queue.take()
        if trigger is None:
            return None
        return Frame(trigger.key, "a.png", self.datas.pop(0), NOON, trigger.part_id, asked=Asked(trigger, self.queue))

    def done(self, frame, result):
        pass

    def reject(self, frame, reason, message):
        return True

    def give_back(self, frame):
        self.back.append(frame)

    def holds(self, source_key):
        return False

    def take_skipped(self):
        return 0

    def close(self):
        pass


class Line:
    """A loop over a triggered camera, and the results that the line gets."""

    def __init__(self, folder, queue, clock, *datas) -> None:
        self.bench = Bench(folder)
        self.camera = Bell(queue, *datas)
        self.loop = InspectionLoop(
            [self.camera], self.bench.active, self.bench.outbox, self.bench.health, self.bench.recent,
            site="plant1", device="dev1", publish=True,
        )  # fmt: skip
        self.watch = MissedTriggers(
            {"top": queue}, self.bench.outbox, self.bench.active, self.bench.recent, device="dev1", publish=True,
            changed=threading.Event(), clock=clock, now=clock.time,
        )  # fmt: skip

    def told(self) -> list[tuple]:
        self.watch.record()
        return [(item["part_id"], item["verdict"], item["reason"]) for item in self.bench.results()]


@pytest.fixture
def line(tmp_path, queue, clock):
    made = []

    def make(*datas):
        made.append(Line(tmp_path, queue, clock, *datas))
        return made[-1]

    yield make
    for item in made:
        item.bench.outbox.close()


def test_the_line_gets_one_result_for_each_trigger(line, queue, clock, tmp_path):
    """A verdict, an unreadable picture, and a deadline that passed; each is counted."""
    line = line(picture(*BAD), b"no picture")
    line.bench.active.set(loaded(tmp_path))
    ask(queue, "A", "B", "C")
    for _ in range(2):
        line.loop.step(line.bench.active.get(), 0.0)
    clock.now_s += 1
    assert line.told() == [
        ("A", "fail", None), ("B", "not-inspected", "unreadable"), ("C", "not-inspected", "deadline")
    ]  # fmt: skip
    assert line.told() == line.told()
    counters = line.bench.outbox.counters()
    assert counters["not_inspected.unreadable"] == counters["not_inspected.deadline"] == 1
    assert (counters["verdict.not-inspected"], counters["frames"]) == (2, 1)
    results = line.bench.results()
    assert [item["trigger_id"] for item in results] == ["m-A", "m-B", "m-C"]
    assert len({item["capture_id"] for item in results}) == 3
    assert results[2]["captured_at"] == "2026-01-02T12:00:00.000000+00:00"


def test_a_verdict_that_stands_too_late_is_not_told(line, queue, clock, tmp_path):
    """The line was told at the deadline that the part is not inspected, and gets no second answer."""
    line = line(picture(*BAD))
    release = loaded(tmp_path)

    class Slow:
        def inspect(self, image, *, score_floor=None, **view):
            clock.now_s += 0.6
            assert line.told() == [("A", "not-inspected", "deadline")]
            return release.inspector.inspect(image, score_floor=score_floor, **view)

    line.bench.active.set(release)
    ask(queue, "A")
    line.loop.step(LoadedRelease(release.digest, release.release, release.model, Slow()), 0.0)
    assert line.told() == [("A", "not-inspected", "deadline")]
    assert "frames" not in line.bench.outbox.counters()


def test_a_model_that_fails_on_a_triggered_frame_is_told_at_once(line, queue, tmp_path):
    """There is no time for another try; the fault still counts against the release."""
    line = line(picture(*BAD))
    release = loaded(tmp_path)
    line.bench.active.set(release)

    class Broken:
        def inspect(self, image, *, score_floor=None, **view):
            raise InferenceError("expected finite numbers")

    ask(queue, "A")
    with pytest.raises(InferenceError):
        line.loop.step(LoadedRelease(release.digest, release.release, release.model, Broken()), 0.0)
    assert line.told() == [("A", "not-inspected", "inference-error")]


def test_without_a_release_the_line_is_told_so(line, queue, clock):
    """Nothing takes the frame, and the trigger does not wait for a release."""
    line = line()
    ask(queue, "A")
    clock.now_s += 1
    assert line.told() == [("A", "not-inspected", "no-release")]


def test_a_full_disk_delays_a_result_and_loses_none(line, queue, clock, tmp_path):
    """The verdict could not be recorded by its deadline; the line is told as soon as there is room."""
    line = line(picture(*BAD))
    release = loaded(tmp_path)
    line.bench.active.set(release)
    outbox = line.bench.outbox
    record, record_missed = outbox.record, outbox.record_missed

    def full(*_, **__):
        raise StateError("no space; free some disk")

    outbox.record = outbox.record_missed = full
    ask(queue, "A")
    with pytest.raises(StateError):
        line.loop.step(release, 0.0)
    clock.now_s += 1
    with pytest.raises(StateError):
        line.watch.record()
    outbox.record, outbox.record_missed = record, record_missed
    line.loop.step(release, 0.0)
    assert line.told() == [("A", "not-inspected", "deadline")]


def test_an_agent_that_stops_answers_what_is_open(line, queue):
    """The results go out at the next start, with the others that wait."""
    line = line()
    ask(queue, "A", "B")
    line.watch.end()
    assert line.told() == [("A", "not-inspected", "stopping"), ("B", "not-inspected", "stopping")]


def test_the_thread_tells_the_line_while_the_loop_is_busy(tmp_path):
    """It wakes at the deadline by itself, and at once for a trigger that finds no room."""
    changed = threading.Event()
    queue = TriggerQueue(deadline_s=0.05, max_waiting=1, changed=changed)
    bench = Bench(tmp_path)
    watch = MissedTriggers(
        {"top": queue}, bench.outbox, bench.active, bench.recent, device="dev1", publish=True, changed=changed,
        clock=queue._clock,
    )  # fmt: skip
    stop = threading.Event()
    thread = threading.Thread(target=watch.run, args=(stop,))
    thread.start()
    try:
        ask(queue, "A", "B")
        wait_for(lambda: len(bench.results()) == 2)
        assert {(item["part_id"], item["reason"]) for item in bench.results()} == {
            ("A", "no-release"), ("B", "queue-full")
        }  # fmt: skip
    finally:
        stop.set()
        changed.set()
        thread.join(10)
        bench.outbox.close()


def test_a_part_that_was_not_inspected_is_shown_and_pushes_out_no_pictures(line, queue, clock, tmp_path):
    """The page keeps one such result in a row, and nobody can object to it: there is no image to label."""
    line = line(picture(*BAD))
    line.bench.active.set(loaded(tmp_path))
    ask(queue, "A")
    line.loop.step(line.bench.active.get(), 0.0)
    for part in ("B", "C", "D"):
        ask(queue, part)
        clock.now_s += 1
        line.watch.record()
    shown = line.bench.recent.all()
    assert [item.result.part_id for item in shown] == ["D", "A"]
    with pytest.raises(StateError, match="was not inspected"):
        Objections(line.bench.outbox, "plant1").object_to(shown[0].result, shown[0].data)


def test_a_camera_that_repeats_one_picture_is_doubted(tmp_path):
    """From the fifth frame with the same pixels on the verdict is uncertain, until another picture comes."""

    class Repeating:
        def __init__(self):
            self.images = [1, 2, 2, 2, 2, 2, 2, 3, 3]

        def open(self):
            pass

        def read(self):
            if not self.images:
                raise SourceError("no more")
            return decode_image(picture(*BAD, seed=self.images.pop(0)))

        def close(self):
            pass

    camera = OpenCvCamera(source="opencv", device=0, mode="every", encoding="png")
    bench = Bench(tmp_path)
    source = GrabbedSource(
        "top", Repeating(), mode="every", wake=threading.Event(), encoding="png", frozen_after=camera.frozen_after
    )
    loop = InspectionLoop(
        [source], bench.active, bench.outbox, bench.health, bench.recent, site="plant1", device="dev1", publish=True
    )
    release = loaded(tmp_path)
    try:
        wait_for(lambda: loop.step(release, 0.1) and len(bench.results()) == 9)
    finally:
        source.close()
    told = [(item["verdict"], item["reason"]) for item in bench.results()]
    assert told == [("fail", None)] * 5 + [("uncertain", "frozen")] * 2 + [("fail", None)] * 2
    assert bench.outbox.counters()["doubted.frozen"] == 2
    assert bench.outbox.depth()["uncertain"] == 0  # these bytes say nothing new to labelers
    bench.outbox.close()


# -- configuration ----------------------------------------------------------------------------------------------------


def test_a_camera_with_a_trigger_takes_every_part():
    """Without a mode it is `every`; a mode that would drop parts is refused."""
    opencv = {"source": "opencv", "device": 0}
    assert OpenCvCamera(**opencv).mode == "latest"
    assert OpenCvCamera(**opencv, trigger_topic="plc/1").mode == "every"
    assert GenICamCamera(source="genicam", producer="x.cti", features={"TriggerMode": "On"}).mode == "every"
    assert GenICamCamera(source="genicam", producer="x.cti", hardware_trigger=True).mode == "every"
    assert GenICamCamera(source="genicam", producer="x.cti", features={"TriggerMode": "Off"}).mode == "latest"
    with pytest.raises(ValueError, match="takes every part that is asked for, but mode is latest"):
        OpenCvCamera(**opencv, mode="latest", trigger_topic="plc/1")


def test_deadline_and_room_come_from_the_configuration():
    """Each camera has its own queue."""
    camera = OpenCvCamera(
        name="top", source="opencv", device=0, trigger_topic="plc/1", trigger_deadline_ms=250, max_waiting=1
    )
    queues = trigger_queues((camera, OpenCvCamera(name="side", source="opencv", device=1)))
    by_camera = queues_by_camera((camera,), queues)
    assert list(queues) == ["plc/1"]
    assert by_camera == {"top": queues["plc/1"]}
    ask(queues["plc/1"], "A", "B")
    trigger = queues["plc/1"].take()
    assert trigger.deadline - trigger.at == pytest.approx(0.25)
    assert [str(item.reason) for item in queues["plc/1"].take_missed()] == ["queue-full"]


# -- a camera that waits for a signal ---------------------------------------------------------------------------------


class Node:
    def __init__(self, value) -> None:
        self.value = value


class Signalled:
    """A stand-in for `harvesters`: a camera that takes a picture at a signal."""

    def __init__(self, trigger_mode: str | None) -> None:
        self.opened = 0
        self.fetched = 0
        self.plugged_in = True
        outer = self

        class Nodes:
            @property
            def TriggerMode(self):
                if trigger_mode is None:
                    raise AttributeError("TriggerMode")
                if not outer.plugged_in:
                    raise OSError("no such device")
                return Node(trigger_mode)

        self.remote_device = self
        self.node_map = Nodes()

    def __call__(self):
        return self

    def add_file(self, *_, **__):
        pass

    def update(self):
        pass

    def create(self, _):
        if not self.plugged_in:
            raise OSError("no such device")
        self.opened += 1
        return self

    def start(self):
        pass

    def try_fetch(self, timeout):
        self.fetched += 1

    def stop(self):
        pass

    destroy = reset = stop


@pytest.fixture
def producer(tmp_path):
    (tmp_path / "vendor.cti").touch()
    return tmp_path / "vendor.cti"


def test_silence_of_a_camera_that_waits_for_a_signal_is_no_failure(producer):
    """The line is idle: the camera is neither opened again nor called lost."""
    harvester = Signalled("On")
    camera = GenICamCamera(source="genicam", producer=producer, timeout_s=0.001)
    source = GrabbedSource(
        "top", GenICamGrabber(camera, harvester=harvester), mode=camera.mode, wake=threading.Event(),
        reconnect_limit_s=0.01,
    )  # fmt: skip
    try:
        wait_for(lambda: harvester.fetched > 20)
        assert source.next(0.0) is None
        assert harvester.opened == 1
        harvester.plugged_in = False

        def says_so() -> bool:
            try:
                return source.next(0.0) is not None
            except SourceError as e:
                return "OSError: no such device" in str(e)

        wait_for(says_so)
    finally:
        source.close()


@pytest.mark.parametrize(
    ("mode", "configured", "silent"),
    [("On", None, True), ("Off", None, False), (None, None, False), (None, True, True), ("On", False, False)],
)
def test_the_configuration_or_the_camera_says_whether_a_signal_asks_for_pictures(producer, mode, configured, silent):
    """A free-running camera that gives no picture has failed."""
    grabber = GenICamGrabber(
        GenICamCamera(source="genicam", producer=producer, hardware_trigger=configured), harvester=Signalled(mode)
    )
    grabber.open()
    if silent:
        assert grabber.read() is None
    else:
        with pytest.raises(SourceError, match="no picture within 10 s"):
            grabber.read()


def test_a_trigger_mode_that_was_just_set_need_not_be_read_back(producer):
    """Some producers let a feature be written and not read."""

    class WriteOnly(Signalled):
        def __init__(self) -> None:
            super().__init__(None)

            class Node:
                def __setattr__(self, _, value) -> None:
                    pass

            class Nodes:
                TriggerMode = Node()

            self.node_map = Nodes()

    camera = GenICamCamera(source="genicam", producer=producer, features={"TriggerMode": "On"})
    grabber = GenICamGrabber(camera, harvester=WriteOnly())
    grabber.open()
    assert grabber.read() is None


def test_a_picture_taken_at_a_signal_belongs_to_the_trigger_that_came_with_it(queue):
    """The camera waited for the signal, so the picture began before the message came; one without a message is none."""

    class AtSignal(Camera):
        waits_for_signal = True

    camera = AtSignal()
    source = GrabbedSource("top", camera, mode="every", wake=threading.Event(), triggers=queue, encoding="png")
    try:
        assert camera.waits.acquire(timeout=10)
        camera.step()
        ask(queue, "A")
        camera.step()
        assert parts(source) == ["A"]
    finally:
        camera.end()
        source.close()
