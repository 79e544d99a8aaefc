"""Where a team's assets come from: an in-toto statement with SLSA's provenance, signed with a key in a file, offline.

python -m tools.assets.provenance verify FOLDER --key signing.pub.pem    # the assets of a folder
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tools.signatures import SignatureError, signed, verified
from tools.site_bundle.checksums import files_of, sha256_of

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:kizu:make-assets:1"
FILE: Final = "provenance.dsse.json"
RECORD: Final = "assets.json"


class ProvenanceError(RuntimeError):
    """Assets are not those of their provenance."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a build was. dependencies: a path of the repository -> its SHA-256. times: ISO 8601."""

    team: str
    commit: str
    builder: str
    steps: tuple[str, ...]
    dependencies: Mapping[str, str]
    started: str
    finished: str


def subjects_of(folder: Path, images: Mapping[str, str]) -> list[dict[str, Any]]:
    """What a statement is about: each file of a folder, and each image by the digest of its manifest."""
    files = [name for name in files_of(folder) if name != FILE and not name.startswith("images/")]
    found = [{"name": name, "digest": {"sha256": sha256_of(folder / name)}} for name in files]
    found += [
        {"name": f"image:{name}", "digest": {"sha256": digest.removeprefix("sha256:")}}
        for name, digest in sorted(images.items())
    ]
    return found


def statement(built: Built, subjects: list[dict[str, Any]]) -> dict[str, Any]:
    """The statement, unsigned."""
    source = {"uri": "git+file:kizu", "digest": {"gitCommit": built.commit}}
    others = [{"uri": f"file:{name}", "digest": {"sha256": each}} for name, each in sorted(built.dependencies.items())]
    return {
        "_type": STATEMENT,
        "subject": subjects,
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"team": built.team, "steps": list(built.steps)},
                "internalParameters": {},
                "resolvedDependencies": [source, *others],
            },
            "runDetails": {
                "builder": {"id": built.builder},
                "metadata": {"startedOn": built.started, "finishedOn": built.finished},
            },
        },
    }


def write_signed(folder: Path, built: Built, images: Mapping[str, str], key: Path) -> Path:
    """Sign what a folder holds and the images it names; returns the envelope's path.

    Raises:
        SignatureError: the key cannot be read.
    """
    document = statement(built, subjects_of(folder, images))
    path = folder / FILE
    path.write_bytes(signed(json.dumps(document, indent=1).encode(), PAYLOAD_TYPE, key))
    return path


def verify(folder: Path, key: Path) -> dict[str, Any]:
    """Compare the files of a folder, and the images that its record names, with what the key signed.

    Raises:
        ProvenanceError: something is changed, extra or missing, or another key signed it.
    """
    try:
        envelope = (folder / FILE).read_bytes()
        found = json.loads(verified(envelope, PAYLOAD_TYPE, key))
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        said = {each["name"]: each["digest"]["sha256"] for each in found["subject"]}
        known = found["_type"] == STATEMENT and found["predicateType"] == PREDICATE
        there = {each["name"]: each["digest"]["sha256"] for each in subjects_of(folder, record["images"])}
    except (OSError, ValueError, KeyError, TypeError, SignatureError) as e:
        raise ProvenanceError(f"{folder}: {e}") from e
    if not known:
        raise ProvenanceError(f"{folder / FILE}: expected SLSA's provenance, but got {found['predicateType']}")
    faults = [f"{name} is missing" for name in sorted(set(said) - set(there))]
    faults += [f"{name} is extra: nothing that was signed names it" for name in sorted(set(there) - set(said))]
    faults += [f"{name} is changed" for name in sorted(set(said) & set(there)) if said[name] != there[name]]
    if faults:
        raise ProvenanceError(f"{folder} is not what was signed:\n  " + "\n  ".join(faults))
    return dict(found["predicate"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the assets of a folder. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="tools.assets.provenance")
    parser.add_argument("command", choices=("verify",))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--key", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        predicate = verify(options.folder, options.key)
    except ProvenanceError as e:
        sys.stderr.write(f"provenance: {e}\n")
        return 1
    definition, run = predicate["buildDefinition"], predicate["runDetails"]
    commit = definition["resolvedDependencies"][0]["digest"]["gitCommit"]
    sys.stdout.write(f"{options.folder}: made from {commit} by {run['builder']['id']}; all is as it was signed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
