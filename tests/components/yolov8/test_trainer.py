"""What is Ultralytics' own in a training; what every trainer keeps to is in test_trainer_contract.py."""

from pathlib import Path

import torch

from components.training.dataset_folder import write_dataset
from tests.components.training.generated_dataset import generated_line
from tests.components.training.trainer_process import Step, run

TRAINER = "components.yolov8.trainer:UltralyticsTrainer"


def test_base_weights_are_taken_and_a_file_with_code_is_refused(tmp_path):
    """A checkpoint of an earlier training is loaded; a pickle with code is refused."""
    line = generated_line()
    dataset = write_dataset(line.manifest, line.fetch, tmp_path / "dataset")

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was-here",))

    evil = tmp_path / "evil.pt"
    torch.save({"model": Evil()}, evil)
    best = tmp_path / "work" / "0" / "ultralytics" / "weights" / "best.pt"
    one = {"epochs": 1}
    steps = (Step(dataset, one), Step(dataset, one, base=best), Step(dataset, one, base=evil))
    first, again, refused = run(TRAINER, tmp_path, *steps)["steps"]

    assert first["record"]["tensors_from_base_weights"] == 0
    ((_, numbers),) = first["epochs"]
    assert numbers["train/box_loss"] > 0
    assert "metrics/mAP50" in numbers
    assert again["error"] == ""
    assert again["record"]["tensors_from_base_weights"] > 100
    assert "evil.pt" in refused["error"]
    assert not (tmp_path / "was-here").exists()
