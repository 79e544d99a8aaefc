"""The accuracy benchmark: which parts are kept apart, which contenders are compared, and what the table says."""

import hashlib
import json
from dataclasses import replace

import pytest

from benchmarks.accuracy import boards, plain
from benchmarks.accuracy.contenders import PLAIN, SHIPPED, TRIED, contenders
from benchmarks.accuracy.splits import part_splits
from benchmarks.accuracy.table import Report, render
from benchmarks.accuracy.trials import Rates, Trial, trial
from benchmarks.edge.material import load_material
from components.stores.datasets.manifest import Manifest, ManifestImage, SplitName
from components.use_case import Split, Tiles, TrainingSettings, load_use_case
from deploy.access.layout import REPOSITORY


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


def test_the_splits_keep_together_what_the_use_case_keeps_together():
    """Two neighbouring parts of one unit are in the same split under every seed."""
    whole = manifest([4] * 40)
    for split in part_splits(whole, Split(test=0.2, val=0.15), 3, lambda part: part[:-1]):
        sides = {(image.group[:-1], image.split) for image in split.images}
        assert len(sides) == len({image.group[:-1] for image in split.images})


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


def test_a_trial_with_rates_counts_what_a_line_would_see_and_is_read_again(tmp_path):
    """The threshold comes from the validation split; what was kept is read with its rates."""
    material = load_material(None)
    small = part_splits(material.manifest, material.use_case.split, 1)[0]
    kept = [*small.of(SplitName.TRAIN)[:6], *small.of(SplitName.VAL)[:2], *small.of(SplitName.TEST)[:4]]
    few = replace(small, images=tuple(sorted(kept, key=lambda image: image.sha256)))
    settings = TrainingSettings(width_multiple=0.0625, image_width=96, image_height=64, epochs=1, batch=4)
    tiles = Tiles(scale=0.25, overlap_px=16)  # of the picture at a quarter of its sides
    found = trial(material, few, settings, tmp_path, with_rates=True, tiles=tiles)
    parts = {image.group: bool(image.boxes) for image in few.of(SplitName.TEST)}
    assert found.rates.escape[1] + found.rates.overkill[1] == found.rates.review[1] == len(parts)
    assert 0 <= found.map50 <= found.rates.map33 <= 1
    assert trial(material, few, settings, tmp_path, with_rates=True, tiles=tiles) == found


def test_the_table_of_the_boards_pools_rates_over_splits_and_says_whether_the_goal_is_met():
    """Two splits with 1 and 2 escapes of 50 are 3 of 100, with their interval."""

    def made(seed, map50, escapes):
        return Trial(
            seed, map50, 0.5, images={"train": 300, "val": 90, "test": 100}, parts={}, seconds=600.0,
            rates=Rates(escape=(escapes, 50), overkill=(0, 50), review=(4, 100), map33=0.97, val_map50=0.9),
        )  # fmt: skip

    text = boards.render(
        Report("make bench-accuracy", "506 photographs", {SHIPPED: "ours", "small": "smaller"},
               {SHIPPED: [made(0, 0.94, 1), made(2, 0.97, 2)], "small": [made(0, 0.9, 0), made(2, 0.9, 0)]})
    )  # fmt: skip
    assert "| ours | 0.940 | 0.970 | **0.955** | 0.021 | 0.970 | 3/100 (0.010-0.085) | 0/100 (0.000-0.037) |" in text
    assert "| mAP50: at least 0.95 on pieces kept apart | 0.955 | met |" in text
    assert "seed 0: 300 to learn from, 90 for the threshold, 100 to be judged on" in text


def test_the_document_has_a_place_for_the_table_of_the_boards():
    """A run of hours must not fail as it writes its result."""
    text = (REPOSITORY / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert 0 < text.index(boards.BEGIN) < text.index(boards.END)


def test_what_was_tried_on_boards_differs_from_the_shipped_use_case_in_what_it_says():
    """Other sizes of the input, or tiles, and nothing else."""
    use_case = load_use_case(REPOSITORY / "use_cases" / "pcb.yaml")
    found = {name: settings for name, (_, settings) in boards.contenders(use_case, boards.TRIED).items()}
    assert found[SHIPPED] == use_case.training
    assert (found["small"].image_width, found["full"].image_width) == (320, 640)
    assert found["tiles"] == found["small"]
    assert set(boards.TILES) == {"tiles"}
    assert found["small"].epochs == found["full"].epochs == use_case.training.epochs
    with pytest.raises(ValueError, match="expected of small, full, tiles"):
        boards.contenders(use_case, ["luck"])


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
