"""Stories of a repository and a device: publish, damage something, see what the device does and keeps."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from securesystemslib.signer import CryptoSigner

from edge_agent.errors import InferenceError, UpdateError
from edge_agent.inference import RuntimeChoice
from edge_agent.ota.activation import Phase
from edge_agent.ota.release_client import ReleaseClient
from tests.edge_agent.bench import Bench
from tests.edge_agent.models import BAD, build_release, picture, quadrant_model
from tests.edge_agent.publisher import Publisher
from tests.edge_agent.stores import MemoryStore
from tests.edge_agent.updating_device import BUCKET, Device


@pytest.fixture
def device(tmp_path):
    store = MemoryStore()
    return Device(
        store, Publisher(lambda key, data: store.objects.__setitem__((BUCKET, key), data)), tmp_path / "state"
    )


def flip_a_byte(store: MemoryStore, key: str) -> None:
    data = bytearray(store.objects[BUCKET, key])
    data[len(data) // 2] ^= 1
    store.objects[BUCKET, key] = bytes(data)


def test_a_published_release_is_taken_and_committed(device):
    """The release is fetched, tried, on probation and kept; the first one becomes the factory release."""
    built = build_release()
    device.take(built)
    assert device.running() == built.digest
    assert device.updates.state.phase is Phase.PROBATION
    device.commit()
    state = device.updates.state
    assert (state.phase, state.current, state.factory, state.pending) == (Phase.IDLE, built.digest, built.digest, None)
    assert device.updates.reason == "up-to-date"


def test_a_device_without_an_offer_waits(device):
    """A group for which nothing was published is no error."""
    device.updates.poll()
    assert device.running() is None
    assert device.updates.reason.startswith("no-desired-state")


@pytest.mark.parametrize("name", ["model.onnx", "release.json", "golden.png"])
def test_one_wrong_byte_in_a_file_leaves_the_current_release_running(device, name):
    """The file is refused by its hash, nothing of it is kept, and the device says why."""
    first, second = build_release(1), build_release(2, gain=0.9)
    device.take(first)
    device.commit()
    keys = device.publisher.add_release(second)
    flip_a_byte(device.store, keys[name])
    device.publisher.desire(second.digest)
    device.updates.poll()
    assert device.running() == first.digest
    assert device.updates.reason.startswith("wrong-hash")
    assert not (device.folder / "releases" / second.digest / name).exists()


def test_a_repaired_file_is_taken_at_the_next_look(device):
    """A release is not marked as failed because its bytes were damaged on the way."""
    built = build_release()
    keys = device.publisher.add_release(built)
    flip_a_byte(device.store, keys["model.onnx"])
    device.publisher.desire(built.digest)
    device.updates.poll()
    assert device.running() is None
    device.publisher.add_release(built)
    device.updates.poll()
    assert device.running() == built.digest


def test_a_longer_file_is_refused_by_its_length(device):
    """An endless file does not fill the disk."""
    built = build_release()
    keys = device.publisher.add_release(built)
    device.store.objects[BUCKET, keys["model.onnx"]] += b"x" * 1000
    device.publisher.desire(built.digest)
    device.updates.poll()
    assert device.updates.reason.startswith("wrong-length")


def test_expired_metadata_keeps_inspecting_and_takes_nothing_new(device):
    """Inspection goes on without an update server."""
    first, second = build_release(1), build_release(2, gain=0.9)
    device.take(first)
    device.commit()
    device.publisher.timestamp.signed.expires = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    device.take(second)
    assert device.running() == first.digest
    assert device.updates.reason.startswith("expired-metadata")
    device.start()
    assert device.running() == first.digest


def test_older_metadata_played_again_is_refused(device):
    """A store that is set back to an older state does not set the device back."""
    first, second = build_release(1), build_release(2, gain=0.9)
    device.take(first)
    device.commit()
    yesterday = dict(device.store.objects)
    device.take(second)
    device.commit()
    assert device.running() == second.digest
    device.store.objects = yesterday
    device.start()
    device.updates.poll()
    assert device.running() == second.digest
    assert device.updates.reason.startswith("rolled-back")


def test_a_lower_sequence_with_good_signatures_is_refused(device):
    """A device refuses an older sequence even if the signer signed it. Going back needs a higher sequence."""
    first, second = build_release(1), build_release(2, gain=0.9)
    device.take(first)
    device.commit()
    device.take(second)
    device.commit()
    device.publisher.desire(first.digest, sequence=1)
    device.updates.poll()
    assert device.running() == second.digest
    assert device.updates.reason.startswith("rolled-back-sequence")
    device.publisher.desire(first.digest, sequence=3)
    device.updates.poll()
    assert device.running() == first.digest


def test_metadata_signed_by_an_unknown_key_is_refused(device):
    """The right to write to the bucket does not give the right to sign."""
    first, second = build_release(1), build_release(2, gain=0.9)
    device.take(first)
    device.commit()
    device.publisher.signers["targets"] = CryptoSigner.generate_ed25519()
    device.take(second)
    assert device.running() == first.digest
    assert device.updates.reason.startswith("wrong-signature")


def test_metadata_that_was_changed_is_refused(device):
    """One changed byte in the timestamp breaks its signature or its form."""
    built = build_release()
    device.publisher.add_release(built)
    device.publisher.desire(built.digest)
    data = device.store.objects[BUCKET, "metadata/timestamp.json"]
    device.store.objects[BUCKET, "metadata/timestamp.json"] = data.replace(b'"version":', b'"version":1', 1)
    assert device.store.objects[BUCKET, "metadata/timestamp.json"] != data
    device.updates.poll()
    assert device.running() is None
    assert device.updates.reason.split(":")[0] in ("wrong-signature", "invalid-metadata")


def test_a_mixed_snapshot_is_refused(device):
    """A snapshot that the timestamp does not name is refused."""
    first = build_release(1)
    device.take(first)
    device.commit()
    old = device.store.objects[BUCKET, f"metadata/{device.publisher.snapshot.signed.version}.snapshot.json"]
    second = build_release(2, gain=0.9)
    device.publisher.add_release(second)
    device.publisher.desire(second.digest)
    device.store.objects[BUCKET, f"metadata/{device.publisher.snapshot.signed.version}.snapshot.json"] = old
    device.updates.poll()
    assert device.running() == first.digest
    assert device.updates.reason.startswith("rolled-back")


def test_another_root_is_not_believed(device, tmp_path):
    """The root is pinned, so a repository with keys of its own is refused."""
    other = MemoryStore()
    stranger = Publisher(lambda key, data: other.objects.__setitem__((BUCKET, key), data))
    built = build_release()
    stranger.add_release(built)
    stranger.desire(built.digest)
    device.store.objects = other.objects
    device.updates.poll()
    assert device.running() is None
    assert device.updates.reason.startswith("wrong-signature")


def test_a_rotated_root_is_followed_and_the_old_keys_are_not_believed_any_more(device):
    """A device with the first root reads what the second root's keys sign."""
    first, second = build_release(1), build_release(2, gain=0.9)
    device.take(first)
    device.commit()
    publisher = device.publisher
    old = publisher.signers["timestamp"]
    new = CryptoSigner.generate_ed25519()
    publisher.root.signed.revoke_key(old.public_key.keyid, "timestamp")
    publisher.root.signed.add_key(new.public_key, "timestamp")
    publisher.root.signed.version = 2
    publisher.root.sign(publisher.signers["root"])
    device.store.objects[BUCKET, "metadata/2.root.json"] = publisher.root.to_bytes()
    publisher.signers["timestamp"] = new
    device.take(second)
    device.commit()
    assert device.running() == second.digest
    publisher.signers["timestamp"] = old
    device.take(build_release(3, gain=0.8))
    assert device.running() == second.digest
    assert device.updates.reason.startswith("wrong-signature")


