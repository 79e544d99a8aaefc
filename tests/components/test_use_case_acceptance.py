"""The section `acceptance` of a use case: refused where it cannot be judged, and in no digest where it is not said."""

from __future__ import annotations

import pytest
import yaml

from components.use_case import UseCaseError, parse_use_case
from inspection.acceptance import Severity, When
from inspection.documents import Release
from tests.edge_agent.models import build_release

BASE = {
    "name": "tag", "classes": ["scratch", "dent"], "labeling": {"instructions": "Draw a box."},
    "gates": {"min_map50": 0.5, "max_escape_rate": 0.1, "max_overkill_rate": 0.2},
}  # fmt: skip
RULE = {"name": "long", "classes": ["scratch"], "max_longest_side_mm": 2}
ZONE = {"face": {"points": [[0, 0], [9, 0], [9, 9]]}}


def use_case(**acceptance):
    return parse_use_case(yaml.safe_dump({**BASE, **({"acceptance": acceptance} if acceptance else {})}))


def test_rules_of_the_file_are_rules_of_the_release():
    """Each key arrives, and survives the JSON that travels with a run."""
    written = use_case(
        rules=[
            RULE | {"severity": "rework", "when": "all", "max_count": 3, "zone": "face", "min_score": 0.6},
            {"name": "dents", "classes": ["dent"], "min_distance_px": 12.5},
        ],
        zones=ZONE,
        views={"*": {"mm_per_px": 0.05, "origin_px": [3, 4]}, "plant1/* top": {"mm_per_px": 0.1, "origin_px": [0, 0]}},
    )
    for found in (written, parse_use_case(written.to_json())):
        acceptance = found.acceptance.to_acceptance()
        first, second = acceptance.rules
        assert (first.severity, first.when, first.zone, first.min_score) == (Severity.REWORK, When.ALL, "face", 0.6)
        assert dict(first.limits()) == {"max_longest_side_mm": 2.0, "max_count": 3}
        assert dict(second.limits()) == {"min_distance_px": 12.5}
        assert acceptance.zones["face"].points == ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0))
        assert [found.acceptance.view_of(camera).mm_per_px for camera in ("plant1/dev1 top", "plant2/dev1 top")] == [
            0.1, 0.05
        ]  # fmt: skip
        assert found.acceptance.view_of("plant1/dev1 top").origin_px == (0.0, 0.0)
    release = build_release(classes=("scratch", "dent"), thresholds=BOTH, acceptance=acceptance).release
    assert Release.from_json(release.to_json()) == release


BOTH = dict.fromkeys(("scratch", "dent"), build_release().release.thresholds["scratch"])


def test_a_file_without_the_section_keeps_its_digests():
    """Neither the use case nor a release says anything about rules that there are none of."""
    plain = use_case()
    assert plain.acceptance.to_acceptance() is None
    assert "acceptance" not in plain.to_json()
    assert b"acceptance" not in build_release().release.to_json()
    ruled = use_case(rules=[RULE | {"max_longest_side_mm": None, "max_longest_side_px": 4}])
    assert ruled.digest != plain.digest
    assert ruled.training_digest == plain.training_digest, "no training depends on what is tolerated"


@pytest.mark.parametrize(
    ("acceptance", "message"),
    [
        ({"rules": [RULE]}, r'expected acceptance.views with the key "\*"'),
        ({"rules": [RULE], "views": {"plant1/*": {"mm_per_px": 1}}}, r'the key "\*"'),
        ({"rules": [RULE], "views": {"*": {}}}, r"expected mm_per_px in acceptance.views \*"),
        ({"rules": [RULE], "views": {"*": {"mm_per_px": 1}, "a/b": {}}}, "expected mm_per_px in acceptance.views a/b"),
        ({"rules": [{"name": "a", "classes": ["scratch"], "zone": "face"}]}, "one of the zones"),
        (
            {"rules": [{"name": "a", "classes": ["scratch"], "zone": "face"}], "zones": ZONE,
             "views": {"*": {"mm_per_px": 1}}},
            "expected origin_px",
        ),
        ({"rules": [{"name": "a", "classes": ["stain"]}]}, r"about some of \['scratch', 'dent'\]"),
        ({"rules": [{"name": "a", "classes": ["scratch"], "max_length_mm": 2}]}, "unknown key"),
        ({"rules": [{"name": "a", "classes": ["scratch"], "severity": "scrap"}]}, "reject"),
        ({"rules": [{"name": "a", "classes": ["scratch"]}] * 2}, "a name of its own"),
        ({"zones": {"face": {"points": [[0, 0], [1, 1]]}}}, "at least 3"),
        ({"rules": [RULE | {"max_longest_side_mm": float("inf")}]}, "finite"),
    ],
)  # fmt: skip
def test_rules_that_nobody_could_judge_are_refused_with_what_is_missing(acceptance, message):
    """Before a training, and not on the device."""
    with pytest.raises(UseCaseError, match=message):
        use_case(**acceptance)


def test_a_release_with_a_rule_about_a_class_that_it_does_not_know_is_refused():
    """The rule would never be judged."""
    acceptance = use_case(rules=[{"name": "dents", "classes": ["dent"]}]).acceptance.to_acceptance()
    with pytest.raises(ValueError, match=r"about classes of the release, but got \['dent'\]"):
        build_release(acceptance=acceptance)
