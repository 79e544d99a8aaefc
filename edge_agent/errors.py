"""What can go wrong on a device.

    EdgeError
    ├── ConfigError          the configuration file, the environment or a file it names
    ├── StateError           the state folder: locked, damaged, full
    ├── SourceError          the camera
    ├── InferenceError       the model
    │   └── BackendUnavailable   the runtime that was asked for
    ├── StoreError           the object store
    │   ├── ObjectNotFound
    │   ├── AccessDenied
    │   └── StoreUnavailable
    └── UpdateError          a release that is not taken; `reason` is a fixed word for the report

Foreign exceptions are wrapped once, in the module that calls the foreign library.
"""

from __future__ import annotations


class EdgeError(Exception):
    """Base of all errors of this room; the message is for the operator."""


class ConfigError(EdgeError):
    """A configuration that is missing or wrong; the message names the key."""


class StateError(EdgeError):
    """The state folder cannot be used as it is."""


class SourceError(EdgeError):
    """A camera that does not deliver, or whose frames cannot be put away."""


class InferenceError(EdgeError):
    """A model that cannot be loaded or does not answer."""


class BackendUnavailable(InferenceError):
    """A runtime that is not installed here or does not take the model; another may."""


class StoreError(EdgeError):
    """The object store did not do what was asked."""


class ObjectNotFound(StoreError):
    """No such object or bucket."""


class AccessDenied(StoreError):
    """This device's identity may not do that."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or does not answer as a store does; later may be better."""


class UpdateError(EdgeError):
    """A release or its metadata that was refused or could not be had.

    `reason` is one fixed word a cause, such as `expired-metadata`; `transient` where the same release may be good at
    the next look, so that it is not remembered as failed.
    """

    def __init__(self, reason: str, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.transient = transient
