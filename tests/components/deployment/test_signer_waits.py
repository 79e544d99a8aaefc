"""A signer that starts before the store waits for it instead of ending."""

import logging

import pytest

from components.deployment.signer import composed_when_there
from components.stores.objects.s3 import AccessDenied, BucketNotFound, ObjectStoreError


class Clock:
    """Time passes only by sleeping."""

    def __init__(self):
        self.now_s = 0.0

    def sleep(self, seconds):
        self.now_s += seconds


def failing(*errors):
    """Something that composes the application after it raised these errors."""
    left = list(errors)

    def compose(_config):
        if left:
            raise left.pop(0)
        return "the application"

    return compose


def test_a_signer_waits_for_the_store_and_the_buckets_with_a_line_for_each_reason(caplog):
    """Name, connection and bucket come one after the other; the process does not end, and the log stays short."""
    caplog.set_level(logging.INFO)
    clock = Clock()
    away = [ObjectStoreError("no such host")] * 5 + [BucketNotFound("no bucket kizu-releases")] * 3
    app = composed_when_there(None, compose=failing(*away), sleep=clock.sleep, now=lambda: clock.now_s)
    assert app == "the application"
    assert clock.now_s == 8 * 5.0
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert "no such host" in warnings[0]
    assert "kizu-releases" in warnings[1]


def test_a_long_wait_is_told_again_once_a_minute(caplog):
    """A person who looks into the log later sees what it waits for."""
    clock = Clock()
    away = [ObjectStoreError("no such host")] * 25
    composed_when_there(None, compose=failing(*away), sleep=clock.sleep, now=lambda: clock.now_s)
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 3


def test_a_signer_whose_key_the_store_refuses_does_not_wait():
    """Time mends a missing bucket, but not a wrong key."""
    with pytest.raises(AccessDenied):
        composed_when_there(None, compose=failing(AccessDenied("wrong key")), sleep=lambda _: pytest.fail("it waits"))
