"""Publish again after the releases bucket was lost or restored, with numbers above what devices have seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from components.stores.models.registry import ModelVersion
from inspection.documents import Reported


class RecoveryError(RuntimeError):
    """What should be published, or above which number, is not known."""


class Models(Protocol):
    """The registered versions."""

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """The version with an alias."""

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions, newest first."""


class RecoveringSigner(Protocol):
    """The signer, as far as a recovery asks it."""

    def recover(self, model: str, version: int, *, sequence_above: int, metadata_above: int) -> int:
        """Publish with numbers above these; returns the sequence."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was published. devices: whose reports said which sequences were seen."""

    version: int
    sequence: int
    devices: tuple[str, ...]


def recover(
    signer: RecoveringSigner,
    models: Models,
    reports: Iterable[Reported],
    model: str,
    *,
    champion: str,
    version: int = 0,
    above: int = 0,
) -> Recovered:
    """Have the signer publish a version of a model again, above every sequence that its devices report.

    Args:
        champion: the alias of the version that a whole group ran last.
        version: what to publish; 0: the champion, or the newest approved version where there is none.
        above: a sequence that the new one must exceed, for devices that do not report.

    Raises:
        RecoveryError: no device has reported and `above` is 0, or no version is approved.
        SignerError: the signer refused.
    """
    own = [report for report in reports if report.use_case in (None, model)]
    if not own and above <= 0:
        raise RecoveryError(
            f"no device that inspects {model} has reported, so that nobody knows which sequence devices have seen; "
            "wait for a report, or say a number with --above (the device's own page names the sequence)"
        )
    chosen = version if version > 0 else _usual_version(models, model, champion)
    floor = max([above, *(report.sequence_seen for report in own)])
    sequence = signer.recover(model, chosen, sequence_above=floor, metadata_above=0)
    return Recovered(chosen, sequence, tuple(sorted(report.device for report in own)))


def _usual_version(models: Models, model: str, champion: str) -> int:
    if (found := models.by_alias(model, champion)) is not None and found.approval == "approved":
        return found.version
    approved = [found.version for found in models.versions(model) if found.approval == "approved"]
    if not approved:
        raise RecoveryError(f"no version of {model} is approved; approve one, then run this again")
    return approved[0]
