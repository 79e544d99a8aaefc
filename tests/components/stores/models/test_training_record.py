"""The limits of a healthy picture travel in the record of a training."""

from __future__ import annotations

import json

import pytest

from components.stores.models.training_record import picture_limits_of, with_picture_limits
from inspection.codec import DocumentError
from inspection.picture import PictureLimits

LIMITS = PictureLimits(brightness_low=60.5, brightness_high=210.0, contrast_low=20.0, sharpness_low=50.25, pictures=80)


def test_what_the_training_measured_is_what_the_signer_reads():
    """Also beside a loss that is not finite; the rest of the record stays as it is."""
    record = with_picture_limits({"epochs_run": 2, "last_epoch": {"loss": float("nan")}}, LIMITS)
    assert record["epochs_run"] == 2
    assert picture_limits_of(json.dumps(record).encode()) == LIMITS
    assert picture_limits_of(json.dumps(with_picture_limits({}, None)).encode()) is None


def test_a_record_of_an_earlier_version_has_no_limits():
    """Its release has only what a device knows alone."""
    assert picture_limits_of(b'{"schema_version": 1, "epochs_run": 2}') is None


@pytest.mark.parametrize(
    "record", [b"", b"[]", b'{"picture_limits": 1}', b'{"picture_limits": {"brightness_low": 300}}']
)
def test_a_damaged_record_is_refused(record):
    """A release without its limits must not go out in silence."""
    with pytest.raises(DocumentError):
        picture_limits_of(record)