class Nonsense(MemoryStore):
    def stream(self, bucket, key):
        raise RuntimeError("never seen before")


def test_an_error_nobody_foresaw_does_not_stop_the_line(device):
    """The error is logged and reported, and the current release goes on."""
    built = build_release()
    device.take(built)
    device.commit()
    objects = device.store.objects
    device.store = Nonsense()
    device.updates.poll()
    assert device.running() == built.digest
    assert device.updates.reason.split(":")[0] in ("unreachable", "internal")
    device.store = MemoryStore()
    device.store.objects = objects
    device.updates.poll()
    assert device.updates.reason == "up-to-date"


def test_an_unreachable_store_changes_nothing(device):
    """A device that is offline goes on with its release."""
    built = build_release()
    device.take(built)
    device.commit()
    device.store.down = True
    device.updates.poll()
    assert device.running() == built.digest
    assert device.updates.reason.startswith("unreachable")
    device.start()
    assert device.running() == built.digest


@pytest.mark.parametrize(
    ("built", "reason"),
    [
        (lambda: build_release(2, golden_score=0.6), "golden-samples"),
        (lambda: build_release(2, model=b"not a model"), "unusable-model"),
        (lambda: build_release(2, model=quadrant_model(side=96)), "unusable-model"),
        (lambda: build_release(2, latency_budget_ms=0.0001), "too-slow"),
    ],
)
def test_a_release_that_fails_its_trial_is_remembered_and_not_tried_again(device, built, reason):
    """A desired state with a higher sequence makes the device try it again."""
    first, second = build_release(1), built()
    device.take(first)
    device.commit()
    device.take(second)
    assert device.running() == first.digest
    assert device.updates.reason.startswith(reason)
    assert device.updates.state.failed[second.digest].reason.startswith(reason)
    device.updates.poll()
    assert device.updates.reason.startswith("failed-before")
    device.publisher.desire(second.digest)
    device.updates.poll()
    assert device.updates.state.failed[second.digest].sequence == device.publisher.sequence


