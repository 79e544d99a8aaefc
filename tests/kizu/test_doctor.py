"""`kizu doctor` against the real servers: it passes where all is well, and prints one line for each fault."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.stores.raw_images.images import RawImages
from deploy.access.buckets import ensure_on_this_machine
from inspection.documents import Capture, Reason
from inspection.image import sha256_of
from kizu.doctor import diagnose

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(stack):
    """The settings of labeling's process, and the signer's address."""
    settings = stack.settings("labeling")
    with stack.acting_as("labeling"):
        yield settings.model_copy(update={"signer_url": stack.layout.signer_url})


def failed(config, **changes):
    """The failed checks: the name of each, and what it says."""
    findings = list(diagnose(config.model_copy(update=changes), timeout_s=30.0))
    assert len(findings) == 12
    return {finding.check: finding.said for finding in findings if not finding.ok}


def test_a_healthy_installation_passes_every_check(config):
    """Every check passes on a healthy installation with real servers."""
    assert failed(config) == {}


def test_the_command_says_one_line_a_check(stack):
    """The command prints one line per check, and no secret; it exits with 0 only where all is well."""
    run = [sys.executable, "-m", "kizu", "doctor"]
    environment = stack.environment("labeling") | {"COLUMNS": "200"}
    ports = {"KIZU_PORT_SIGNER": str(stack.layout.ports.signer)}
    good = subprocess.run(run, cwd=REPOSITORY, env=environment | ports, capture_output=True, text=True, timeout=120)
    assert good.returncode == 0, good.stdout + good.stderr
    assert [line[:6] for line in good.stdout.splitlines()] == ["ok    "] * 12
    bad = subprocess.run(
        run, cwd=REPOSITORY, env=environment | ports | {"LABEL_STUDIO_API_KEY": "x" * 40},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert bad.returncode == 1
    (line,) = [line for line in bad.stdout.splitlines() if line.startswith("FAILED")]
    assert "LABEL_STUDIO_API_KEY" in line
    secrets = [value for name, value in environment.items() if "KEY" in name and "ID" not in name]
    assert secrets
    assert not any(secret in good.stdout + bad.stdout for secret in secrets)


def test_the_command_lists_images_that_belong_to_no_product_or_to_two(stack, tmp_path):
    """It reads the sources of each use case file that it is given; without one, it asks nothing of the kind."""
    device = f"cam-{uuid.uuid4().hex[:8]}"
    data = cv2.imencode(".png", np.random.default_rng().integers(0, 255, (16, 16, 3), np.uint8))[1].tobytes()
    at = datetime(2026, 1, 1, tzinfo=UTC)
    capture = Capture(
        capture_id="1", sha256=sha256_of(data), device=device, camera="top", captured_at=at, reason=Reason.INITIAL
    )
    RawImages(stack.store("importer"), "kizu-raw").put(data, capture, site="plant")

    def run(sources):
        files = []
        for name, pattern in sources.items():
            file = tmp_path / f"{name}.yaml"
            file.write_text(
                f"name: {name}\nclasses: [scratch]\nlabeling: {{instructions: x}}\nsources: ['{pattern}']\n"
                "gates: {min_map50: 0.1, max_escape_rate: 1.0, max_overkill_rate: 1.0}\n"
            )
            files += ["-u", str(file)]
        done = subprocess.run(
            [sys.executable, "-m", "kizu", "doctor", *files], cwd=REPOSITORY, capture_output=True, text=True,
            timeout=120, env=stack.environment("labeling") | {"KIZU_PORT_SIGNER": str(stack.layout.ports.signer)},
        )  # fmt: skip
        return done.returncode, [line for line in done.stdout.splitlines() if "belongs to one use case" in line]

    assert run({}) == (0, [])
    code, (line,) = run({"tags": "plant/cam-*", "discs": "plant/*"})
    assert (code, line[:6]) == (1, "FAILED")
    assert f"1 images of plant/{device}: discs and tags" in line
    code, (line,) = run({"tags": "elsewhere/*", "discs": "nowhere/*"})
    assert (code, f"1 images of plant/{device}: no use case" in line) == (1, True)
    code, (line,) = run({"tags": "*/*"})
    assert (code, line[:6]) == (0, "ok    ")


AWAY = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("changes", "checks", "word"),
    [
        ({"label_studio_api_key": "x" * 40}, ["Label Studio"], "LABEL_STUDIO_API_KEY"),
        ({"label_studio_url": AWAY, "label_studio_public_url": "LS"}, ["Label Studio"], "is it running"),
        ({"mlflow_tracking_uri": AWAY}, ["MLflow"], "is it running"),
        ({"mlflow_tracking_uri": None}, ["MLflow"], "MLFLOW_TRACKING_URI"),
        ({"signer_url": AWAY}, ["signer"], "is it running"),
        (
            {"label_studio_s3_secret_access_key": "wrong"},
            ["a picture's signed URL opens"],
            "LABEL_STUDIO_S3_SECRET_ACCESS_KEY",
        ),
        (
            {"label_studio_public_url": "http://labels.example:8080"},
            ["S3 lets Label Studio's pages show pictures (CORS)"],
            "--allow-origin http://labels.example:8080",
        ),
        ({"s3_public_endpoint": AWAY}, ["a picture's signed URL opens"], "is it running"),
    ],
)
def test_each_fault_is_found_and_said_with_what_to_do(config, stack, changes, checks, word):
    """A fault fails the check that it concerns, and the finding says what to do; checks of other things still pass."""
    if changes.get("label_studio_public_url") == "LS":
        changes = changes | {"label_studio_public_url": stack.layout.label_studio_url}
    from pydantic import SecretStr

    changes = {k: SecretStr(v) if k.endswith("key") and v else v for k, v in changes.items()}
    found = failed(config, **changes)
    assert set(checks) <= set(found)
    assert word in found[checks[0]]
    others = {"S3 answers this identity", "bucket kizu-raw", "bucket kizu-labels", "bucket kizu-state"}
    assert not others & set(found)


def test_buckets_that_are_not_there_and_a_key_that_is_not_known_are_told_apart(config):
    """A wrong bucket prefix fails the buckets and not the identity; an unknown key fails the identity."""
    missing = failed(config, bucket_prefix="nowhere-")
    assert {"bucket nowhere-raw", "bucket nowhere-labels", "bucket nowhere-state"} <= set(missing)
    assert "S3 answers this identity" not in missing
    unknown = failed(config, access_key_id="nobody")
    assert "AWS_ACCESS_KEY_ID" in unknown["S3 answers this identity"]


class _KeepsNoCondition(BaseHTTPRequestHandler):
    """A store that writes whatever the condition of a write says."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_error(501)

    do_HEAD = do_OPTIONS = do_GET

    def log_message(self, *_: object) -> None:
        pass


