"""Which file of a locked package a machine gets."""

from __future__ import annotations

import pytest

from tools.site_bundle.wheel_choice import ChoiceError, Kind, choose, locked_packages

A, B, C, D = (letter * 64 for letter in "abcd")
LOCK = f"""\
numpy==2.2.6 \\
    --hash=sha256:{A} \\
    --hash=sha256:{B}
kfp-server-api==2.14.3 --hash=sha256:{C}
"""


def offered(name, *wheels, sdist=None):
    found = {
        "name": name,
        "wheels": [{"url": f"https://index.example/{n}", "size": 7, "hashes": {"sha256": h}} for n, h in wheels],
    }
    return found | (
        {"sdist": {"url": f"https://index.example/{sdist[0]}", "hashes": {"sha256": sdist[1]}}} if sdist else {}
    )


SOURCE = offered("kfp-server-api", sdist=("kfp-server-api-2.14.3.tar.gz", C))


def names(kind, *packages):
    return [file.name for file in choose(locked_packages(LOCK), {"packages": packages}, Kind.parse(kind))]


def test_a_lock_file_is_read_with_all_its_hashes():
    """A package may be installed from any file whose SHA-256 the lock names."""
    numpy, api = locked_packages(LOCK)
    assert (numpy.name, numpy.version, numpy.hashes) == ("numpy", "2.2.6", frozenset({A, B}))
    assert api.hashes == {C}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("3.11-x86_64", "numpy-2.2.6-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"),
        ("3.11-aarch64", "numpy-2.2.6-cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64.whl"),
    ],
)
def test_each_kind_of_machine_gets_its_own_wheel(kind, expected):
    """Of the files with a locked SHA-256; another system's, Python's and processor's fit never."""
    wheels = offered(
        "NumPy",
        ("numpy-2.2.6-cp312-cp312-manylinux_2_17_x86_64.whl", A),
        ("numpy-2.2.6-cp311-cp311-musllinux_1_2_x86_64.whl", A),
        ("numpy-2.2.6-cp311-cp311-macosx_11_0_arm64.whl", A),
        ("numpy-2.2.6-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", A),
        ("numpy-2.2.6-cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64.whl", B),
    )
    assert names(kind, wheels, SOURCE) == [expected, "kfp-server-api-2.14.3.tar.gz"]


def test_a_wheel_for_an_older_system_goes_before_one_that_needs_a_newer_glibc():
    """What runs on every system that Kizu supports is carried, where there is one."""
    wheels = offered(
        "numpy",
        ("numpy-2.2.6-cp311-cp311-manylinux_2_34_x86_64.whl", A),
        ("numpy-2.2.6-cp311-cp311-manylinux_2_27_x86_64.whl", B),
    )
    assert names("3.11-x86_64", wheels, SOURCE)[0] == "numpy-2.2.6-cp311-cp311-manylinux_2_27_x86_64.whl"


def test_a_file_that_the_lock_does_not_name_is_never_chosen():
    """An index that was changed since gives an error that names the package."""
    wheels = offered("numpy", ("numpy-2.2.6-py3-none-any.whl", D))
    with pytest.raises(ChoiceError, match=r"no file with a locked SHA-256 for 3.11-x86_64 of numpy 2.2.6"):
        names("3.11-x86_64", wheels, SOURCE)


@pytest.mark.parametrize("text", ["3.10-x86_64", "3.11", "x86_64", "3.11-riscv64"])
def test_an_unknown_kind_of_machine_is_an_error(text):
    """The lock files hold for some Pythons and processors only."""
    with pytest.raises(ChoiceError, match="expected a kind"):
        Kind.parse(text)
