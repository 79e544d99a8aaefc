"""The accuracy benchmark: which parts are kept apart, which contenders are compared, and what the table says."""

import hashlib
import json
from dataclasses import replace

import pytest

from benchmarks.accuracy import plain
from benchmarks.accuracy.contenders import PLAIN, SHIPPED, TRIED, contenders
from benchmarks.accuracy.splits import part_splits
from benchmarks.accuracy.table import Report, render
from benchmarks.accuracy.trials import Trial, trial
from benchmarks.edge.material import load_material
from components.stores.datasets.manifest import Manifest, ManifestImage, SplitName
from components.use_case import Split, TrainingSettings


def manifest(parts):
    """A manifest with one part per entry of `parts`; the entry is the number of images of the part."""
    images = tuple(
        ManifestImage(
            sha256=hashlib.sha256(f"{part}-{number}".encode()).hexdigest(), uri="x", width=8, height=8,
            group=f"part-{part}", split=SplitName.TRAIN,
        )
        for part, count in enumerate(parts) for number in range(count)
    )  # fmt: skip
    return Manifest(use_case="tag", classes=("scratch",), split_seed=0, images=images)


def test_the_first_fair_seeds_keep_whole_parts_apart():
    """The same seeds are found every time; each split holds all images, and no part is in two splits."""
    whole = manifest([9, 8, 7, 6, 5, 5, 4, 4, 3, 3, 2, 2, 2, 1, 1, 1])
    found = part_splits(whole, Split(test=0.2, val=0.15), 3)
    assert [split.split_seed for split in found] == sorted({split.split_seed for split in found})
    assert found == part_splits(whole, Split(test=0.2, val=0.15, seed=77), 3)
    for split in found:
        groups = {name: {image.group for image in split.of(name)} for name in SplitName}
        assert sum(len(of) for of in groups.values()) == 16
        assert len(groups[SplitName.TEST]) >= 4
        assert 0.15 <= len(split.of(SplitName.TEST)) / len(whole.images) <= 0.30


def test_too_few_parts_are_no_benchmark():
    """With too few parts, the search for seeds ends with an error that asks whether there are enough parts."""
    with pytest.raises(ValueError, match="are there enough parts"):
        part_splits(manifest([10, 10]), Split(test=0.2, val=0.15), 1)


def test_plain_training_is_the_one_of_the_goal_and_what_was_tried_differs_in_what_it_says():
    """Plain training is from scratch, at 320, for 36 epochs; each tried one is the shipped use case with one change."""
    use_case = load_material(None).use_case
    found = {name: settings for name, (_, settings) in contenders(use_case, TRIED).items()}
    assert found[PLAIN] is None
    assert plain.ARGUMENTS == {"model": "yolov8n.yaml", "imgsz": 320, "epochs": 36, "seed": 0}
    assert found[SHIPPED] == use_case.training
    assert found["scratch"].pretraining is None
    assert found["burr"].pretraining.scratches == "burr"
    assert found["burr"].pretraining.parts == use_case.training.pretraining.parts
    assert (found["fcos"].detector, found["fcos"].image_width) == ("fcos", use_case.training.image_width)
    assert list(contenders(use_case)) == [PLAIN, SHIPPED]
    with pytest.raises(ValueError, match="expected of scratch, larger, fcos, burr, but got luck"):
        contenders(use_case, ["luck"])


def report(ours, plain):
    def trials(scores):
        return [
            Trial(seed, *pair, images={"train": 90, "val": 20, "test": 30}, parts={"train": 12, "val": 3, "test": 5},
                  seconds=600.0)
            for seed, pair in enumerate(scores)
        ]  # fmt: skip

    said = {PLAIN: "plain", SHIPPED: "ours"}
    return Report("make bench-accuracy", "157 photographs", said, {PLAIN: trials(plain), SHIPPED: trials(ours)})


def test_the_table_has_mean_spread_and_each_goal_met_or_missed():
    """The table shows a mean mAP50 of 0.7 against 0.5 as met, and a mAP50-95 of 0.35 against 0.3 as missed."""
    text = render(report([(0.6, 0.3), (0.8, 0.4)], [(0.4, 0.3), (0.6, 0.3)]))
    assert "| ours | 0.600 / 0.300 | 0.800 / 0.400 | **0.700 / 0.350** | 0.141 / 0.071 | 10 min |" in text
    assert "| mAP50: at least 0.15 above plain training | +0.200 | met |" in text
    assert "| mAP50-95: at least 0.10 above plain training | +0.050 | **missed** |" in text


def test_a_trial_trains_once_and_is_read_again(tmp_path):
    """The result of a real, very small training is kept by the digest of all that it depends on, and is read again."""
    material = load_material(None)
    small = part_splits(material.manifest, material.use_case.split, 1)[0]
    kept = [*small.of(SplitName.TRAIN)[:6], *small.of(SplitName.VAL)[:2], *small.of(SplitName.TEST)[:4]]
    few = Manifest(
        use_case=small.use_case, classes=small.classes, split_seed=small.split_seed,
        images=tuple(sorted(kept, key=lambda image: image.sha256)),
    )  # fmt: skip
    settings = TrainingSettings(width_multiple=0.0625, image_width=96, image_height=64, epochs=1, batch=4)
    found = trial(material, few, settings, tmp_path)
    assert found.images == {"train": 6, "val": 2, "test": 4}
    assert 0 <= found.map50_95 <= found.map50 <= 1
    (file,) = tmp_path.iterdir()
    document = json.loads(file.read_text())
    document["trial"]["map50"] = 0.123
    file.write_text(json.dumps(document))
    assert trial(material, few, settings, tmp_path).map50 == 0.123
    again = trial(material, few, settings.model_copy(update={"seed": 1}), tmp_path)
    assert again.map50 != 0.123
    assert len(list(tmp_path.iterdir())) == 2


def test_plain_training_is_ultralytics_own_and_scored_as_ours_is(tmp_path, monkeypatch):
    """Plain training runs Ultralytics' command line with the recorded arguments alone; here for one epoch."""
    monkeypatch.setattr(plain, "ARGUMENTS", {**plain.ARGUMENTS, "epochs": 1, "imgsz": 64})
    material = load_material(None)
    whole = part_splits(material.manifest, material.use_case.split, 1)[0]
    kept = [*whole.of(SplitName.TRAIN)[:4], *whole.of(SplitName.VAL)[:2], *whole.of(SplitName.TEST)[:2]]
    few = replace(whole, images=tuple(sorted(kept, key=lambda image: image.sha256)))
    found = trial(material, few, None, tmp_path)
    assert found.images == {"train": 4, "val": 2, "test": 2}
    assert 0 <= found.map50_95 <= found.map50 <= 1
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["inputs"]["arguments"]["epochs"] == 1
