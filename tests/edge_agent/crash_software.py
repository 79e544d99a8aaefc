"""The scenario of new software for the agent, killed at every moment, and what the next starts must do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from edge_agent import launcher
from edge_agent.software.trial import SoftwareTrial
from tests.edge_agent.agent_wheels import build_agent
from tests.edge_agent.crash_updates import Scenario, rubbish
from tests.edge_agent.publisher import Publisher
from tests.edge_agent.software_device import CountingStore, SoftwareDevice

CODES = ("one", "two", "three")
LONGEST = 40
"""Starts and looks after a crash: more than any way to the end takes."""


class NewSoftware(Scenario):
    """A device runs the second release of its agent, keeps the first in the other slot, and takes a third.

    The launcher's decisions are written through the port too, so that each of their steps is a point.
    """

    def __init__(self) -> None:
        self.store = CountingStore()
        self.publisher = Publisher(lambda key, data: self.store.objects.__setitem__(("kizu-releases", key), data))
        self.built = [build_agent(code) for code in CODES]
        for built in self.built:
            self.publisher.add_agent(built)
        self.publisher.commit()

    def prepare(self, folder: Path, ports) -> None:
        (folder / "state").mkdir()
        device = self._device(folder, ports)
        device.start()
        for built in self.built[:2]:
            device.take(built.digest)
            assert device.running() == built.digest, "the scenario's own releases must be taken"
        device.software.stop()

    def run(self, folder: Path, ports, said) -> None:
        self._order_all()
        device = self._device(folder, ports)
        device.start()
        self._whole(device)
        device.look()
        assert device.left
        said("left")
        device.restart()
        self._whole(device)
        device.look()
        device.pass_time(61)
        assert device.running() == self.built[2].digest
        assert device.state.active == device.slot
        said("kept")
        device.software.stop()

    def check(self, folder: Path, ports, said: list[str]) -> Iterator[str]:
        self._order_all()
        device = self._device(folder, ports)
        digests = [built.digest for built in self.built]
        device.start()
        if device.slot == launcher.INSTALLED:
            yield "expected a slot to be started, but got what was installed by hand"
            return
        yield from self._answers(device)
        if device.running() not in digests[1:]:
            yield f"expected the release before or the new one to run, but got {device.running()}"
        if "kept" in said and device.running() != digests[2]:
            yield f"expected what was kept to run, but got {device.running()}"
        for _ in range(LONGEST):
            device.look()
            if device.left:
                device.restart()
                yield from self._answers(device)
                device.look()
            device.pass_time(61)
            if device.state.active == device.slot and device.running() == digests[2]:
                break
        else:
            yield f"expected the new software to be kept, but got {device.state} ({device.software.reason})"
        there = {path.name for path in (folder / "state" / "agent" / "wheels").iterdir()}
        needed = {wheel.sha256 for built in self.built[1:] for wheel in built.wheels.values()}
        if there != needed | {f"{sha256}.ok" for sha256 in needed}:
            yield f"expected the wheels of two releases on the disk, but got {sorted(there)}"
        # The metadata of releases are tidied up by what takes releases, which is not part of this.
        yield from (item for item in rubbish(folder) if not item.startswith("left behind: state/tuf/"))

    def _order_all(self) -> None:
        """prepare() ran in a process of its own: the orders of before again, and the new one."""
        for built in self.built:
            self._order(built.digest)

    def _order(self, digest: str) -> None:
        device = SoftwareDevice.__new__(SoftwareDevice)
        device.publisher = self.publisher
        device.order(digest)

    def _device(self, folder: Path, ports) -> SoftwareDevice:
        return SoftwareDevice(
            folder / "state", store=ports.store(self.store), disk=ports.disk, publisher=self.publisher,
            piece_bytes=3000, trial=SoftwareTrial(True),
        )  # fmt: skip

    def _whole(self, device: SoftwareDevice) -> None:
        assert list(self._answers(device)) == []

    def _answers(self, device: SoftwareDevice) -> Iterator[str]:
        """Whether all files of the software that runs are there, with the bytes that were signed."""
        built = next((item for item in self.built if item.digest == device.running()), None)
        if built is None:
            yield f"expected a release in slot {device.slot}, but got {device.running()}"
            return
        site = device.folder / "agent" / "slots" / device.slot / "site"
        code = CODES[self.built.index(built)]
        if (site / "edge_agent" / "__init__.py").read_text() != f"CODE = {code!r}\n":
            yield f"slot {device.slot} is not whole: its code"
        if (site / "runtime" / "model.bin").read_bytes() != bytes(range(256)) * 40:
            yield f"slot {device.slot} is not whole: its runtime"
        document = (device.folder / "agent" / "slots" / device.slot / "agent.json").read_bytes()
        if json.loads(document) != json.loads(built.release.to_json()):
            yield f"slot {device.slot} is not whole: its document"
