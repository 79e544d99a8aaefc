"""A bundle is whole or is not taken for one, and a second run makes only what is missing."""

from __future__ import annotations

import json

import pytest

from tools.signatures import make_key
from tools.site_bundle.bundling import DESCRIPTION, Origin, announce, chosen_parts, make
from tools.site_bundle.checksums import SIGNATURE, SUMS, BundleError, faults_of, read_sums
from tools.site_bundle.plan import LeftOut, Plan
from tools.site_bundle.unbundle import compare

ORIGIN = Origin("0.1.0", "c" * 40, "2026-11-28T12:00:00+00:00")


def quiet(_line):
    """Say nothing."""


def part(name, text, calls=None):
    def write(folder, _say):
        if calls is not None:
            calls.append(name)
        folder.mkdir(exist_ok=True)
        (folder / "file").write_text(text)

    return Plan(name, "a file", len(text), write)


def test_a_bundle_says_what_it_holds_and_what_was_left_out(tmp_path):
    """Nothing is missing in silence."""
    left = Plan("images", "none", 0, None, (LeftOut("images", "there is no Docker engine"),))
    said = []
    assert announce([left, part("docs", "page")], said.append) == 4
    assert any("left out: images: there is no Docker engine" in line for line in said)
    make(tmp_path / "b", [left, part("docs", "page")], ORIGIN, quiet)
    described = json.loads((tmp_path / "b" / DESCRIPTION).read_text())
    assert described["parts"]["docs"] == {"files": 1, "bytes": 4, "left_out": []}
    assert described["parts"]["images"]["left_out"] == [{"what": "images", "why": "there is no Docker engine"}]
    assert "wheels" in described["not_asked_for"]
    assert set(read_sums(tmp_path / "b")) == {DESCRIPTION, "docs/file"}
    assert compare(tmp_path / "b", None)


def test_a_bundle_whose_writer_was_stopped_is_refused_until_a_run_comes_to_its_end(tmp_path):
    """Also where a whole bundle was there before: its list goes first."""

    def stopped(folder, say):
        folder.mkdir()
        (folder / "half").write_text("ha")
        raise KeyboardInterrupt

    target = tmp_path / "b"
    make(target, [part("docs", "page")], ORIGIN, quiet)
    with pytest.raises(KeyboardInterrupt):
        make(target, [part("docs", "page"), Plan("wheels", "", 2, stopped)], ORIGIN, quiet)
    with pytest.raises(BundleError, match="was not finished"):
        compare(target, None)
    with pytest.raises(BundleError, match=r"stopped in wheels: .* PARTS of these too"):
        make(target, [part("docs", "new page")], ORIGIN, quiet)
    make(target, [part("docs", "new page"), part("wheels", "all")], ORIGIN, quiet)
    compare(target, None)
    assert (target / "docs" / "file").read_text() == "new page"


def test_parts_that_are_not_asked_for_stay(tmp_path):
    """A later run may bring one part up to date."""
    calls, target = [], tmp_path / "b"
    make(target, [part("docs", "page", calls), part("sbom", "bill", calls)], ORIGIN, quiet)
    make(target, [part("docs", "page 2", calls)], ORIGIN, quiet)
    assert calls == ["docs", "sbom", "docs"]
    assert set(json.loads((target / DESCRIPTION).read_text())["parts"]) == {"docs", "sbom"}
    assert faults_of(target, read_sums(target)) == ()


def test_the_same_parts_give_the_same_list(tmp_path):
    """Two bundles of one commit can be compared by their lists."""
    for name in ("a", "b"):
        make(tmp_path / name, [part("docs", "page")], ORIGIN, quiet)
    assert (tmp_path / "a" / SUMS).read_bytes() == (tmp_path / "b" / SUMS).read_bytes()


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    """`TO=` may be wrong; and a file of somebody in a bundle is not listed as ours."""
    (tmp_path / "photo.png").write_text("mine")
    with pytest.raises(BundleError, match="holds something else"):
        make(tmp_path, [part("docs", "page")], ORIGIN, quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]
    make(tmp_path / "b", [part("docs", "page")], ORIGIN, quiet)
    (tmp_path / "b" / "note.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"note.txt belongs to no part"):
        make(tmp_path / "b", [part("docs", "page")], ORIGIN, quiet)


def test_a_signed_bundle_is_compared_with_the_key(tmp_path):
    """Its own key fits, another does not, and a list that was written again is not the one that was signed."""
    private = make_key(tmp_path / "key")
    other = make_key(tmp_path / "other")
    target = tmp_path / "b"
    make(target, [part("docs", "page")], ORIGIN, quiet, private)
    assert compare(target, private.with_name("signing.pub.pem"))
    with pytest.raises(BundleError, match="not of the key"):
        compare(target, other.with_name("signing.pub.pem"))
    signature = (target / SIGNATURE).read_bytes()
    make(target, [part("docs", "other")], ORIGIN, quiet)
    with pytest.raises(BundleError, match="has none"):
        compare(target, private.with_name("signing.pub.pem"))
    (target / SIGNATURE).write_bytes(signature)
    with pytest.raises(BundleError, match="not the list that was signed"):
        compare(target, private.with_name("signing.pub.pem"))


def test_a_key_that_cannot_be_read_is_told_before_anything_is_made(tmp_path):
    """Not after an hour of downloads."""
    calls = []
    with pytest.raises(Exception, match="expected an unencrypted private key"):
        make(tmp_path / "b", [part("docs", "page", calls)], ORIGIN, quiet, tmp_path / "none.pem")
    assert calls == []


def test_only_parts_that_exist_can_be_asked_for():
    """A misspelt part is not left out in silence."""
    assert chosen_parts("wheels, manifests") == ("wheels", "manifests")
    assert len(chosen_parts("")) == 9
    with pytest.raises(BundleError, match="but got weels"):
        chosen_parts("weels")
