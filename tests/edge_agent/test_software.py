"""Stories of a device and its agent's own software: a real repository, real wheels, the launcher's own rule."""

from __future__ import annotations

import sys
import threading

import pytest

from edge_agent.software.trial import SoftwareTrial, try_software
from inspection.agent_release import agent_path
from tests.edge_agent.agent_wheels import RUNTIME, build_agent, make_wheel
from tests.edge_agent.software_device import SoftwareDevice


@pytest.fixture
def device(tmp_path):
    made = SoftwareDevice(tmp_path / "state")
    made.folder.mkdir()
    made.start()
    return made


def publish(device, *built):
    for item in built:
        device.publisher.add_agent(item)


def test_published_software_is_fetched_tried_started_and_kept(device):
    """The installed agent fills a slot and makes room; the agent of that slot keeps itself after its probation."""
    one = build_agent("one")
    publish(device, one)
    device.order(one.digest)
    device.look()
    assert device.left
    assert device.tried == [device.folder / "agent" / "slots" / "a" / "site"]
    assert (device.restart(), device.on_trial) == ("a", True)
    assert "CODE = 'one'" in device.code()
    device.look()
    assert (device.software.on_probation, device.state.active) == (True, "installed")
    device.pass_time(61)
    assert (device.state.active, device.state.previous, device.state.trial) == ("a", "installed", None)
    assert (device.software.reason, device.software.reported().state) == ("", "kept")
    assert (device.restart(), device.on_trial) == ("a", False)


def test_a_change_of_code_fetches_at_most_a_tenth_of_the_whole(device):
    """What both releases share is neither fetched nor unpacked again, and the slots share its bytes on the disk."""
    one, two = build_agent("one"), build_agent("two")
    publish(device, one, two)
    device.take(one.digest)
    assert device.running() == one.digest
    whole = sum(len(wheel.data) for wheel in one.wheels.values())
    device.store.fetched.clear()
    device.take(two.digest)
    assert (device.slot, device.running()) == ("b", two.digest)
    wheels = {key: size for key, size in device.store.fetched.items() if key.endswith(".whl")}
    print(f"fetched {sum(wheels.values())} of {whole} bytes")
    assert sum(wheels.values()) <= whole / 10
    big = [device.folder / "agent" / "slots" / slot / "site" / "runtime" / "model.bin" for slot in ("a", "b")]
    assert big[0].samefile(big[1])


def test_software_that_does_not_stay_up_is_left_for_the_former_and_not_tried_again(device):
    """Three starts without a word; then the launcher starts the former slot, whose agent remembers and refuses it."""
    one, two = build_agent("one"), build_agent("two")
    publish(device, one, two)
    device.take(one.digest)
    device.order(two.digest)
    device.look()
    assert device.left
    assert [device.start() for _ in range(4)] == ["b", "b", "b", "a"]
    assert device.state.refused[two.digest].reason.startswith("did-not-stay-up")
    device.pass_time(100_000)
    assert (device.left, device.running()) == (False, one.digest)
    assert device.software.reason.startswith("refused-before: did-not-stay-up")
    device.order(two.digest)
    device.look()
    assert device.left, "it is tried again when it is ordered again"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"silent_s": 31.0}, "unhealthy: the inspection loop was silent for 31 s"),
        ({"inspects": False}, "no-release"),
        ({"contact": False}, "no-contact"),
        ({"problem": "camera top: gone"}, "no-frames: camera top: gone"),
    ],
)
def test_software_that_is_not_well_goes_back_by_itself(device, wrong, reason):
    """It writes the refusal before it ends, so that the next start is that of the former software."""
    one, two = build_agent("one"), build_agent("two")
    publish(device, one, two)
    device.take(one.digest)
    device.order(two.digest)
    device.look()
    for name, value in wrong.items():
        setattr(device, name, value)
    assert device.restart() == "b"
    device.look()
    device.pass_time(61)
    device.pass_time(3600)
    assert device.left
    assert device.restart() == "a"
    assert device.state.refused[two.digest].reason.startswith(reason)
    assert device.running() == one.digest