def test_a_store_that_ignores_the_condition_of_a_write_is_refused(config):
    """On such a store two runs at once would both hold a claim, so the check fails and says why."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _KeepsNoCondition) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            found = failed(config, s3_endpoint=f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()
    assert "both hold a claim" in found["S3 keeps the condition of a write"]


def test_rules_that_somebody_changed_are_found_and_the_installer_brings_them_back(config, stack):
    """A missing CORS rule, one for every origin, and suspended versioning are found, and the installer fixes them."""
    client = stack.store("admin")._client
    raw = config.bucket("raw")
    ours, others = "S3 lets Label Studio's pages show pictures (CORS)", "S3 lets no other page read them (CORS)"
    try:
        client.delete_bucket_cors(Bucket=raw)
        assert set(failed(config)) == {ours}
        rule = {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"], "AllowedHeaders": ["*"]}
        client.put_bucket_cors(Bucket=raw, CORSConfiguration={"CORSRules": [rule]})
        assert set(failed(config)) == {others}
        ensure_on_this_machine(stack.layout)
        client.put_bucket_versioning(Bucket=raw, VersioningConfiguration={"Status": "Suspended"})
        assert set(failed(config)) == {f"{raw} keeps versions"}
    finally:
        ensure_on_this_machine(stack.layout)
    assert failed(config) == {}
