"""What people and programs beside the line may do to a running agent, and what they may not do."""

from __future__ import annotations

import json
import re
import signal
import threading

import pytest
import yaml

from edge_agent.web.guard import refusal
from edge_agent.web.texts import TEXTS, choose_language
from tests.edge_agent.models import BAD, GOOD, build_release, picture
from tests.edge_agent.running_agent import Browser, Device, objections, request, take, token_of
from tests.edge_agent.servers import wait_for


@pytest.fixture
def posted(tmp_path, seaweed, publisher, broker):
    """A device with a folder and an endpoint for images, of which two may wait for three seconds."""
    cameras = [
        {"name": "top", "source": "folder", "path": "camera", "poll_interval_s": 0.05, "settle_s": 0.0},
        {"name": "mes", "source": "http", "queue": 2, "timeout_s": 3.0, "max_bytes": 100_000},
    ]
    made = Device(tmp_path / "device", seaweed, publisher.root_bytes, broker, cameras=cameras)
    yield made
    made.stop(signal.SIGKILL)


def test_a_posted_image_is_answered_with_its_result(posted, publisher):
    """The answer is the message that goes to the line, and it comes after the result is on disk."""
    posted.start()
    take(posted, publisher, build_release(1))
    status, body, headers = request(posted, "POST", "/inspect?part_id=T-1&name=a.png", picture(*BAD))
    result = json.loads(body)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert (result["verdict"], result["part_id"], result["camera"]) == ("fail", "T-1", "mes")
    assert posted.status()["frames"]["inspected"] == 1
    posted.feed("b.png", picture(*GOOD))
    wait_for(lambda: posted.status()["frames"]["inspected"] == 2)


def test_what_is_no_image_or_too_much_is_refused_with_the_reason(posted, publisher):
    """A bad request is refused before it takes memory, and the next one is inspected."""
    posted.start()
    take(posted, publisher, build_release(1))
    assert request(posted, "POST", "/inspect", b"")[0] == 422
    assert request(posted, "POST", "/inspect", b"no image")[0] == 422
    status, body, _ = request(posted, "POST", "/inspect", picture(*GOOD)[:60])
    assert (status, body.split(b":")[0]) == (422, b"truncated")
    huge = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0" + b"\0" * 4
    status, body, _ = request(posted, "POST", "/inspect", huge)
    assert (status, body.split(b":")[0]) == (422, b"too-large")
    assert request(posted, "POST", "/inspect", b"\xff\xd8\xff" + b"\0" * 100_000)[0] == 413
    in_pieces = iter([b"\xff\xd8\xff", b"\0" * 100_000])  # sent in chunks, without an announced length
    assert request(posted, "POST", "/inspect", in_pieces)[0] == 413
    assert request(posted, "GET", "/inspect")[0] == 405
    assert request(posted, "POST", "/inspect", picture(*GOOD))[0] == 200


