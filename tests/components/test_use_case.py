"""The use case file: one product's policy, refused by name where it is wrong."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from components.use_case import UseCaseError, load_use_case, parse_use_case, write_schema
from inspection.documents import InputSpec
from inspection.preprocess import Tiles
from inspection.rollout import NotComparable

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = sorted((REPOSITORY / "use_cases").glob("*.yaml"))
SCHEMA = REPOSITORY / "docs" / "reference" / "use-case.schema.json"
MINIMAL = {
    "name": "metal-tag",
    "classes": ["scratch"],
    "labeling": {"instructions": "Draw a box."},
    "gates": {"min_map50": 0.5, "max_escape_rate": 0.1, "max_overkill_rate": 0.2},
}


def changed(**sections):
    """MINIMAL with sections replaced, as YAML."""
    return yaml.safe_dump({**MINIMAL, **sections}, allow_unicode=True)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_each_shipped_file_loads_under_its_own_name(path):
    """The name of the file is the name of the use case, and so of the model in MLflow."""
    assert load_use_case(path).name == path.stem


def test_there_is_a_shipped_file():
    """The shipped use cases are found, so that the test above tests something."""
    assert "metal-tag" in [path.stem for path in SHIPPED]


def test_the_committed_schema_is_that_of_the_code(tmp_path):
    """docs/reference/use-case.schema.json is what `write_schema` writes."""
    write_schema(tmp_path / "schema.json")
    assert SCHEMA.read_text(encoding="utf-8") == (tmp_path / "schema.json").read_text(encoding="utf-8")


def test_an_editor_that_reads_the_schema_agrees_with_the_code():
    """A shipped file is valid by the schema, and an unknown key is not."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for path in SHIPPED:
        jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), schema)
    with pytest.raises(jsonschema.ValidationError, match="epoch"):
        jsonschema.validate({**MINIMAL, "training": {"epoch": 3}}, schema)


def test_a_use_case_without_tiles_has_the_digests_of_before():
    """The keys came later and are left out where they say nothing; where they do, another model is trained."""
    plain = parse_use_case(changed())
    assert {"tiles", "shrink"}.isdisjoint(json.loads(plain.to_json()))
    assert parse_use_case(changed(tiles=None, shrink=1)).training_digest == plain.training_digest
    tiles = {"scale": 0.5, "overlap_px": 32}
    said = ({"shrink": 2}, {"tiles": tiles}, {"tiles": tiles, "shrink": 2})
    others = [parse_use_case(changed(**keys)) for keys in said]
    for found in (plain, *others):
        assert parse_use_case(found.to_json()) == found
    assert len({found.training_digest for found in (plain, *others)}) == 4
    assert len({found.digest for found in (plain, *others)}) == 4


def test_a_use_case_says_how_a_picture_becomes_the_input_of_its_network():
    """What a device needs of it goes into the release; what only a training needs does not."""
    tiles = {"scale": 0.5, "overlap_px": 32, "keep_share": 0.5, "empty_tiles": 7}
    found = parse_use_case(changed(tiles=tiles, shrink=2)).input_spec()
    assert found == InputSpec(width=320, height=224, shrink=2, tiles=Tiles(scale=0.5, overlap_px=32))
    assert parse_use_case(changed()).input_spec() == InputSpec(width=320, height=224)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"tiles": {"overlap_px": 113}}, "tiles overlap by at most half of a side of 320 x 224"),
        ({"tiles": {"overlap_px": 32}, "shrink": 2}, "the scale is at most 0.5"),
        ({"tiles": {"scale": 0.5}}, "overlap_px"),
        ({"tiles": {"overlap_px": 32, "scale": 2}}, "less than or equal to 1"),
        ({"tiles": {"overlap_px": 32, "size": 640}}, "tiles.size: unknown key"),
        ({"shrink": 3}, "shrink"),
    ],
)
def test_tiles_that_the_network_cannot_have_are_refused(keys, said):
    """By the name of the key."""
    with pytest.raises(UseCaseError, match=said):
        parse_use_case(changed(**keys))


