"""The signer as `kizu up` starts it: its own process, its own environment, its keys replaced by the command."""

import subprocess
import sys
import time

import httpx
import pytest

from components.deployment import keys
from components.stores.releases.signer_client import SignerClient, SignerError
from deploy.access.identities import signer_token
from deploy.access.layout import REPOSITORY
from deploy.local.services import signer as signer_service


def test_a_signer_that_runs_takes_keys_over_and_serves_known_callers(s3):
    """`kizu keys rotate` beside it: within seconds the new roots are published, and it never stopped."""
    layout = s3.layout
    keys.init_once(layout.home / "root-key", layout.keys)
    store = s3.store("admin")
    for info in list(store.list("kizu-releases")):
        store.delete("kizu-releases", info.key)
    service = signer_service(layout)
    process = subprocess.Popen(service.command, env=dict(service.environment), cwd=REPOSITORY, stdin=subprocess.DEVNULL)
    try:
        wait_until(process, service.healthy)
        known = SignerClient(service.url, signer_token(layout, "reconciler"))
        assert known.desired_names() == []
        with pytest.raises(SignerError, match="401"):
            SignerClient(service.url, "guessed").desired_names()
        before = keys.load_root(layout.keys).signed.version
        subprocess.run(
            [sys.executable, "-m", "kizu", "keys", "rotate", "timestamp", "root"], cwd=REPOSITORY, check=True,
            env=dict(service.environment), stdout=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(process, lambda: store.exists("kizu-releases", f"metadata/{before + 2}.root.json"))
        wait_until(process, lambda: known.desired_names() == [])
        health = httpx.get(f"{service.url}/healthz", trust_env=False).json()
        assert health["status"] == "ok"
    finally:
        process.terminate()
        process.wait(20)


def wait_until(process, done):
    deadline = time.monotonic() + 60
    while not done():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
