"""What was measured of the pictures of a training travels in its record."""

from __future__ import annotations

import json

import pytest

from components.stores.models.training_record import MeasuredPictures, pictures_of, with_pictures
from inspection.codec import DocumentError
from inspection.drift import count_pictures
from inspection.picture import PictureLimits, PictureMeasure

LIMITS = PictureLimits(brightness_low=60.5, brightness_high=210.0, contrast_low=20.0, sharpness_low=50.25, pictures=80)
COUNTS = count_pictures([PictureMeasure(brightness=100.0, contrast=30.0, sharpness=55.0)] * 80)


def test_what_the_training_measured_is_what_the_signer_reads():
    """Also beside a loss that is not finite; the rest of the record stays as it is."""
    record = with_pictures({"epochs_run": 2, "last_epoch": {"loss": float("nan")}}, LIMITS, COUNTS)
    assert record["epochs_run"] == 2
    assert pictures_of(json.dumps(record).encode()) == MeasuredPictures(picture_limits=LIMITS, picture_counts=COUNTS)
    assert pictures_of(json.dumps(with_pictures({}, None, None)).encode()) == MeasuredPictures()


def test_a_record_of_an_earlier_version_has_no_limits():
    """Its release has only what a device knows alone."""
    assert pictures_of(b'{"schema_version": 1, "epochs_run": 2}') == MeasuredPictures()


@pytest.mark.parametrize(
    "record", [b"", b"[]", b'{"picture_limits": 1}', b'{"picture_limits": {"brightness_low": 300}}']
)
def test_a_damaged_record_is_refused(record):
    """A release without its limits must not go out in silence."""
    with pytest.raises(DocumentError):
        pictures_of(record)