def test_resources_do_not_travel_with_a_run_and_train_nothing_anew():
    """`resources` is in no digest and not in the JSON: the node does not change the result."""
    plain, asked = parse_use_case(changed()), parse_use_case(changed(resources={"gpus": 2, "memory": "16Gi"}))
    assert (asked.resources.gpus, asked.resources.memory) == (2, "16Gi")
    assert asked.to_json() == plain.to_json()
    assert (asked.digest, asked.training_digest) == (plain.digest, plain.training_digest)


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"cpu": "four"}, "resources.cpu"),
        ({"memory": "8 GB"}, "resources.memory"),
        ({"gpu": 1}, "resources.gpu: unknown key"),
        ({"tolerations": [{"operator": "Exists", "value": "x", "key": "k"}]}, "no value with operator Exists"),
        ({"tolerations": [{"value": "x"}]}, "expected a key"),
    ],
)
def test_resources_that_kubernetes_would_refuse_are_refused_here(resources, said):
    """Values that Kubernetes would refuse are mistakes of the file, so that no pod waits for ever."""
    with pytest.raises(UseCaseError, match=said):
        parse_use_case(changed(resources=resources))


def test_approvers_do_not_travel_with_a_run_and_evaluate_nothing_anew():
    """The account that trains writes the run, so the run has no approvers; a new approver changes no digest."""
    plain, listed = parse_use_case(changed()), parse_use_case(changed(approvers=["hanako", "jiro"]))
    assert listed.approvers == ("hanako", "jiro")
    assert "hanako" not in listed.to_json()
    assert listed.digest == plain.digest
    with pytest.raises(UseCaseError, match="approvers"):
        parse_use_case(changed(approvers=["a:b"]))


def test_when_to_train_does_not_travel_and_evaluates_nothing_anew():
    """`retraining` is in no digest and not in the JSON, so that an approval outlives its change."""
    plain, eager = (
        parse_use_case(changed()),
        parse_use_case(changed(retraining={"min_new_labels": 5, "max_age_days": 7})),
    )
    assert (plain.retraining.min_new_labels, plain.retraining.max_age_days) == (50, None)
    assert (eager.retraining.min_new_labels, eager.retraining.max_age_days) == (5, 7)
    assert (eager.to_json(), eager.digest) == (plain.to_json(), plain.digest)


def test_defaults_fill_what_is_not_said():
    """A file with the four required keys is a use case."""
    use_case = parse_use_case(changed())
    assert use_case.training.image_width == 320
    assert use_case.rollout.waves == (100.0,)


def test_a_file_of_version_1_is_judged_as_before():
    """Version 1 judges by the value and asks no review rate, unless it says so; version 2 has the stricter default."""
    old, new = parse_use_case(changed(schema_version=1)), parse_use_case(changed())
    assert (old.gates.bound, old.gates.max_review_rate) == ("point", 1.0)
    assert (new.schema_version, new.gates.bound, new.gates.max_review_rate) == (2, "upper_95", 0.25)
    asked = changed(schema_version=1, gates={**MINIMAL["gates"], "bound": "upper_95", "max_review_rate": 0.1})
    assert (parse_use_case(asked).gates.bound, parse_use_case(asked).gates.max_review_rate) == ("upper_95", 0.1)
    assert parse_use_case(old.to_json()) == old


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"trainings": {}}, "trainings: unknown key"),
        ({"training": {"epoch": 3}}, "training.epoch: unknown key"),
        ({"training": {"augmentation": {"flip": 1}}}, "training.augmentation.flip: unknown key"),
        ({"name": "Metal Tag"}, "name: .*expected a use case of 1-63 characters"),
        ({"name": "金属タグ"}, "name: .*expected a use case of 1-63 characters"),
        ({"classes": []}, "classes: "),
        ({"classes": ["scratch", "scratch"]}, "classes: .*different, non-empty"),
        ({"classes": [""]}, "classes: .*different, non-empty"),
        ({"training": {"image_width": 300}}, "training.image_width: .*multiple of 32"),
        ({"training": {"epochs": 0}}, "training.epochs: "),
        ({"training": {"epochs": "many"}}, "training.epochs: .*got 'many'"),
        ({"training": {"base_weights": {"uri": "s3://w/x.pt", "sha256": "ab"}}}, "training.base_weights.sha256: "),
        (
            {"training": {"base_weights": {"uri": "s3://w/x.pt", "sha256": "a" * 64}, "pretraining": {}}},
            "expected base_weights or pretraining, but got both",
        ),
        ({"split": {"test": 0.6, "val": 0.4}}, "split: .*leave at least a tenth"),
        ({"split": {"test": float("nan")}}, "split.test: "),
        ({"operating": {"min_score": 0.8, "max_score": 0.4}}, "operating: .*min_score <= max_score"),
        ({"operating": {"uncertain_ratio": 0.0001}}, "operating.uncertain_ratio: "),
        ({"sampling": {"uncertain_low": 0.6, "uncertain_high": 0.1}}, "sampling: .*uncertain_low <= uncertain_high"),
        ({"sampling": {"control_rate": 2}}, "sampling.control_rate: "),
        ({"rollout": {"waves": []}}, "rollout.waves: "),
        ({"rollout": {"waves": [0]}}, "rollout.waves.0: "),
        ({"rollout": {"waves": [101]}}, "rollout.waves.0: "),
        ({"rollout": {"group": "../line"}}, "rollout.group: .*expected a group"),
        ({"gates": {"min_map50": 0.5}}, "gates.max_escape_rate: "),
        ({"gates": {**MINIMAL["gates"], "allow_not_measurable": ["map50"]}}, "gates.allow_not_measurable.0: "),
        ({"retraining": {"min_new_labels": 0}}, "retraining.min_new_labels: "),
        ({"retraining": {"max_age_days": float("inf")}}, "retraining.max_age_days: "),
        ({"schema_version": 3}, "schema_version: "),
        ({"schema_version": 0}, "schema_version: "),
        ({"gates": {**MINIMAL["gates"], "bound": "lower"}}, "gates.bound: "),
        ({"gates": {**MINIMAL["gates"], "max_review_rate": 0}}, "gates: .*expected max_review_rate above 0"),
        ({"gates": {**MINIMAL["gates"], "allow_classes_not_measurable": ["dent"]}}, r"to name some of \['scratch'\]"),
    ],
)
def test_what_is_wrong_is_refused_by_name(sections, said):
    """The message has the path of the wrong key."""
    with pytest.raises(UseCaseError, match=said):
        parse_use_case(changed(**sections))


