"""The list of a bundle's files: whole, or what differs by name."""

from __future__ import annotations

import subprocess

import pytest

from tools.site_bundle.checksums import SUMS, BundleError, copy_checked, faults_of, read_sums, sha256_of, write_sums


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    (folder / "wheels").mkdir(parents=True)
    (folder / "wheels" / "a b.whl").write_bytes(b"one")
    (folder / "bundle.json").write_bytes(b"{}")
    write_sums(folder)
    return folder


def test_a_whole_bundle_has_no_fault_and_its_list_is_read_by_sha256sum(bundle):
    """The administrator can compare a bundle without any program of ours."""
    assert faults_of(bundle, read_sums(bundle)) == ()
    done = subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=bundle, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_missing_a_changed_and_an_extra_file_are_named(bundle):
    """Each fault says which file it is of."""
    (bundle / "wheels" / "a b.whl").unlink()
    (bundle / "bundle.json").write_bytes(b"{} ")
    (bundle / "wheels" / "new.whl").write_bytes(b"two")
    missing, extra, changed = faults_of(bundle, read_sums(bundle))
    assert missing == "wheels/a b.whl is missing"
    assert extra.startswith("wheels/new.whl is extra")
    assert changed.startswith("bundle.json is changed: expected SHA-256")


def test_a_folder_without_its_list_is_no_bundle(bundle):
    """The list is written last, so a stopped writer leaves none."""
    (bundle / SUMS).unlink()
    with pytest.raises(BundleError, match="was not finished"):
        read_sums(bundle)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a//b", "a/./b", ""])
def test_a_name_that_leads_out_of_the_bundle_is_refused(bundle, name):
    """A list that was made by somebody else writes nowhere."""
    (bundle / SUMS).write_text(f"{'0' * 64}  {name}\n")
    with pytest.raises(BundleError, match="line 1"):
        read_sums(bundle)


def test_links_are_refused(bundle):
    """A link in a bundle could name any file of the site."""
    (bundle / "wheels" / "link").symlink_to("/etc/hostname")
    with pytest.raises(BundleError, match="wheels/link is a link"):
        faults_of(bundle, read_sums(bundle))
    (bundle / "wheels" / "link").unlink()
    (bundle / "folder").symlink_to("/etc")
    with pytest.raises(BundleError, match="folder is a link"):
        faults_of(bundle, read_sums(bundle))


def test_a_file_that_changed_after_the_comparison_is_not_taken(bundle, tmp_path):
    """What is copied is compared again, and nothing of it stays."""
    expected = sha256_of(bundle / "bundle.json")
    (bundle / "bundle.json").write_bytes(b"other")
    with pytest.raises(BundleError, match="is changed"):
        copy_checked(bundle / "bundle.json", tmp_path / "site" / "bundle.json", expected)
    assert list((tmp_path / "site").iterdir()) == []
