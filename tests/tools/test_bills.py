"""Bills of materials and licences of the locked packages."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.parser import HeaderParser

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tools.licences import Licence, licence_of, report
from tools.sbom import bill
from tools.site_bundle.bills import LOCKS, locks
from tools.site_bundle.wheel_choice import Locked

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
PACKAGES = (
    Locked("numpy", "2.2.6", frozenset({"a" * 64})),
    Locked("onnxruntime", "1.32.0", frozenset({"b" * 64, "c" * 64})),
)
KNOWN = {("numpy", "2.2.6"): Licence("BSD-3-Clause", True), ("onnxruntime", "1.32.0"): Licence("MIT License")}


def test_a_bill_names_each_package_with_its_version_and_licence_and_is_the_same_each_time():
    """It fits the schema of CycloneDX 1.6; a package of which one file is carried has its SHA-256."""
    text = bill("kizu/edge", "0.1.0", PACKAGES, KNOWN, NOW, "sha256:" + "d" * 64)
    assert text == bill("kizu/edge", "0.1.0", PACKAGES, KNOWN, NOW, "sha256:" + "d" * 64)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    numpy, onnxruntime = document["components"]
    assert (numpy["purl"], numpy["licenses"]) == ("pkg:pypi/numpy@2.2.6", [{"license": {"id": "BSD-3-Clause"}}])
    assert numpy["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert "hashes" not in onnxruntime
    assert document["metadata"]["component"]["name"] == "kizu/edge"
    assert {"name": "kizu:image-digest", "value": "sha256:" + "d" * 64} in document["metadata"]["component"][
        "properties"
    ]
    root = next(each for each in document["dependencies"] if each["ref"] == "kizu/edge@0.1.0")
    assert root["dependsOn"] == ["pkg:pypi/numpy@2.2.6", "pkg:pypi/onnxruntime@1.32.0"]


def test_every_locked_package_of_an_image_is_in_its_bill():
    """None is left out because nobody knows its licence."""
    found = locks()
    assert set(found) == set(LOCKS)
    document = json.loads(bill("kizu/training", "0.1.0", found["training"], {}, NOW))
    assert len(document["components"]) == len(found["training"]) > 40


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("License-Expression: Apache-2.0 OR MIT\nClassifier: License :: Other\n", Licence("Apache-2.0 OR MIT", True)),
        ("Classifier: License :: OSI Approved :: MIT License\nLicense: long\n", Licence("MIT License")),
        ("License: BSD\n", Licence("BSD")),
        ("Classifier: License :: OSI Approved\nName: x\n", Licence("not said")),
    ],
)
def test_a_licence_is_what_the_package_says_itself(metadata, expected):
    """Its expression, else its classifiers, else its own words."""
    assert licence_of(HeaderParser().parsestr(metadata)) == expected


def test_the_report_begins_with_packages_that_do_not_say_their_licence():
    """They are what somebody has to look at."""
    rows = report({"edge": PACKAGES, "data": PACKAGES[:1]}, {("numpy", "2.2.6"): Licence("BSD-3-Clause")}).splitlines()
    assert rows[-2:] == [
        "| onnxruntime | 1.32.0 | not said | edge |", "| numpy | 2.2.6 | BSD-3-Clause | edge, data |",
    ]  # fmt: skip