def test_a_refused_trial_leaves_the_running_agent_alone(device):
    """Software that cannot even be imported is never started."""
    one = build_agent("one")
    publish(device, one)
    device.trial = SoftwareTrial(False, "cannot-start", "ImportError: no module named cv2")
    device.order(one.digest)
    device.look()
    assert (device.left, device.state.trial) == (False, None)
    assert device.state.refused[one.digest].reason == "cannot-start: ImportError: no module named cv2"
    device.look()
    assert len(device.tried) == 1


def test_software_whose_trial_ran_out_of_memory_is_tried_again_later(device):
    """The machine may have more free another time: nothing is fetched again, and the report says that it comes."""
    one = build_agent("one")
    publish(device, one)
    device.trial = SoftwareTrial(False, "too-much-memory", "its trial used 900 MiB, over the limit of 300 MiB")
    device.order(one.digest)
    device.look()
    failure = device.software.reported().failures[one.digest]
    assert (device.left, failure.transient, failure.attempts) == (False, True, 1)
    assert failure.sequence == device.publisher.sequence
    device.trial = SoftwareTrial(True)
    device.look()
    assert "again at" in device.software.reason
    device.store.fetched.clear()
    device.pass_time(61)
    assert (device.left, len(device.tried)) == (True, 2)
    assert not [key for key in device.store.fetched if key.endswith(".whl")]


def test_a_wheel_with_one_wrong_byte_is_refused_and_the_slot_stays_empty(device):
    """The bytes are checked against the signed digest before anything is unpacked."""
    one = build_agent("one")
    publish(device, one)
    key = next(key for key in device.store.objects if key[1].endswith("runtime-1.0-py3-none-any.whl"))
    device.store.objects[key] = device.store.objects[key][:-1] + b"x"
    device.order(one.digest)
    device.look()
    assert (device.left, device.tried) == (False, [])
    assert device.software.reason.startswith("wrong-hash")
    assert not (device.folder / "agent" / "slots").exists()


def test_software_that_the_targets_role_signed_is_refused(device):
    """The key that signs models and desired states is not the key of the agent's software."""
    one = build_agent("one")
    targets = device.publisher.targets.signed
    device.publisher._signing = lambda path: targets
    publish(device, one)
    device.order(one.digest)
    device.look()
    assert not device.left
    assert device.state.refused[one.digest].reason.startswith("wrong-role")


def test_a_wheel_that_leads_out_of_its_folder_is_refused(device):
    """Even signed bytes write nowhere else."""
    bad = build_agent("one", "0.1.0", make_wheel("bad", {"../../outside.py": "x = 1\n"}))
    publish(device, bad)
    device.order(bad.digest)
    device.look()
    assert device.state.refused[bad.digest].reason.startswith("bad-wheel")
    assert not list(device.folder.rglob("outside.py"))


@pytest.mark.parametrize(
    ("facts", "needed", "reason"),
    [
        ({"python": "3.12"}, "0", "no-build"),
        ({"machine": "aarch64"}, "0", "no-build"),
        ({"min_launcher": 2}, "0", "newer-launcher-needed"),
        ({"state_version": 2}, "0", "no-way-back"),
        ({}, "0.2.0", "too-old: the release that inspects needs agent 0.2.0"),
    ],
)
def test_software_that_does_not_fit_the_device_is_not_fetched(device, facts, needed, reason):
    """The document says what it needs; no wheel is fetched for a device that cannot take it or could not come back."""
    device.needed = needed
    built = build_agent("one", "0.1.0", **facts)
    publish(device, built)
    device.order(built.digest)
    device.look()
    assert device.software.reason.startswith(reason)
    assert not device.left
    assert not [key for key in device.store.fetched if key.endswith(".whl")]


