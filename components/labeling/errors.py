"""What can go wrong in the labeling step.

LabelingError
├── LabelStudioError        Label Studio refused a request, or answered something unexpected
│   └── LabelStudioAway     it did not answer, or answered 5xx, after every attempt
└── BatchError              a batch document that is missing or malformed

A lease that another run holds or took over is `components.stores.objects.leases.LeaseError`.
"""

from __future__ import annotations


class LabelingError(RuntimeError):
    """The labeling step failed; running it again continues where it stopped."""


class LabelStudioError(LabelingError):
    """Label Studio refused a request; the message says which and what to do."""


class LabelStudioAway(LabelStudioError):
    """Label Studio did not answer, or answered with a server error, at every attempt."""


class BatchError(LabelingError):
    """A batch of images that is missing or does not have the expected form."""
