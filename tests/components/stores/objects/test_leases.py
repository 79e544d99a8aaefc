"""One holder at a time, on the real store, with a clock of the test's own."""

from __future__ import annotations

import json
import threading
import uuid

import pytest

from components.stores.objects.leases import Lease, LeaseError, LeaseRules, hold

RULES = LeaseRules(ttl_s=10.0, patience_s=3.0, poll_s=1.0)


class Clock:
    """Sleeping moves it on."""

    def __init__(self):
        self.time = 1000.0

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.time += seconds


@pytest.fixture
def place(s3):
    return s3.store("labeling"), "kizu-state", "labeling", f"lease-{uuid.uuid4().hex[:8]}"


def held(place, clock, rules=RULES):
    return hold(*place, rules, now=clock.now, sleep=clock.sleep)


def test_a_free_lease_is_taken_and_given_back(place):
    """A free lease is taken and given back, and each new holder has the next generation."""
    clock = Clock()
    with held(place, clock) as first:
        pass
    with held(place, clock) as second:
        assert second.generation == first.generation + 1


def test_the_second_waits_and_then_says_who_is_at_work(place):
    """A second run waits for `patience_s`, then raises an error that names the labeling run."""
    clock = Clock()
    with held(place, clock), pytest.raises(LeaseError, match="another labeling run"), held(place, clock):
        pass


def test_a_holder_that_died_is_followed_after_its_time(place):
    """A lease that has expired is taken over, and its former holder fails to renew it."""
    clock = Clock()
    dead = Lease(place[0], place[1], f"leases/labeling/{place[3]}/", "dead", RULES, clock.now)
    assert dead.try_acquire()
    clock.time += RULES.ttl_s + 1
    with held(place, clock), pytest.raises(LeaseError, match="took over"):
        dead.renew()


def test_a_holder_that_renews_keeps_it(place):
    """A holder that renews in time keeps the lease beyond its first term."""
    clock = Clock()
    with held(place, clock) as lease:
        for _ in range(4):
            clock.time += RULES.ttl_s * 0.8
            lease.renew()
        with pytest.raises(LeaseError), held(place, clock):
            pass


def test_of_many_at_once_one_wins(place):
    """Of eight threads one takes a free lease, and again one takes it each time it has expired."""
    clock = Clock()
    for _ in range(3):
        barrier = threading.Barrier(8)
        won = []

        def take(barrier=barrier, won=won):
            lease = Lease(place[0], place[1], f"leases/labeling/{place[3]}/", "x", RULES, clock.now)
            barrier.wait()
            if lease.try_acquire():
                won.append(lease.generation)

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        clock.time += RULES.ttl_s + 1


def older_lease(place, number, expires_at):
    """The object of one tenure, as Kizu 0.1 wrote it."""
    body = json.dumps({"schema_version": 1, "holder": "older", "expires_at": expires_at}).encode()
    place[0].put(place[1], f"leases/labeling/{place[3]}/{number:09d}.json", body)


def test_a_holder_of_version_0_1_is_respected_until_it_expires(place):
    """Of several objects the one with the highest number is the lease."""
    clock = Clock()
    older_lease(place, 4, clock.time - 1)
    older_lease(place, 5, clock.time + RULES.ttl_s)
    with pytest.raises(LeaseError), held(place, clock):
        pass
    clock.time += RULES.ttl_s
    with held(place, clock) as lease:
        assert lease.generation == 6


def test_a_holder_that_version_0_1_passed_over_stops(place):
    """Version 0.1 makes the object with the next number and removes those below it."""
    clock = Clock()
    with held(place, clock) as lease:
        clock.time += RULES.ttl_s + 1
        older_lease(place, 2, clock.time + RULES.ttl_s)
        place[0].delete(place[1], f"leases/labeling/{place[3]}/{1:09d}.json")
        with pytest.raises(LeaseError, match="took over"):
            lease.renew()
    with pytest.raises(LeaseError), held(place, clock):
        pass


def test_version_0_1_sees_the_holder_of_this_version(place):
    """The lease has the form that version 0.1 reads: `expires_at` in the object with the highest number."""
    clock = Clock()
    with held(place, clock):
        (info,) = place[0].list(place[1], f"leases/labeling/{place[3]}/")
        assert json.loads(place[0].get(place[1], info.key))["expires_at"] == clock.time + RULES.ttl_s
        assert info.key.endswith("/000000001.json")
    assert json.loads(place[0].get(place[1], info.key))["expires_at"] == 0.0


@pytest.mark.parametrize("damaged", [b"", b"{}", b"[]", b'{"expires_at": "soon"}'])
def test_a_lease_that_cannot_be_read_counts_as_free(place, damaged):
    """Nobody could renew it, and it would block all runs for good."""
    place[0].put(place[1], f"leases/labeling/{place[3]}/{1:09d}.json", damaged)
    with held(place, Clock()) as lease:
        lease.renew()
