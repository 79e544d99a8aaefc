"""A damaged metadata cache of python-tuf: the device goes on inspecting, and the next poll repairs the cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.edge_agent.models import build_release
from tests.edge_agent.publisher import Publisher
from tests.edge_agent.stores import MemoryStore
from tests.edge_agent.updating_device import BUCKET, Device

FILES = ("timestamp.json", "snapshot.json", "targets.json", "root_history/1.root.json", "desired.json")
DAMAGES = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "garbage": lambda data: b"\xff\xfe{" + data,
    "another document": lambda data: b"[]",
    "one byte": lambda data: data.replace(b'"version":', b'"version":9', 1) if b'"version":' in data else data + b"x",
}


@pytest.fixture
def device(tmp_path):
    store = MemoryStore()
    device = Device(
        store, Publisher(lambda key, data: store.objects.__setitem__((BUCKET, key), data)), tmp_path / "state"
    )
    device.take(build_release(1))
    device.commit()
    return device


def cache(device) -> Path:
    return device.folder / "tuf"


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_of_the_cache_is_fetched_again(device, name, damage):
    """A power cut empties or halves files of the cache."""
    first, second = device.running(), build_release(2, gain=0.9)
    path = cache(device) / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    device.start()
    assert device.running() == first
    device.updates.poll()
    assert device.updates.reason == "up-to-date"
    device.take(second)
    device.commit()
    assert device.running() == second.digest


def test_all_of_the_cache_lost_takes_nothing_older(device):
    """The highest sequence is kept elsewhere, in the state of the activation."""
    first, second = build_release(1), build_release(2, gain=0.9)
    yesterday = dict(device.store.objects)
    device.take(second)
    device.commit()
    for path in cache(device).rglob("*.json"):
        if not path.is_symlink():
            path.write_bytes(b"")
    device.store.objects = yesterday
    device.start()
    device.updates.poll()
    assert device.running() == second.digest != first.digest
    assert device.updates.reason.startswith("rolled-back-sequence")


def test_a_cache_that_is_damaged_while_offline_stops_nothing(device):
    """The cache is repaired when the store can be reached again."""
    for path in cache(device).rglob("*.json"):
        if not path.is_symlink():
            path.write_bytes(b"\0" * 10)
    running = device.running()
    device.store.down = True
    device.start()
    device.updates.poll()
    assert device.running() == running
    assert device.updates.reason.startswith("unreachable")
    device.store.down = False
    device.updates.poll()
    assert device.updates.reason == "up-to-date"


def test_what_a_kill_left_in_the_cache_is_removed_at_the_start(device):
    """A temporary file of python-tuf and a half-written state of ours are removed."""
    (cache(device) / "tmpabcdef").write_bytes(b"half")
    (device.folder / ".activation.json.tmp").write_bytes(b"half")
    device.start()
    assert not (cache(device) / "tmpabcdef").exists()
    assert not (device.folder / ".activation.json.tmp").exists()
    assert (cache(device) / "timestamp.json").exists()
