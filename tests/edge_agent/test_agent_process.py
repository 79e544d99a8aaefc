"""The agent as it is shipped: a process of the device's environment, with a real store, a real broker and TUF."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from inspection import Capture, Reported, ShadowOrder, ShadowTally, parse_raw_key
from tests.edge_agent.environments import FORBIDDEN
from tests.edge_agent.listener import Listener
from tests.edge_agent.models import BAD, DOUBTFUL, GOOD, build_candidate, build_release, picture
from tests.edge_agent.running_agent import Device, take
from tests.edge_agent.servers import SITE, wait_for

SHADOW_OF_NONE = ShadowTally(release_digest="0" * 64, since=datetime(2026, 1, 1, tzinfo=UTC))


def test_the_whole_way_on_a_device(device, publisher, seaweed, broker):
    """An agent waits for a release, takes it, inspects, publishes results, sends images, reports, swaps and stops."""
    listener = Listener(broker.port)
    raw, fleet = seaweed.store("admin"), seaweed.store("admin")
    before = {item.key for item in raw.list("kizu-raw")}
    device.start()
    device.feed("0 早い.png", picture(*BAD))
    assert device.get("/readyz")[0] == 503
    assert device.status()["state"] == "no-release"
    first = build_release(1)
    take(device, publisher, first)
    assert device.get("/readyz")[0] == 200

    (device.camera / "2.png.json").write_text('{"part_id": "T-2"}')
    for name, kind in (("1.png", GOOD), ("2.png", DOUBTFUL), ("3.txt", None)):
        device.feed(name, picture(*kind, seed=int(time.time())) if kind else b"no image")
    wait_for(lambda: len(listener.results) == 3)
    assert [item["verdict"] for item in listener.results] == ["fail", "pass", "uncertain"]
    doubtful = listener.results[2]
    assert (doubtful["part_id"], doubtful["release_digest"]) == ("T-2", first.digest)

    def sent():
        return sorted({item.key for item in raw.list("kizu-raw")} - before)

    wait_for(lambda: len(sent()) == 2)
    capture_key, image_key = sorted(sent(), key=lambda key: key.endswith(".png"))
    key = parse_raw_key(image_key)
    assert (key.site, key.device, key.sha256) == (SITE, "dev1", doubtful["sha256"])
    capture = Capture.from_json(raw.get("kizu-raw", capture_key))
    assert (capture.reason, capture.part_id, capture.capture_id) == ("uncertain", "T-2", doubtful["capture_id"])
    wait_for(lambda: device.status()["frames"]["rejected"] == {"not-an-image": 1})

    def reported():
        return Reported.from_json(fleet.get("kizu-fleet", "dev1/reported.json"))

    wait_for(lambda: reported().running_release == first.digest and reported().state == "running")
    assert (reported().group, reported().sequence_seen) == ("line1", publisher.sequence)
    wait_for(lambda: reported().verdicts == {"fail": 1, "pass": 1, "uncertain": 1})
    assert [(line.release_digest, line.frames, line.fail) for line in reported().tallies] == [(first.digest, 3, 1)]
    assert (reported().failures, reported().pinned_release, reported().shadow) == ({}, "", None)
    (camera,) = reported().cameras.values()
    assert camera.ok
    assert camera.last_frame_at is not None

    second = build_release(2, gain=0.9)
    publisher.add_release(second)
    publisher.desire(second.digest, probation_s=1.0)
    for number in range(150):
        device.feed(f"9-{number:03}.png", picture(*BAD, seed=number))
        time.sleep(0.02)
    wait_for(lambda: len(listener.results) >= 153, 40)
    names = [item["original_name"] for item in listener.results[3:]]
    assert names == [f"9-{number:03}.png" for number in range(150)]
    wait_for(lambda: reported().running_release == second.digest and reported().state == "running")
    assert {item["release_digest"] for item in listener.results[3:]} == {first.digest, second.digest}

    page = device.get("/")[1].decode()
    assert "dev1" in page
    assert second.digest[:12] in page
    assert device.get(f"/frames/{listener.results[-1]['capture_id']}.jpg")[1][:2] == b"\xff\xd8"
    assert device.stop() == 0
    loaded = {name.split(".")[0] for name in json.loads((device.folder / "modules.json").read_text())}
    assert "onnxruntime" in loaded
    assert loaded.isdisjoint(FORBIDDEN)
    wait_for(lambda: any(state["state"] == "offline" for state in listener.states))
    listener.close()
    log = (device.folder / "log").read_text()
    assert "Traceback" not in log
    assert seaweed.keys("dev1")["secret_key"] not in log


def test_a_release_that_fails_here_is_reported_and_the_line_goes_on(device, publisher, seaweed):
    """The real trial process refuses the release, and the report to the fleet says why."""
    device.start()
    first, wrong = build_release(1), build_release(2, golden_score=0.6)
    take(device, publisher, first)
    publisher.add_release(wrong)
    publisher.desire(wrong.digest)
    wait_for(lambda: device.status()["release"]["failed"].get(wrong.digest, "").startswith("golden-samples"), 30)
    assert device.status()["release"]["running"] == first.digest
    fleet = seaweed.store("admin")
    wait_for(lambda: "golden-samples" in json.loads(fleet.get("kizu-fleet", "dev1/reported.json"))["reason"])
    report = Reported.from_json(fleet.get("kizu-fleet", "dev1/reported.json"))
    assert report.failures[wrong.digest].reason.startswith("golden-samples: ")
    assert report.failures[wrong.digest].sequence == publisher.sequence


def test_a_candidate_judges_beside_the_release_until_its_order_ends(device, publisher, seaweed):
    """The device reports both, its disagreements go back, the line keeps its verdicts, and nothing stays behind."""
    device.start()
    first, candidate = build_release(1), build_candidate(2, gain=0.5)
    take(device, publisher, first)
    publisher.add_candidate(candidate)
    order = ShadowOrder(release_digest=candidate.digest, devices=("dev1",))
    publisher.desire(first.digest, probation_s=0.5, shadow=order)
    wait_for(lambda: (device.status()["shadow"] or {}).get("reason") == "", 60)
    fed = itertools.count()

    def judged_beside() -> bool:
        """While the candidate is busy, frames pass it by: feed until it has judged one."""
        number = next(fed)
        device.feed(f"{number}.png", picture(*BAD, seed=number))
        wait_for(lambda: device.status()["frames"]["today"] == {"fail": number + 1})
        return device.status()["shadow"]["frames"] >= 1

    wait_for(judged_beside, 30, every_s=1.0)
    admin = seaweed.store("admin")

    def captures():
        keys = [item.key for item in admin.list("kizu-raw") if item.key.endswith(".json")]
        return [Capture.from_json(admin.get("kizu-raw", key)) for key in keys]

    wait_for(lambda: any((item.shadow or item).release_digest == candidate.digest for item in captures()), 30)
    fleet = lambda: Reported.from_json(admin.get("kizu-fleet", "dev1/reported.json"))  # noqa: E731
    wait_for(lambda: (fleet().shadow or SHADOW_OF_NONE).disagreed >= 1, 30)
    assert fleet().running_release == first.digest
    page, metrics = device.get("/")[1].decode(), device.get("/metrics")[1].decode()
    assert candidate.digest[:12] in page
    assert f'kizu_shadow_frames_total{{digest="{candidate.digest}"}}' in metrics
    publisher.desire(first.digest, probation_s=0.5)
    wait_for(lambda: device.status()["shadow"] is None, 30)
    # Its files go a moment after the status says that there is no candidate.
    wait_for(lambda: list((device.folder / "state" / "shadow").iterdir()) == [], 30)
    assert device.stop() == 0


def test_a_kill_in_probation_boots_the_release_before_and_loses_no_frame(device, publisher, broker):
    """The agent is killed with -9 while frames wait in the folder."""
    listener = Listener(broker.port)
    device.start()
    first, second = build_release(1), build_release(2, gain=0.9)
    take(device, publisher, first)
    publisher.add_release(second)
    publisher.desire(second.digest, probation_s=600.0)
    wait_for(lambda: device.status()["release"]["phase"] == "probation", 30)
    for number in range(60):
        device.feed(f"{number:03}.png", picture(*BAD, seed=number))
    wait_for(lambda: len(listener.results) > 10)
    device.stop(signal.SIGKILL)
    device.start()
    status = device.status()["release"]
    assert status["running"] == first.digest
    assert "probation" in status["failed"][second.digest]
    wait_for(lambda: {item["original_name"] for item in listener.results} == {f"{n:03}.png" for n in range(60)})
    by_name = {}
    for item in listener.results:
        by_name.setdefault(item["original_name"], set()).add(item["capture_id"])
    assert all(len(ids) == 1 for ids in by_name.values())
    assert device.status()["frames"]["inspected"] == 60
    listener.close()


def test_a_device_inspects_without_a_network(tmp_path, seaweed, publisher):
    """Store and broker cannot be reached: frames are inspected, and everything for the network waits."""
    device = Device(tmp_path / "device", seaweed, publisher.root_bytes)
    try:
        device.start()
        take(device, publisher, build_release(1))
        assert device.stop() == 0
        config = yaml.safe_load(device.config.read_text())
        config["s3"]["endpoint"] = "http://127.0.0.1:1"
        config["mqtt"] = {"host": "127.0.0.1", "port": 1}
        device.config.write_text(yaml.safe_dump(config))
        device.start()
        for number in range(5):
            device.feed(f"{number}.png", picture(*DOUBTFUL, seed=number))
        wait_for(lambda: device.status()["frames"]["inspected"] == 5)
        status = device.status()
        assert status["outbox"]["waiting"]["result"] == status["outbox"]["waiting"]["uncertain"] == 5
        assert "127.0.0.1:1" in status["connections"]["s3"]
        assert status["ready"]
        assert device.stop() == 0
    finally:
        device.stop(signal.SIGKILL)


def test_a_second_agent_on_the_same_state_folder_refuses(device):
    """The second agent prints one readable line and exits with 1; the first goes on."""
    device.start()
    second = device.ask("run")
    assert second.returncode == 1
    assert "another agent runs on" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    assert device.answers()


def test_status_and_selftest_tell_the_truth(device, publisher, broker):
    """Status and self-test are right before the agent runs, while it runs, and after it."""
    asked = device.ask("status")
    assert (asked.returncode, "is it running?" in asked.stderr) == (1, True)
    test = device.ask("selftest")
    assert test.returncode == 0, test.stdout + test.stderr
    device.start()
    assert device.ask("status").returncode == 1  # running, but without a release
    take(device, publisher, build_release(1))
    asked = device.ask("status")
    assert (asked.returncode, json.loads(asked.stdout)["state"]) == (0, "running")
    assert device.stop() == 0
    test = device.ask("selftest")
    assert test.returncode == 0, test.stdout + test.stderr
    assert "reproduces 1 samples" in test.stdout
    broker.stop()
    (device.folder / "root.json").unlink()
    test = device.ask("selftest")
    assert test.returncode == 1
    failed = [line for line in test.stdout.splitlines() if line.startswith("FAILED")]
    assert [line.split(":")[0].removeprefix("FAILED").strip() for line in failed] == [
        "root metadata", "releases", "MQTT broker",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cameras": [{"source": "folder", "path": "nowhere"}]}, "camera camera to have a folder"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"s3": {"endpoint": "http://127.0.0.1:1", "credentials_file": "none.json"}}, "none.json"),
    ],
)
def test_a_wrong_configuration_ends_with_one_line(device, change, message):
    """The traceback is shown with --debug only."""
    config = yaml.safe_load(device.config.read_text()) | change
    device.config.write_text(yaml.safe_dump(config))
    ended = device.ask("run")
    assert ended.returncode == 1
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    traced = device.ask("run", "--debug")
    assert traced.returncode == 1
    assert "Traceback" in traced.stderr


def test_config_check_reads_and_starts_nothing(device):
    """A person who has just written the file can check it."""
    checked = device.ask("config", "check")
    assert checked.returncode == 0
    assert "device dev1 of group line1" in checked.stdout
    (device.folder / "credentials.json").chmod(0o644)
    checked = device.ask("config", "check")
    assert checked.returncode == 1
    assert "chmod 600" in checked.stderr
    assert not (device.folder / "state").exists()


def test_the_page_answers_only_to_its_own_names_and_escapes_what_it_shows(device, publisher):
    """DNS rebinding does not reach the page, and a file name is shown as text, not as markup."""
    device.start()
    take(device, publisher, build_release(1))
    device.feed("<img src=x onerror=alert(1)>.png", picture(*BAD))
    wait_for(lambda: device.status()["frames"]["inspected"] == 1)
    page = device.get("/")[1].decode()
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    assert device.get("/", host="evil.example")[0] == 421
    assert device.get("/status.json", host="evil.example:8090")[0] == 421
    assert device.get("/", host=f"localhost:{device.port}")[0] == 200
    assert device.get("/healthz", host="10.1.2.3")[0] == 200
    assert device.get("/frames/none.jpg")[0] == 404
    with urllib.request.urlopen(f"http://127.0.0.1:{device.port}/") as response:
        assert response.headers["content-security-policy"].startswith("default-src 'none'")
    assert os.stat(device.folder / "state" / "activation.json").st_mode & 0o077 == 0


def test_the_agent_is_small_and_soon_ready(device, publisher):
    """The bounds leave room for a busy machine; the goals are 250 MB and 3 s."""
    device.start()
    take(device, publisher, build_release(1))
    device.stop()
    began = time.monotonic()
    device.start()
    wait_for(lambda: device.get("/readyz")[0] == 200)
    took = time.monotonic() - began
    for number in range(50):
        device.feed(f"{number}.png", picture(*BAD, seed=number))
    wait_for(lambda: device.status()["frames"]["inspected"] == 50)
    status = Path(f"/proc/{device.process.pid}/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0]) // 1024
    print(f"ready after {took:.1f} s, {resident} MB resident")
    assert resident < 250
    assert took < 15
