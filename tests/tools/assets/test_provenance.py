"""The assets of a team are those that somebody signed."""

from __future__ import annotations

import json

import pytest

from tools.assets.provenance import FILE, RECORD, Built, ProvenanceError, main, verify, write_signed
from tools.signatures import make_key, verified

DIGEST = "sha256:" + "e" * 64
BUILT = Built("edge", "c" * 40, "ci", ("test", "images"), {"locks/edge.txt": "f" * 64}, "2026-11-28T12:00:00", "later")


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path / "key")


@pytest.fixture
def assets(tmp_path, key):
    folder = tmp_path / "assets"
    (folder / "manifests").mkdir(parents=True)
    (folder / "images" / "blobs").mkdir(parents=True)
    (folder / "images" / "blobs" / "large").write_text("not hashed a second time: its image's digest is signed")
    (folder / "manifests" / "edge.yaml").write_text("kind: Deployment\n")
    record = {"images": {"kizu/edge:0.1.0": DIGEST}}
    (folder / RECORD).write_text(json.dumps(record))
    write_signed(folder, BUILT, record["images"], key)
    return folder


def test_a_statement_names_files_images_sources_and_builder(assets, key):
    """in-toto's form with SLSA's provenance: other tools read it."""
    public = key.with_name("signing.pub.pem")
    document = json.loads(verified((assets / FILE).read_bytes(), "application/vnd.in-toto+json", public))
    assert (document["_type"], document["predicateType"]) == (
        "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1",
    )  # fmt: skip
    assert [each["name"] for each in document["subject"]] == [RECORD, "manifests/edge.yaml", "image:kizu/edge:0.1.0"]
    assert document["subject"][-1]["digest"] == {"sha256": "e" * 64}
    definition = document["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {"team": "edge", "steps": ["test", "images"]}
    assert definition["resolvedDependencies"][0]["digest"] == {"gitCommit": "c" * 40}
    assert verify(assets, public) == document["predicate"]


@pytest.mark.parametrize("damage", ["changed", "missing", "extra", "image"])
def test_assets_that_are_not_what_was_signed_are_named(assets, key, capsys, damage):
    """A changed manifest, a lost one, one more, and a record with another image."""
    manifest = assets / "manifests" / "edge.yaml"
    if damage == "changed":
        manifest.write_text("kind: Pod\n")
    elif damage == "missing":
        manifest.unlink()
    elif damage == "extra":
        manifest.with_name("more.yaml").write_text("kind: Pod\n")
    else:
        (assets / RECORD).write_text(json.dumps({"images": {"kizu/edge:0.1.0": "sha256:" + "0" * 64}}))
    named = {"extra": "manifests/more.yaml is extra", "image": "image:kizu/edge:0.1.0 is changed"}
    with pytest.raises(ProvenanceError, match=named.get(damage, f"manifests/edge.yaml is {damage}")):
        verify(assets, key.with_name("signing.pub.pem"))
    assert main(["verify", str(assets), "--key", str(key.with_name("signing.pub.pem"))]) == 1
    assert "is not what was signed" in capsys.readouterr().err


def test_assets_that_another_key_signed_are_refused(assets, tmp_path, key, capsys):
    """And assets without a signature."""
    other = make_key(tmp_path / "other").with_name("signing.pub.pem")
    with pytest.raises(ProvenanceError, match="not of the key"):
        verify(assets, other)
    assert main(["verify", str(assets), "--key", str(key.with_name("signing.pub.pem"))]) == 0
    assert "made from cccc" in capsys.readouterr().out
    (assets / FILE).unlink()
    with pytest.raises(ProvenanceError, match=FILE):
        verify(assets, key.with_name("signing.pub.pem"))