def test_software_for_other_devices_is_left_to_them(device):
    """An order names its devices, as a wave of releases does."""
    one = build_agent("one")
    publish(device, one)
    device.order(one.digest, devices=("dev2",))
    device.look()
    assert (device.left, device.software.reason) == (False, "")


def test_going_back_on_purpose_needs_no_download(device):
    """The other slot still holds the former release: it is tried and started from there."""
    one, two = build_agent("one"), build_agent("two")
    publish(device, one, two)
    device.take(one.digest)
    device.take(two.digest)
    device.store.fetched.clear()
    device.take(one.digest)
    assert (device.slot, device.running(), device.state.active) == ("a", one.digest, "a")
    assert not [key for key in device.store.fetched if key.endswith(".whl")]


def test_a_third_release_takes_the_slot_that_does_not_run_and_old_wheels_go(device):
    """At most two releases lie on the disk, and each wheel that one of them needs lies there once."""
    built = [build_agent(code) for code in ("one", "two", "three")]
    publish(device, *built)
    for item in built:
        device.take(item.digest)
        assert device.running() == item.digest
    there = {path.name for path in (device.folder / "agent" / "wheels").iterdir() if path.is_dir()}
    needed = {wheel.sha256 for item in built[1:] for wheel in item.wheels.values()}
    assert there == needed
    assert RUNTIME.sha256 in there


def test_software_waits_for_a_release_that_is_being_taken(device):
    """A new release and new software are never on probation at once: nobody could say which of them failed."""
    one = build_agent("one")
    publish(device, one)
    device.idle = False
    device.order(one.digest)
    device.look()
    assert (device.left, device.software.reason[:17]) == (False, "waits-for-release")
    device.idle = True
    device.look()
    assert device.left
    assert len(device.tried) == 1


def test_an_orderly_stop_on_probation_is_no_failed_start(device):
    """A shift that ends does not refuse new software; only stops without end do."""
    one = build_agent("one")
    publish(device, one)
    device.order(one.digest)
    device.look()
    slots = [device.restart() for _ in range(5)]
    assert slots == ["a"] * 5
    device.pass_time(61)
    assert device.state.active == "a"


def test_kept_software_that_does_not_stay_up_any_more_takes_turns_with_the_former(device):
    """Five starts in a row without being well, then the former slot; what was kept is not refused."""
    one, two = build_agent("one"), build_agent("two")
    publish(device, one, two)
    device.take(one.digest)
    device.take(two.digest)
    assert [device.start() for _ in range(6)] == ["b"] * 5 + ["a"]
    device.look()
    assert device.software.reported().state == "standby"
    device.pass_time(61)
    assert (device.state.active, device.state.refused) == ("b", {})
    assert device.start() == "a", "the slot that runs well is started again"
    assert device.software.reported().state == "standby"
    device.order(two.digest)
    device.look()
    assert (device.left, device.start()) == (True, "b"), "ordered again, it is on trial again"
    assert device.state.active == "a"


def test_the_kernel_ends_new_software_that_gives_no_sign_of_life(device):
    """The alarm that the launcher set is set anew by each look, and cleared once the software is kept."""
    one = build_agent("one")
    publish(device, one)
    device.order(one.digest)
    device.look()
    device.restart()
    device.look()
    assert device.alarms == [600]
    device.pass_time(61)
    assert device.alarms[-1] == 0


def test_the_document_of_a_release_lies_below_its_own_digest():
    """The paths are those that the delegated role signs."""
    one = build_agent("one")
    assert agent_path(one.digest, "agent.json") == f"agent/{one.digest}/agent.json"


def test_software_waits_where_the_disk_has_no_room_for_it(device):
    """Nothing is refused: it is fetched once there is room, and the outbox keeps its reserve."""
    one = build_agent("one")
    publish(device, one)
    device.min_free_bytes = 2**62
    device.start()
    device.order(one.digest)
    device.look()
    assert device.software.reason.startswith("disk-full")
    assert (device.left, device.state.refused) == (False, {})
    device.min_free_bytes = 0
    device.start()
    device.look()
    assert device.left