def test_the_sampling_of_a_release_has_the_very_values_of_the_use_case():
    """Every key of the section `sampling` is a field of the release's `Sampling`, and there is no other field."""
    policy = parse_use_case(changed(sampling={"uncertain_low": 0.2, "control_rate": 0.5, "max_per_day": 7})).sampling
    sampling = policy.to_sampling()
    fields = {field.name: getattr(sampling, field.name) for field in dataclasses.fields(sampling)}
    assert fields.pop("unknown") == {}
    assert fields == policy.model_dump()


def test_the_probation_of_a_release_has_the_very_values_of_the_use_case():
    """Every field of the release's `Probation` is a key of the section `rollout`, with the same limits."""
    given = {"min_frames": 7, "patience_s": 60.0, "max_share_change": 0.5, "max_latency_ratio": 2.0}
    rollout = parse_use_case(
        changed(rollout={
            "probation_min_frames": 7, "probation_patience_s": 60, "probation_share_change": 0.5,
            "probation_latency_ratio": 2,
        })
    ).rollout  # fmt: skip
    probation = rollout.to_probation()
    fields = {field.name: getattr(probation, field.name) for field in dataclasses.fields(probation)}
    assert fields.pop("unknown") == {}
    assert fields == given
    assert parse_use_case(changed()).rollout.to_probation().min_frames > 0


def test_all_mistakes_are_said_at_once():
    """One error names all mistakes of a file."""
    with pytest.raises(UseCaseError, match=r"has 3 mistake\(s\)") as caught:
        parse_use_case(changed(traning={}, name="X", training={"epochs": 0}), where="tag.yaml")
    for key in ("tag.yaml", "traning", "name", "training.epochs"):
        assert key in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "- a", "name", "a: [", "a: 2024-13-45", "\x00", "[" * 5000, "a: !!python/name:os.system"]
)
def test_what_is_no_mapping_is_a_use_case_error(text):
    """An empty file, a list, a word, broken YAML, an impossible date and a tag that would run code are refused."""
    with pytest.raises(UseCaseError):
        parse_use_case(text)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    """A missing file, a folder and a file that is not UTF-8 are refused by name."""
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: caf\xe9".encode("latin-1"))
    for path in (tmp_path / "none.yaml", tmp_path, latin):
        with pytest.raises(UseCaseError, match=str(path)):
            load_use_case(path)


