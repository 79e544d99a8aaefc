"""The errors of a device.

    EdgeError
    ├── ConfigError          the configuration file, the environment or a file it names
    ├── CalibrationError     a picture that no scale can be found from
    ├── StateError           the state folder: locked, damaged, full
    │   ├── DamagedState         a file of the state folder is damaged
    │   ├── Unwritable           the state folder cannot be written now: full, read-only, or without rights
    │   └── AlreadyLeft          a rollback that was given twice
    ├── SourceError          the camera
    │   └── SourceEnded          a film that was shown to its end
    ├── InferenceError       the model
    │   └── BackendUnavailable   the configured runtime
    ├── StoreError           the object store
    │   ├── ObjectNotFound
    │   ├── AccessDenied
    │   ├── StoreRefuses
    │   └── StoreUnavailable
    ├── Interrupted          a download or a trial was ended from outside; nothing is known about the release
    └── UpdateError          a release that is not taken; `reason` is a fixed word for the device report

Foreign exceptions are wrapped once, in the module that calls the foreign library.
"""

from __future__ import annotations

import errno
from typing import Final

STORAGE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM})
"""Errors of a disk that cannot be written at present; no single file is at fault."""


class EdgeError(Exception):
    """Base of all errors of the device; the message is for the operator."""


class ConfigError(EdgeError):
    """The configuration is missing or wrong; the message names the key."""


class CalibrationError(EdgeError):
    """A picture does not tell how many millimetres a pixel has; the message says why, and how to take a better one."""


class StateError(EdgeError):
    """The state folder cannot be used as it is."""


class DamagedState(StateError):
    """A file of the state folder is damaged; reason: a fixed word, such as `empty`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Unwritable(StateError):
    """The state folder cannot be written at present: it is full, read-only, or belongs to somebody else."""


class AlreadyLeft(StateError):
    """A rollback named a release that no longer runs: the command was given twice."""


class SourceError(EdgeError):
    """A camera delivers no frame, or its frames cannot be put away."""


class SourceEnded(SourceError):
    """A camera that is a film has shown its last picture. It gives no other, however often it is opened."""


class InferenceError(EdgeError):
    """A model cannot be loaded, or fails while running."""


class BackendUnavailable(InferenceError):
    """The runtime is not installed here or does not take the model; another one may."""


class StoreError(EdgeError):
    """A request to the object store failed."""


class ObjectNotFound(StoreError):
    """The object or the bucket does not exist."""


class AccessDenied(StoreError):
    """The identity of this device has no right to do that."""


class StoreRefuses(StoreError):
    """The store answers that it does not take this request, such as a key that is too long; others it may take."""


class StoreUnavailable(StoreError):
    """The store cannot be reached, or does not answer as an S3 store does; a later try may succeed."""


class Interrupted(EdgeError):
    """A download or a trial was ended from outside: the agent stops, or an operator gave a command."""


class UpdateError(EdgeError):
    """A release or its metadata was refused, or could not be fetched.

    Args:
        reason: a fixed word for the cause, such as `expired-metadata`.
        transient: the same release may be good at the next poll; it is not remembered as failed.
    """

    def __init__(self, reason: str, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.transient = transient