IMAGE = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("image", "runs", "reason"),
    [(IMAGE, True, ""), ("sha256:" + "cd" * 32, False, f"waits-for-orchestrator: the image {IMAGE} was ordered")],
)
def test_a_container_says_whether_its_image_is_the_one_that_was_ordered(device, image, runs, reason):
    """It replaces nothing itself: the orchestrator does, and the report shows both."""
    one = build_agent("one", image_digest=IMAGE)
    publish(device, one)
    device.launched, device.image_digest = False, image
    device.start()
    device.order(one.digest)
    device.look()
    said = device.software.reported()
    assert (said.slot, said.state, said.image_digest) == ("image", "fixed", image)
    assert (said.release_digest, said.wanted_digest, said.reason) == (one.digest if runs else None, one.digest, reason)
    assert (device.left, device.tried) == (False, [])


def test_an_agent_that_no_launcher_started_says_so(device):
    """Its software is replaced by hand, and an order for it does not look as if it were on its way."""
    one = build_agent("one")
    publish(device, one)
    device.launched = False
    device.start()
    device.order(one.digest)
    device.look()
    assert device.software.reported().slot == "installed"
    assert device.software.reason.startswith("not-launched")


def test_a_trial_says_why_packages_do_not_start(tmp_path):
    """The child has the packages of the slot alone; what it meets comes back as a reason, and ends nothing here."""
    empty = tmp_path / "site"
    empty.mkdir()
    result = try_software(sys._base_executable, empty, tmp_path / "config.yaml", None, threading.Event())
    assert (result.ok, result.reason) == (False, "cannot-start")
    assert "No module named" in result.message
    fake = empty / "edge_agent" / "software"
    fake.mkdir(parents=True)
    (fake / "trial.py").write_text("import json, sys; print(json.dumps({'ok': True, 'message': sys.argv[1]}))\n")
    result = try_software(sys._base_executable, empty, tmp_path / "config.yaml", None, threading.Event())
    assert result == SoftwareTrial(True, "", str(tmp_path / "config.yaml"))


def test_a_trial_of_software_that_takes_too_much_memory_is_ended(tmp_path):
    """The inspection keeps its memory: the limit is on what the child really uses. So where the system ends it."""
    fake = tmp_path / "site" / "edge_agent" / "software"
    fake.mkdir(parents=True)
    (fake / "trial.py").write_text("import time; time.sleep(60)\n")
    given = sys._base_executable, tmp_path / "site", tmp_path / "config.yaml", None, threading.Event()
    result = try_software(*given, memory_bytes=200 * 2**20, resident=lambda pid: 201 * 2**20)
    message = "its trial used 201 MiB, over the limit of 200 MiB"
    assert result == SoftwareTrial(False, "too-much-memory", message)
    (fake / "trial.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n")
    assert try_software(*given).reason == "too-much-memory"


def test_the_report_says_what_each_slot_holds_so_that_it_is_not_pruned(device):
    """A device may go back to the software in the other slot, and fetch it again where that is damaged."""
    one, two = build_agent("one"), build_agent("two")
    publish(device, one, two)
    device.take(one.digest)
    device.take(two.digest)
    assert device.software.reported().slots == {"a": one.digest, "b": two.digest}


def test_a_damaged_state_of_the_software_is_set_aside_and_the_order_is_carried_out_again(device):
    """What was installed runs meanwhile; the slots are filled anew."""
    one = build_agent("one")
    publish(device, one)
    device.take(one.digest)
    (device.folder / "agent" / "state.json").write_bytes(b"{")
    assert device.start() == "installed"
    assert len(list((device.folder / "damaged").iterdir())) == 1
    device.take(one.digest)
    assert (device.running(), device.state.active) == (one.digest, device.slot)