def test_a_full_queue_says_so_and_what_waits_too_long_is_not_inspected(posted, publisher):
    """Without a release two images wait and get no verdict, and the third is refused."""
    posted.start()
    answers: list[int] = []
    senders = [
        threading.Thread(target=lambda: answers.append(request(posted, "POST", "/inspect", picture(*GOOD))[0]))
        for _ in range(3)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert sorted(answers) == [429, 503, 503]
    take(posted, publisher, build_release(1))
    assert request(posted, "POST", "/inspect", picture(*GOOD))[0] == 200
    assert posted.status()["frames"]["inspected"] == 1


def test_from_elsewhere_an_image_needs_the_token(posted, publisher):
    """A request through a proxy on this machine does not count as local."""
    posted.start()
    take(posted, publisher, build_release(1))
    data = picture(*GOOD)
    assert request(posted, "POST", "/inspect", data, X_Forwarded_For="10.0.0.9")[0] == 401
    bearer = {"X_Forwarded_For": "10.0.0.9", "Authorization": f"Bearer {token_of(posted)}"}
    assert request(posted, "POST", "/inspect", data, **bearer)[0] == 200
    assert request(posted, "POST", "/inspect", data, Origin="http://elsewhere.example")[0] == 403


def test_without_an_http_camera_there_is_no_endpoint(device):
    """The endpoint exists only where a camera of source http is configured."""
    device.start()
    assert request(device, "POST", "/inspect", picture(*GOOD))[0] == 404


def test_a_wrong_verdict_goes_back_as_an_objection_once(device, publisher, seaweed):
    """An objection needs a session, its csrf mark, and a form of this page."""
    device.start()
    take(device, publisher, build_release(1))
    device.feed("1.png", picture(*GOOD, seed=77))
    wait_for(lambda: device.status()["frames"]["inspected"] == 1)
    before = len(objections(seaweed))
    page = request(device, "GET", "/")[1].decode()
    path = re.search(r"/frames/([0-9a-f]{32})\.jpg", page)[0].replace(".jpg", "/objection")
    browser = Browser(device)
    assert browser.post(path, {})[0] == 403
    status, headers = browser.sign_in("not the token")
    assert (status, "set-cookie" in headers) == (403, False)
    status, headers = wait_for(lambda: (got := browser.sign_in(token_of(device)))[0] == 303 and got)
    assert "httponly" in headers["set-cookie"].lower()
    assert "samesite=strict" in headers["set-cookie"].lower()
    csrf = browser.csrf()
    assert browser.post(path, {})[0] == 403
    assert browser.post(path, {"csrf": "0" * 64})[0] == 403
    assert browser.post(path, {"csrf": csrf}, Origin="http://elsewhere.example")[0] == 403
    assert browser.post(path, {"csrf": csrf}, **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    for _ in range(2):
        assert browser.post(path, {"csrf": csrf}, Origin=f"http://127.0.0.1:{device.port}")[0] == 303
    wait_for(lambda: len(objections(seaweed)) == before + 1)
    assert objections(seaweed)[-1].verdict == "pass"
    assert browser.post("/sign-out", {"csrf": csrf})[0] == 303
    assert browser.post(path, {"csrf": csrf})[0] == 403


def test_roll_back_and_pin_from_the_command_while_it_runs_and_while_it_does_not(device, publisher):
    """The commands follow the same rule and say the same in both cases."""
    device.start()
    first, second = build_release(1), build_release(2)
    take(device, publisher, first)
    take(device, publisher, second, sequence=2)
    asked = device.ask("rollback")
    assert (asked.returncode, asked.stdout) == (0, f"release {first.digest[:12]} runs\n"), asked.stderr
    assert device.status()["release"]["running"] == first.digest
    wait_for(lambda: "rolled back by the operator" in device.status()["release"]["reason"])
    asked = device.ask("rollback")
    assert (asked.returncode, "no earlier release" in asked.stderr) == (1, True)
    asked = device.ask("rollback", "--leave", second.digest)
    assert (asked.returncode, f"release {first.digest[:12]} runs now" in asked.stderr) == (1, True)
    assert device.ask("pin").stdout == f"release {first.digest[:12]} runs, pinned\n"
    publisher.desire(second.digest, sequence=3)
    wait_for(lambda: device.status()["release"]["reason"].startswith("pinned"))
    assert device.stop() == 0
    assert device.ask("unpin").stdout == f"release {first.digest[:12]} runs at the next start\n"
    device.start()
    wait_for(lambda: device.status()["release"]["running"] == second.digest, 30)
    wait_for(lambda: device.status()["release"]["phase"] == "idle", 30)
    assert device.stop() == 0
    asked = device.ask("rollback")
    assert asked.stdout == f"release {first.digest[:12]} runs at the next start\n"
    unknown = device.ask("pin", "a" * 64)
    assert (unknown.returncode, "kept on this device" in unknown.stderr) == (1, True)
    device.start()
    assert device.status()["release"]["running"] == first.digest


def test_the_form_names_the_release_that_it_leaves_and_a_second_press_changes_nothing(device, publisher):
    """Three releases are on the device; pressed twice, the form goes back once and not on to the factory release."""
    device.start()
    first, second, third = (build_release(number) for number in (1, 2, 3))
    for sequence, built in enumerate((first, second, third), 1):
        take(device, publisher, built, sequence=sequence)
    browser = Browser(device)
    browser.sign_in(token_of(device))
    page = request(device, "GET", "/rollback", Cookie=browser.cookie)[1].decode()
    fields = dict(re.findall(r'name="(csrf|leaves)" value="([0-9a-f]+)"', page))
    assert fields["leaves"] == third.digest
    assert browser.post("/rollback", {"csrf": fields["csrf"]})[0] == 400
    assert browser.post("/rollback", fields)[0] == 303
    status, body, headers = browser.post("/rollback", fields)
    assert (status, headers["refresh"]) == (409, "0; url=/?said=left_already")
    assert f"release {second.digest[:12]} runs now" in body.decode()
    assert device.status()["release"]["running"] == second.digest


def test_a_token_that_others_may_read_is_refused_at_the_start(device):
    """The agent does not start with a token that other users may read."""
    token = device.folder / "operator.token"
    token.write_text("a-token-that-is-long-enough\n")
    device.config.write_text(device.config.read_text() + "\n")
    config = yaml.safe_load(device.config.read_text())
    config["page"]["token_file"] = "operator.token"
    device.config.write_text(yaml.safe_dump(config))
    token.chmod(0o644)
    asked = device.ask("run")
    assert (asked.returncode, "chmod 600" in asked.stderr) == (1, True)
    token.chmod(0o600)
    device.start()
    assert Browser(device).sign_in("a-token-that-is-long-enough")[0] == 303
    device.stop()
    assert "a-token-that" not in (device.folder / "log").read_text()


def test_metrics_are_what_prometheus_reads(posted, publisher):
    """The parser of Prometheus reads verdicts, the outbox, the release and the times."""
    from prometheus_client.parser import text_string_to_metric_families

    posted.start()
    take(posted, publisher, build_release(1))
    for kind in (GOOD, BAD):
        assert request(posted, "POST", "/inspect", picture(*kind))[0] == 200
    text = request(posted, "GET", "/metrics")[1].decode()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found[("kizu_frames_total",)] == 2
    assert (found[("kizu_verdicts_total", "pass")], found[("kizu_verdicts_total", "fail")]) == (1, 1)
    assert found[("kizu_inference_seconds_count",)] == 2
    assert found[("kizu_ready",)] == 1
    assert any(key[0] == "kizu_release_info" for key in found)
    assert ("kizu_outbox_items", "objection") in found


HOSTS = frozenset({"localhost", "edge.plant"})


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"host": "localhost:8090"}, None),
        ("GET", {"host": "EDGE.plant"}, None),
        ("GET", {"host": "10.1.2.3:8090"}, None),
        ("GET", {"host": "[::1]:8090"}, None),
        ("GET", {"host": "elsewhere.example"}, 421),
        ("GET", {"host": "10.1.2.3.example"}, 421),
        ("GET", {}, 421),
        ("POST", {"host": "localhost:8090"}, None),
        ("POST", {"host": "localhost:8090", "origin": "http://localhost:8090"}, None),
        ("POST", {"host": "localhost:8090", "origin": "http://localhost:9999"}, 403),
        ("POST", {"host": "localhost:8090", "origin": "null"}, 403),
        ("POST", {"host": "localhost:8090", "sec-fetch-site": "cross-site"}, 403),
        ("POST", {"host": "localhost:8090", "sec-fetch-site": "same-site"}, 403),
        ("POST", {"host": "localhost:8090", "sec-fetch-site": "none"}, None),
    ],
)
def test_who_is_let_in(method, headers, status):
    """A request under an unknown name, or from another site, is refused."""
    refused = refusal(method, headers, HOSTS)
    assert (refused and refused[0]) == status


def test_both_languages_say_everything():
    """No text is missing, none is empty, and none is left in English."""
    assert set(TEXTS["en"]) == set(TEXTS["ja"])
    assert all(text.strip() for texts in TEXTS.values() for text in texts.values())
    same = {key for key in TEXTS["en"] if TEXTS["en"][key] == TEXTS["ja"][key]}
    assert same == {"s3"}


@pytest.mark.parametrize(
    ("configured", "accepted", "wanted"),
    [("auto", "", "en"), ("auto", "ja-JP,en;q=0.9", "ja"), ("auto", "de,en;q=0.3,ja;q=0.8", "ja"), ("ja", "en", "ja"),
     ("auto", "fr", "en"), ("en", "ja", "en"), ("auto", "ja;q=x", "en"), ("auto", "ja;q=0", "en")],
)  # fmt: skip
def test_the_language_is_what_the_browser_likes_best(configured, accepted, wanted):
    """A configured language wins over the browser's."""
    assert choose_language(configured, accepted) == wanted