def test_a_runtime_error_during_probation_brings_the_previous_release_back(device):
    """The release that failed is remembered."""
    first, second = build_release(1), build_release(2, gain=0.9)
    device.take(first)
    device.commit()
    device.take(second, probation_s=60.0)
    assert device.running() == second.digest
    device.health.fault("the output has another shape")
    device.updates.tick()
    assert device.running() == first.digest
    assert "runtime-error" in device.updates.state.failed[second.digest].reason


def test_a_network_that_answers_with_nan_on_probation_brings_the_previous_release_back(device, tmp_path):
    """Its frame gets no verdict, waits, and is judged by the release before."""
    first = build_release(1)
    second = build_release(2, model=quadrant_model(nan_above=0.9), golden=())
    device.take(first)
    device.commit()
    device.take(second, probation_s=60.0)
    assert device.running() == second.digest
    bench = Bench(tmp_path, on_probation=lambda: device.updates.state.phase is Phase.PROBATION)
    bench.feed("1.png", picture(*BAD))
    with pytest.raises(InferenceError, match="expected finite numbers") as caught:
        bench.loop.step(device.active.get(), 1.0)
    assert (bench.results(), bench.waiting()) == ([], ["1.png"])
    device.health.fault(str(caught.value))  # as `InspectionLoop.run` does
    device.updates.tick()
    assert device.running() == first.digest
    assert "expected finite numbers" in device.updates.state.failed[second.digest].reason
    assert bench.loop.step(device.active.get(), 1.0)
    assert [item["verdict"] for item in bench.results()] == ["fail"]
    bench.outbox.close()


def test_a_silent_loop_during_probation_brings_the_previous_release_back(device):
    """A release that makes the loop hang is not kept."""
    first, second = build_release(1), build_release(2, gain=0.9)
    device.take(first)
    device.commit()
    device.take(second, probation_s=600.0)
    device.now_s += 31
    device.updates.tick()
    assert device.running() == first.digest


