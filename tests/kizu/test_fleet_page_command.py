"""`kizu fleet-page` as a process, with servers that are away."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import httpx

from tests.components.servers import free_port
from tests.kizu.command_line import REPOSITORY, assert_is_an_error_in_one_line, kizu

AWAY = "http://127.0.0.1:9"


def test_the_page_serves_while_every_other_server_is_away(tmp_path):
    """It starts, lets nobody in, says that the fleet was not read, and ends at SIGTERM; no secret is in its log."""
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"], "KIZU_S3_ENDPOINT": AWAY, "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "s3cr3t", "MLFLOW_TRACKING_URI": AWAY, "KIZU_SIGNER_URL": AWAY,
        "KIZU_SIGNER_TOKEN": "t0k3n", "KIZU_PORT_FLEET_PAGE": str(port), "KIZU_FLEET_PAGE_DATA": str(tmp_path / "new"),
    }  # fmt: skip
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "kizu", "fleet-page"], cwd=REPOSITORY, env=environment, stdout=stream, stderr=stream
        )
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            try:
                alive = httpx.get(f"{url}/livez", trust_env=False, timeout=5)
                break
            except httpx.TransportError:
                time.sleep(0.05)
        assert alive.status_code == 200
        assert httpx.get(f"{url}/healthz", trust_env=False, timeout=5).status_code == 503
        assert "kizu_fleet_read_ok 0" in httpx.get(f"{url}/metrics", trust_env=False, timeout=5).text
        answer = httpx.post(
            f"{url}/sign-in", data={"account": "hanako", "password": "my-password"}, trust_env=False, timeout=30
        )
        assert answer.status_code == 503
    finally:
        process.terminate()
        assert process.wait(30) in (0, -15, 143)
    text = log.read_text()
    assert "the fleet cannot be read" in text
    assert not any(secret in text for secret in ("s3cr3t", "t0k3n", "my-password"))


def test_without_a_folder_for_its_history_the_page_says_what_is_missing(tmp_path):
    """A missing setting is one line that names it."""
    environment = {
        "KIZU_S3_ENDPOINT": AWAY, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "MLFLOW_TRACKING_URI": AWAY,
        "KIZU_SIGNER_URL": AWAY, "KIZU_SIGNER_TOKEN": "t",
    }  # fmt: skip
    assert_is_an_error_in_one_line(kizu("fleet-page", home=tmp_path, **environment), "KIZU_FLEET_PAGE_DATA")
    file = tmp_path / "file"
    file.write_text("")
    environment["KIZU_FLEET_PAGE_DATA"] = str(file)
    assert_is_an_error_in_one_line(kizu("fleet-page", home=tmp_path, **environment), "KIZU_FLEET_PAGE_DATA")
