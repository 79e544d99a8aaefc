"""`python -m tools.guides.operator_page`: takes pictures of the device's page for the operator's guide.

Template, texts, style and drawing are those of the agent. The data is invented here: a device has just failed a
generated part, and the part's true boxes replace a model's boxes.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

from components.generated_parts.photographs import LineGenerator, Photograph
from edge_agent.config import Memory, OutboxLimits, Page
from edge_agent.memory_budget import MemoryBudget
from edge_agent.objections import Objections
from edge_agent.ota.driver import Updates
from edge_agent.outbox import Outbox
from edge_agent.recent_frames import RecentFrames
from edge_agent.result import Result
from edge_agent.status import Gauges
from edge_agent.web.access import Access
from edge_agent.web.metrics import Metrics
from edge_agent.web.server import PageServer, Site, make_app
from inspection import Detection, Verdict
from inspection.image import sha256_of
from tools.guides.browser import IMAGES, chromium

_PORT: Final = 18399
_NOON: Final = datetime(2026, 4, 1, 3, 12, 40, tzinfo=UTC)
_LINE: Final = LineGenerator(seed=11, photographs_per_part=1)
# Oldest first: the part, the scores of its boxes, the verdict.
_INSPECTED: Final = (
    (9, (), Verdict.PASS),
    (5, (0.91,), Verdict.FAIL),
    (7, (), Verdict.PASS),
    (12, (0.34,), Verdict.UNCERTAIN),
    (23, (0.88, 0.72), Verdict.FAIL),
)
_STATUS: Final[Mapping[str, Any]] = {
    "device": "line7",
    "site": "plant1",
    "use_case": "metal-tag",
    "problem": "",
    "notices": [],
    "release": {
        "running": "9c8e467b1d20",
        "version": 3,
        "pending": None,
        "pinned": None,
        "phase": "idle",
        "reason": "up-to-date",
        "sequence_seen": 5,
    },
    "frames": {
        "inspected": 18342,
        "today": {"pass": 1204, "fail": 31, "uncertain": 17},
        "rejected": {},
        "doubted": {},
        "not_inspected": {},
        "skipped": 0,
    },
    "outbox": {"waiting": {}, "dropped": 0},
    "connections": {"s3": "ok", "mqtt": "ok"},
    "uptime_s": 86412,
    "versions": {"agent": "0.1.0"},
}


def take_pictures() -> None:
    """Take one picture for each language."""
    recent = RecentFrames()
    for number, (part, scores, verdict) in enumerate(_INSPECTED):
        (photograph,) = _LINE.part(part)
        recent.add(_result(photograph, number, scores, verdict), photograph.jpeg)
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder), OutboxLimits())
        config = SimpleNamespace(zone=UTC)  # as in a container that names no other
        gauges = cast(Gauges, SimpleNamespace(as_json=lambda: _STATUS, outbox=outbox, config=config))
        site = Site(
            gauges=gauges,
            recent=recent,
            page=Page(port=_PORT),
            access=Access("a token that nobody enters"),
            objections=Objections(outbox, "plant1"),
            updates=cast(Updates, None),
            metrics=Metrics(gauges),
            budget=MemoryBudget(Memory().image_bytes),
        )
        stop = threading.Event()
        server = PageServer(make_app(site), site.page)
        thread = threading.Thread(target=server.run, args=(stop,))
        thread.start()
        try:
            with chromium() as browser:
                for language in ("en", "ja"):
                    page = browser.new_page(viewport={"width": 1080, "height": 580})
                    page.goto(f"http://127.0.0.1:{_PORT}/?lang={language}")
                    page.screenshot(path=IMAGES / f"operator-{language}.jpg", quality=85)
        finally:
            stop.set()
            thread.join()
            outbox.close()


def _result(photograph: Photograph, number: int, scores: tuple[float, ...], verdict: Verdict) -> Result:
    at = _NOON + timedelta(seconds=2 * number)
    return Result(
        capture_id=f"{number:032x}",
        sha256=sha256_of(photograph.jpeg),
        captured_at=at,
        decided_at=at,
        device="line7",
        camera="top",
        part_id=f"T-{4711 + number}",
        original_name=photograph.name,
        release_digest="9c8e467b1d20",
        model_sha256="0" * 64,
        detections=tuple(
            Detection(label.class_name, value, label.box) for label, value in zip(photograph.boxes, scores, strict=True)
        ),
        verdict=verdict,
        infer_ms=17.3,
    )


if __name__ == "__main__":
    take_pictures()
    sys.exit(0)
