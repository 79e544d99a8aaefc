"""Who may ask the signer for what: a token for each caller, of which the signer knows the SHA-256 alone."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

SCHEMA_VERSION: Final = 1
_BEARER: Final = "bearer "


class CallersError(ValueError):
    """The file with the callers is missing or damaged."""


class Right(StrEnum):
    """What a caller may ask for. READ: what is published. PUBLISH: a release, a desired state. ROLLOUT: one step of a
    rollout. RECOVER: numbers above what devices have seen. SHADOW: that a candidate judges beside the release on some
    devices. AGENT: the agent's own software, published and ordered.
    """

    READ = "read"
    PUBLISH = "publish"
    ROLLOUT = "rollout"
    RECOVER = "recover"
    SHADOW = "shadow"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Caller:
    """One who asks. token_sha256: hexadecimal."""

    name: str
    rights: frozenset[Right]
    token_sha256: str

    def __post_init__(self) -> None:
        if len(self.token_sha256) != 64 or not set(self.token_sha256) <= set("0123456789abcdef"):
            raise CallersError(f"expected the sha256 of a token for {self.name}, but got another text")


@dataclass(frozen=True, slots=True)
class Callers:
    """All who may ask."""

    callers: tuple[Caller, ...]

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read the administrator's file.

        Raises:
            CallersError: it is missing or damaged; the message names no token.
        """
        try:
            document = json.loads(path.read_bytes())
            if not isinstance(document, dict) or set(document) != {"schema_version", "callers"}:
                raise CallersError('expected {"schema_version": …, "callers": …}')
            if document["schema_version"] != SCHEMA_VERSION:
                raise CallersError(f"expected schema_version {SCHEMA_VERSION}, but got {document['schema_version']!r}")
            return cls(tuple(_caller(name, entry) for name, entry in document["callers"].items()))
        except OSError as e:
            raise CallersError(f"cannot read the signer's callers {path}: {e.strerror}") from e
        except (ValueError, AttributeError, KeyError, TypeError) as e:
            raise CallersError(f"the signer's callers {path} are damaged: {e}") from e

    def who(self, authorization: str | None) -> Caller | None:
        """The caller whose token a header `Authorization: Bearer …` carries; None where it is nobody's.

        The time that it takes does not depend on the token.
        """
        given = authorization or ""
        token = given[len(_BEARER) :] if given[: len(_BEARER)].lower() == _BEARER else ""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        found = None
        for caller in self.callers:
            if hmac.compare_digest(caller.token_sha256, digest):
                found = caller
        return found if token else None


def callers_document(tokens: Mapping[str, str], rights: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """The content of the administrator's file. tokens, rights: by the caller's name."""
    return {
        "schema_version": SCHEMA_VERSION,
        "callers": {
            name: {"rights": list(rights[name]), "token_sha256": hashlib.sha256(token.encode()).hexdigest()}
            for name, token in tokens.items()
        },
    }


def _caller(name: str, entry: Mapping[str, Any]) -> Caller:
    if set(entry) != {"rights", "token_sha256"}:
        raise CallersError(f"expected rights and token_sha256 for {name}, but got {sorted(entry)}")
    known, given = {right.value for right in Right}, [str(right) for right in entry["rights"]]
    if unknown := sorted(set(given) - known):
        raise CallersError(
            f"expected rights of {', '.join(sorted(known))} for {name}, but got {', '.join(unknown)}: was the file "
            "written for a newer signer? Then go back with it too"
        )
    return Caller(name, frozenset(Right(right) for right in given), entry["token_sha256"])