@given(st.text(st.characters(blacklist_categories=("Cs",)), max_size=40), st.floats(0, 1))
def test_a_use_case_travels_as_json_without_change(description, rate):
    """Any text and number survives JSON, as a pipeline parameter, with the same digest."""
    first = parse_use_case(json.dumps({**MINIMAL, "description": description, "sampling": {"control_rate": rate}}))
    again = parse_use_case(first.to_json())
    assert again == first
    assert again.digest == first.digest
    assert first.description == description


def test_a_class_has_a_former_name_only_if_it_has_no_other_meaning_now():
    """The former name is no class, the name of now is one; a file without former names has the digest it always had."""
    labeling = {**MINIMAL["labeling"], "former_classes": {"line": MINIMAL["classes"][0]}}
    plain, told = parse_use_case(changed()), parse_use_case(changed(labeling=labeling))
    assert "former_classes" not in plain.to_json()
    assert parse_use_case(told.to_json()) == told
    assert told.training_digest == plain.training_digest
    for wrong in ({MINIMAL["classes"][0]: MINIMAL["classes"][0]}, {"line": "hole"}):
        with pytest.raises(UseCaseError, match=r"labeling\.former_classes"):
            parse_use_case(changed(labeling={**MINIMAL["labeling"], "former_classes": wrong}))


def test_a_canary_that_cannot_be_compared_asks_a_person_unless_the_policy_says_otherwise():
    """The plan says so; a file that does not say it has the digest that it always had."""
    bounds = {"max_fail_change": 0.05}
    plain = parse_use_case(changed(rollout={"line": bounds}))
    assert "when_not_comparable" not in plain.to_json()
    assert plain.rollout.to_bounds().when_not_comparable is NotComparable.PAUSE
    told = parse_use_case(changed(rollout={"line": {**bounds, "when_not_comparable": "continue"}}))
    assert told.rollout.to_bounds().when_not_comparable is NotComparable.CONTINUE
    assert parse_use_case(told.to_json()) == told
    with pytest.raises(UseCaseError, match=r"rollout\.line\.when_not_comparable"):
        parse_use_case(changed(rollout={"line": {"when_not_comparable": "stop"}}))


def test_a_new_gate_trains_nothing_anew_and_another_size_does():
    """`training_digest` covers classes and training settings alone; `digest` covers everything."""
    base = parse_use_case(changed())
    gate = parse_use_case(changed(gates={**MINIMAL["gates"], "min_map50": 0.6}))
    size = parse_use_case(changed(training={"image_width": 256}))
    classes = parse_use_case(changed(classes=["scratch", "dent"]))
    assert gate.digest != base.digest
    assert gate.training_digest == base.training_digest
    assert len({base.training_digest, size.training_digest, classes.training_digest}) == 3


@pytest.mark.parametrize(
    ("pattern", "part", "unit"),
    [
        (None, "44000011_test", "44000011_test"),
        (r"^\d{7}", "44000011_test", "4400001"),
        (r"^(\d{5})\d", "44000011_test", "44000"),
        (r"^lot-(\d+)?", "lot-", "lot-"),
        (r"^\d{7}", "bare", "bare"),
    ],
)
def test_what_falls_to_a_split_together_is_found_in_the_names_of_parts(pattern, part, unit):
    """The first group of the expression, or all that it finds; a part in which it finds nothing is alone."""
    assert parse_use_case(changed(grouping={"split_by": pattern})).grouping.unit_of(part) == unit


@pytest.mark.parametrize(
    ("grouping", "said"),
    [
        ({"split_by": "("}, "expected a regular expression"),
        ({"split_by": "x*"}, "finds at least one character"),
        ({"rule": "image", "split_by": "^x"}, "expected rule part with split_by"),
    ],
)
def test_a_grouping_that_cannot_mean_anything_is_refused(grouping, said):
    """No expression, one that finds nothing in every name, and parts where there are none."""
    with pytest.raises(UseCaseError, match=said):
        parse_use_case(changed(grouping=grouping))


def test_a_use_case_without_split_by_has_the_digest_of_before():
    """A key that came later leaves digests of earlier files as they were."""
    assert "split_by" not in parse_use_case(changed()).to_json()
    assert parse_use_case(changed()).digest != parse_use_case(changed(grouping={"split_by": "^x"})).digest