def test_a_crash_during_probation_boots_the_previous_release(device):
    """The next start needs no decision and no write to go back."""
    first, second = build_release(1), build_release(2, gain=0.9)
    device.take(first)
    device.commit()
    device.take(second, probation_s=60.0)
    device.start()  # without stop(): as after kill -9
    assert device.running() == first.digest
    device.updates.poll()
    assert device.updates.reason.startswith("failed-before")


def test_an_orderly_stop_during_probation_is_no_failure(device):
    """The probation starts again from the beginning at the next start."""
    first, second = build_release(1), build_release(2, gain=0.9)
    device.take(first)
    device.commit()
    device.take(second, probation_s=60.0)
    device.updates.stop()
    device.start()
    assert device.running() == second.digest
    assert device.updates.state.phase is Phase.PROBATION


def test_a_release_damaged_on_the_disk_is_replaced_by_the_one_before_and_fetched_anew(device):
    """The previous release runs until the damaged one has been fetched again."""
    first, second = build_release(1), build_release(2, gain=0.9)
    for built in (first, second):
        device.take(built)
        device.commit()
    (device.folder / "releases" / second.digest / "model.onnx").write_bytes(b"rot")
    device.start()
    assert device.running() == first.digest
    device.updates.poll()
    assert device.running() == second.digest
    device.commit()
    assert device.updates.state.previous == first.digest


def test_only_current_previous_and_factory_releases_stay_on_the_disk(device):
    """All other releases are removed, so the disk does not fill up."""
    built = [build_release(number, gain=1.0 - number / 100) for number in range(1, 5)]
    for release in built:
        device.take(release)
        device.commit()
    kept = {path.name for path in (device.folder / "releases").iterdir()}
    assert kept == {built[0].digest, built[2].digest, built[3].digest}


def test_a_root_that_is_none_is_refused_with_a_reason(tmp_path):
    """A pinned root that is not valid is refused with an error that names it."""
    with pytest.raises(UpdateError, match="pinned root") as caught:
        ReleaseClient(MemoryStore(), BUCKET, b"{}", tmp_path / "tuf")
    assert caught.value.reason in ("invalid-metadata", "wrong-signature")


def test_the_trial_process_reports_a_model_that_kills_it(tmp_path):
    """A model that kills the trial's process is a failed trial."""
    from edge_agent.ota.trial import try_release_aside

    built = build_release()
    folder = built.write(tmp_path / "release")
    assert try_release_aside(folder, built.digest, RuntimeChoice(threads=1), threading.Event()).ok
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()
    result = try_release_aside(folder, built.digest, RuntimeChoice(threads=1), threading.Event())
    assert (result.ok, result.reason) == (False, "unusable-model")


def test_a_release_that_needs_a_newer_agent_waits_for_it_and_is_not_refused(device):
    """The present release inspects on; nothing is remembered against the new one, and no model is fetched in vain."""
    first, second = build_release(1), build_release(2, min_agent_version="99.0.0")
    device.take(first)
    device.commit()
    device.take(second)
    for _ in range(2):
        device.updates.poll()
        assert device.updates.reason.startswith("waits-for-agent: it needs agent 99.0.0 or newer, this is ")
        state = device.updates.state
        assert (state.phase, state.sequence, dict(state.failed)) == (Phase.IDLE, 2, {})
        assert device.running() == first.digest
        device.start()
        device.updates.poll()
    assert not (device.folder / "releases" / second.digest / "model.onnx").exists()
    newer = ReleaseClient(
        device.store, BUCKET, device.publisher.root_bytes, device.folder / "tuf", agent_version="99.0.0"
    )
    newer.refresh()
    assert newer.fetch_release(second.digest, device.folder / "fetched") == second.release


def test_no_release_is_taken_while_the_software_of_the_agent_is_new(device):
    """Nobody could say which of the two failed; the release is taken once the software is kept."""
    held = [True]
    device.held = lambda: held[0]
    device.start()
    built = build_release()
    device.take(built)
    assert device.running() is None
    assert device.updates.reason == "waits-for-agent: the software of this agent is on probation"
    held[0] = False
    device.updates.poll()
    assert device.running() == built.digest
