"""What the signer does unasked, and whether others learn when it fails."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from components.deployment.callers import Callers
from components.deployment.keys import init
from components.deployment.rotation import replace_keys
from components.deployment.signer import Signer, make_app
from components.deployment.upkeep import RENEW_EVERY_S, RETRY_EVERY_S, Upkeep

NOW = datetime(2030, 4, 1, tzinfo=UTC)


class Repository:
    """A repository that fails when told to, and counts."""

    def __init__(self):
        self.renewals, self.error, self.roots = 0, None, []
        self.ends = {"root": NOW + timedelta(days=400), "timestamp": NOW + timedelta(days=7)}

    def _fail(self):
        if self.error:
            raise self.error

    def use_keys(self, keys):
        self._fail()
        self.roots.append(keys.newest.signed.version)

    def renew(self):
        self.renewals += 1
        self._fail()
        return False

    def expiries(self):
        return self.ends


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.s = 0.0

    def __call__(self):
        return self.s


@pytest.fixture
def repository():
    return Repository()


@pytest.fixture
def clock():
    return Clock()


def get(upkeep, path) -> httpx.Response:
    async def ask():
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(make_app(Signer(None, None), Callers(()), upkeep)), base_url="http://s"
        ) as s:
            return await s.get(path)

    return asyncio.run(ask())


def healthz(upkeep) -> httpx.Response:
    return get(upkeep, "/healthz")


def test_health_is_red_while_renewals_fail_and_green_again_after(repository, clock):
    """A failed renewal is tried again after a minute, and not after an hour."""
    upkeep = Upkeep(repository, monotonic=clock, now=lambda: NOW)
    upkeep.look()
    assert healthz(upkeep).status_code == 200
    repository.error = OSError("the store is away")
    clock.s += RENEW_EVERY_S
    upkeep.look()
    answer = healthz(upkeep)
    assert answer.status_code == 503
    assert "could not be renewed: the store is away" in answer.json()["error"]
    assert get(upkeep, "/livez").status_code == 200
    repository.error = None
    clock.s += RETRY_EVERY_S
    upkeep.look()
    assert healthz(upkeep).status_code == 200
    assert repository.renewals == 3


def test_health_is_red_when_the_looking_itself_has_stopped(repository, clock):
    """Whatever ended it: nothing that is not looked at is called well."""
    upkeep = Upkeep(repository, monotonic=clock, now=lambda: NOW)
    upkeep.look()
    clock.s += RENEW_EVERY_S + 1
    assert "no look" in healthz(upkeep).json()["error"]


def test_health_is_red_once_something_has_expired(repository, clock):
    """Devices refuse everything below an expired root, though every renewal works."""
    repository.ends["root"] = NOW
    upkeep = Upkeep(repository, monotonic=clock, now=lambda: NOW)
    upkeep.look()
    assert healthz(upkeep).json()["error"] == "the root metadata expired at 2030-04-01 00:00 UTC"


def test_metrics_say_when_each_role_expires(repository, clock):
    """In the form that Prometheus reads."""
    upkeep = Upkeep(repository, monotonic=clock, now=lambda: NOW)
    upkeep.look()
    text = get(upkeep, "/metrics").text
    assert "kizu_signer_ok 1\n" in text
    ends = (NOW + timedelta(days=400)).timestamp()
    assert f'kizu_signer_metadata_expires_seconds{{role="root"}} {ends:.0f}\n' in text


def test_rotated_keys_are_taken_over_at_the_next_look(repository, clock, tmp_path):
    """Once, and again after a failure: until it works, health is red."""
    init(tmp_path / "root", tmp_path / "signer")
    upkeep = Upkeep(repository, tmp_path / "signer", monotonic=clock, now=lambda: NOW)
    upkeep.look()
    assert repository.roots == []
    replace_keys(["timestamp"], tmp_path / "root", tmp_path / "signer", revoke=False, now=NOW)
    repository.error = OSError("the store is away")
    upkeep.look()
    assert "new keys are not taken over: the store is away" in upkeep.health().said
    repository.error = None
    upkeep.look()
    upkeep.look()
    assert repository.roots == [3]
    assert upkeep.health().ok
