"""Makes the parts of an agent from its configuration, connects them, and runs them: the composition root."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edge_agent.agent import InspectionLoop
from edge_agent.camera_states import CameraStates
from edge_agent.config import Config
from edge_agent.damaged import FOLDER as DAMAGED_FOLDER
from edge_agent.damaged import DamagedFiles
from edge_agent.disk import RealDisk
from edge_agent.errors import EdgeError
from edge_agent.fleet_report import FleetReporter
from edge_agent.folder_lock import lock_when_writable
from edge_agent.health import Health
from edge_agent.inference import RuntimeChoice
from edge_agent.line_counts import LineCounts
from edge_agent.line_report import LineReport
from edge_agent.memory import keep_heap_flat
from edge_agent.memory_budget import MemoryBudget
from edge_agent.missed_triggers import MissedTriggers
from edge_agent.notices import CameraClocks
from edge_agent.object_store import S3ObjectStore
from edge_agent.objections import Objections
from edge_agent.ota.activation import Phase
from edge_agent.ota.active import Active, Identity
from edge_agent.ota.driver import Updates
from edge_agent.ota.release_client import ReleaseClient
from edge_agent.ota.store import ReleaseStore
from edge_agent.ota.tallies import Tallies
from edge_agent.ota.tally_file import TallyFile
from edge_agent.outbox import Outbox
from edge_agent.outbox_recovery import Owner
from edge_agent.part_answers import PartAnswers
from edge_agent.recent_frames import RecentFrames
from edge_agent.result import Result
from edge_agent.result_publisher import ResultPublisher
from edge_agent.send_back import SendBack
from edge_agent.shadow.files import METADATA_FOLDER as SHADOW_METADATA_FOLDER
from edge_agent.shadow.files import ShadowFiles
from edge_agent.shadow.process import ShadowProcess
from edge_agent.shadow.shadow import Shadow, order_for
from edge_agent.software.rules import Launched
from edge_agent.software.software import Software
from edge_agent.software.store import METADATA_FOLDER as SOFTWARE_METADATA_FOLDER
from edge_agent.software.store import SoftwareStore
from edge_agent.software.trial import try_software
from edge_agent.sources.make import check_cameras, make_source, queues_by_camera, trigger_queues
from edge_agent.sources.port import FrameSource
from edge_agent.status import Gauges
from edge_agent.uploader import Uploader
from edge_agent.watchdog import ServiceManager
from edge_agent.web.access import Access, load_or_make_token
from edge_agent.web.metrics import Metrics
from edge_agent.web.server import PageServer, Site, http_source, make_app
from inspection import DesiredState

_log = logging.getLogger(__name__)

_LEAVE_S = 5.0


def run_agent(
    config: Config,
    stop: threading.Event,
    manager: ServiceManager | None = None,
    launched: Launched | None = None,
    config_file: Path = Path("config.yaml"),
) -> int:
    """Inspect until `stop` is set.

    Args:
        manager: the service manager that watches this process; None for none.
        launched: the launcher that started this process; None where its software is not replaced here.
        config_file: what `config` was read from, for the trial of new software.

    Returns:
        The exit code: 0 where the agent ended in order, 1 where one of its threads died.

    Raises:
        ConfigError: a camera's folder or the page's port cannot be used.
        Unwritable: the state folder could not be written for a while.
        StateError: another agent holds the state folder, or the folder is damaged.
    """
    keep_heap_flat()
    lock = lock_when_writable(config.state_folder, stop)
    if lock is None:
        return 0
    try:
        return _run_locked(config, stop, manager or ServiceManager(), launched, config_file)
    finally:
        lock.release()


def _run_locked(
    config: Config, stop: threading.Event, manager: ServiceManager, launched: Launched | None, config_file: Path
) -> int:
    started = time.monotonic()
    check_cameras(config.cameras, with_broker=config.mqtt is not None)
    asked = threading.Event()
    triggers = trigger_queues(config.cameras, asked)
    regions = {camera.name: camera.region for camera in config.cameras if camera.region is not None}
    disk = RealDisk()
    store = S3ObjectStore.from_config(config.s3)
    damaged = DamagedFiles(config.state_folder / DAMAGED_FOLDER, disk)
    outbox = Outbox(
        config.state_folder / "outbox", config.outbox, disk=disk, damaged=damaged,
        owner=Owner(config.site, config.device), zone=config.zone, parts=[part.to_rule() for part in config.parts],
    )  # fmt: skip
    health, active, recent = Health(on_beat=manager.progress), Active(), RecentFrames()
    uploader = Uploader(outbox, store, config.buckets.raw)
    publisher = None
    if config.mqtt is not None:
        on_message = {topic: queue.put for topic, queue in triggers.items()}
        publisher = ResultPublisher(outbox, config.mqtt, config.site, config.device, triggers=on_message)
    tallies, clocks = Tallies(), CameraClocks()
    cameras = CameraStates(camera.name for camera in config.cameras)
    tally_file = TallyFile(config.state_folder, disk, damaged)
    tally_file.load(tallies)
    line = LineCounts()
    line_report = LineReport(
        line, config.state_folder, disk, damaged, store, config.buckets.fleet,
        device=config.device, use_case=config.use_case,
    )  # fmt: skip
    line_report.load()
    listeners: list[Callable[[], None]] = []
    budget = MemoryBudget(config.memory.image_bytes)
    send_back = SendBack(outbox, config.site, config.sampling)
    tighten = config.acceptance_tighten.to_tightening()
    shadow = Shadow(
        ShadowFiles(config.state_folder, disk, damaged),
        lambda interrupted: ReleaseClient.from_config(config, store, disk, interrupted, SHADOW_METADATA_FOLDER),
        lambda folder, digest, interrupted: ShadowProcess(
            folder, digest, precision=config.inference.precision, max_pixels=budget.max_pixels,
            interrupted=interrupted, memory_bytes=config.inference.trial_memory_bytes, tighten=tighten,
        ),
        budget=budget,
        paused=lambda: updates.state.phase is Phase.PROBATION,
        differs=send_back.candidate_differs,
        changed=lambda: _call_all(listeners),
        regions=regions,
    )  # fmt: skip
    software = Software(
        SoftwareStore(config.state_folder, disk, damaged),
        lambda interrupted: ReleaseClient.from_config(config, store, disk, interrupted, SOFTWARE_METADATA_FOLDER),
        launched,
        lambda site, interrupt: try_software(
            launched.python if launched else sys.executable,
            site,
            config_file,
            release_files(),
            interrupt,
            memory_bytes=config.inference.trial_memory_bytes,
        ),
        device=config.device,
        use_case=config.use_case,
        observe=lambda: (health.silent_s(), active.get() is not None or updates.state.running is None, health.problem),
        needed=lambda: running.release.min_agent_version if (running := active.get()) else "0",
        idle=lambda: updates.state.phase is Phase.IDLE,
        leave=stop.set,
        image_digest=config.image_digest,
        min_free_bytes=config.outbox.min_free_bytes,
        heartbeat_timeout_s=config.intervals.heartbeat_timeout_s,
        changed=lambda: _call_all(listeners),
        alarm=signal.alarm,
    )

    def release_files() -> tuple[Path, str] | None:
        running = active.get()
        return (releases.folder(running.digest), running.digest) if running else None

    def accepted(desired: DesiredState | None) -> None:
        shadow.want(order_for(desired, device=config.device, use_case=config.use_case))
        software.want(desired)

    releases = ReleaseStore(config.state_folder, disk=disk)
    updates = Updates(
        Identity(config.device, config.group, config.use_case),
        releases,
        lambda: ReleaseClient.from_config(config, store, disk, updates.interrupted),
        RuntimeChoice.from_config(config.inference, tighten),
        health,
        active=active,
        heartbeat_timeout_s=config.intervals.heartbeat_timeout_s,
        tallies=tallies,
        changed=lambda: _call_all(listeners),
        accepted=accepted,
        held=lambda: software.on_probation,
    )
    gauges = Gauges(
        config,
        active,
        updates,
        outbox,
        health,
        uploader,
        publisher,
        started,
        damaged,
        clocks,
        tallies,
        cameras,
        shadow,
        software,
    )
    fleet_reporter = FleetReporter(
        store, config.buckets.fleet, config.device, gauges.reported, config.intervals.report_s
    )
    listeners.append(fleet_reporter.changed)
    if publisher is not None:
        listeners.append(_announcer(publisher, active))
    missed = MissedTriggers(
        queues_by_camera(config.cameras, triggers), outbox, active, recent, device=config.device,
        publish=publisher is not None, changed=asked, clock=time.monotonic,
        measure=tallies.add,
    )  # fmt: skip
    metrics = Metrics(gauges)

    def measure(result: Result) -> None:
        metrics.observe(result)
        tallies.add(result)
        clocks.see(result)
        cameras.see(result)

    def forgot(camera: str, number: int) -> None:
        _log.warning("camera %s: %d old files were removed from its folder rejected", camera, number)
        with suppress(EdgeError):  # the index cannot be written; the files are gone in any case
            outbox.count("rejected_removed", camera, number)

    wake = threading.Event()
    sources: list[FrameSource] = []
    page: PageServer | None = None
    try:
        access = Access(load_or_make_token(config.token_file, disk))
        for camera in config.cameras:
            sources.append(
                make_source(
                    camera,
                    config.state_folder,
                    disk=disk,
                    wake=wake,
                    triggers=triggers,
                    budget=budget,
                    forgot=forgot,
                    answers=outbox.answer,
                )
            )
        site = Site(
            gauges, recent, config.page, access, Objections(outbox, config.site), updates, metrics, budget, regions
        )
        page = PageServer(make_app(site, http_source(sources)), config.page)
        software.boot()
        updates.boot()
        shadow.boot()
    except EdgeError:
        for source in sources:
            source.close()
        if page is not None:
            page.close()
        outbox.close()
        raise
    loop = InspectionLoop(
        sources, active, outbox, health, recent, site=config.site, device=config.device, publish=publisher is not None,
        wake=wake, measure=measure, looked=line.add, compared=tallies.add_compared, cameras=cameras,
        send_back=send_back, beside=shadow.hand_over,
        on_probation=lambda: updates.state.phase is Phase.PROBATION, max_pixels=budget.max_pixels,
        views={camera.name: camera.view() for camera in config.cameras},
        regions=regions,
    )  # fmt: skip
    tasks: dict[str, Callable[[threading.Event], None]] = {
        "page": page.run,
        "uploader": uploader.run,
        "fleet-reporter": fleet_reporter.run,
        "updates": lambda event: updates.run(event, config.intervals.update_poll_s),
        "shadow": shadow.run,
        "software": software.run,
        "line-report": line_report.run,
        "tallies": lambda event: tally_file.run(tallies, event),
    }
    if publisher is not None:
        tasks["result-publisher"] = publisher.run
    if config.parts or outbox.open_parts():  # what was open before the file changed is answered too
        tasks["parts"] = PartAnswers(outbox, device=config.device, publish=publisher is not None).run
    if triggers:
        tasks["missed-triggers"] = missed.run
    died: list[str] = []
    threads = [_start(name, task, stop, died) for name, task in tasks.items()]
    _log.info(
        "%s inspects with %s, page on http://%s:%s/",
        config.device, ", ".join(camera.name for camera in config.cameras), config.page.host, config.page.port,
    )  # fmt: skip
    try:
        manager.ready()
        loop.run(stop)
    finally:
        stop.set()
        manager.stopping()
        for source in sources:
            source.close()
        missed.end()
    if not died:
        # Before the wait for the threads: a download that is still running must not make this stop look like a crash.
        updates.stop()
    deadline = time.monotonic() + _LEAVE_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    outbox.close()
    _log.info("stopped%s", f": {', '.join(died)} died" if died else "")
    return 1 if died else 0


def _start(
    name: str, task: Callable[[threading.Event], None], stop: threading.Event, died: list[str]
) -> threading.Thread:
    def run() -> None:
        try:
            task(stop)
        except Exception:
            # The whole agent ends, and its supervisor starts it again: that is better than an agent without one thread.
            _log.exception("%s died; the agent ends", name)
            died.append(name)
            stop.set()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def _call_all(listeners: list[Callable[[], None]]) -> None:
    for listener in listeners:
        listener()


def _announcer(publisher: ResultPublisher, active: Active) -> Callable[[], None]:
    """A listener that has the publisher announce the running release whenever it is another one."""
    announced: list[str | None] = [None]

    def announce() -> None:
        running = active.get()
        digest = running.digest if running else None
        if digest != announced[0]:
            announced[0] = digest
            with suppress(ValueError):  # the client's queue is full; the next connection announces it
                publisher.announce(digest)

    return announce
