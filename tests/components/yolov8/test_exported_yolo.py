"""What is exported as YOLO, read by Ultralytics' own dataset reader."""

from dataclasses import replace

import numpy as np
from ultralytics.cfg import get_cfg
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

from components.exchange.exporting import export_yolo
from components.exchange.selection import from_manifest
from inspection.image import sha256_of
from tests.components.training.generated_dataset import generated_line


def test_ultralytics_reads_every_image_box_and_class(tmp_path):
    """Every split is read, with boxes within a hundredth of a pixel and good parts as background."""
    line = generated_line(train=6, val=3, test=3, defect_rate=0.7, class_name="傷: deep")
    folder = tmp_path / "exported"
    images = [replace(image, uri=f"{image.uri}.jpg") for image in from_manifest(line.manifest)]
    export_yolo(folder, images, line.manifest.classes, line.fetch)
    data = check_det_dataset(str(folder / "data.yaml"), autodownload=False)
    assert data["names"] == {0: "傷: deep"}
    seen = {}
    for split in ("train", "val", "test"):
        dataset = YOLODataset(img_path=data[split], data=data, task="detect", augment=False, hyp=get_cfg())
        for label in dataset.labels:
            with open(label["im_file"], "rb") as stream:
                sha256 = sha256_of(stream.read())
            height, width = label["shape"]
            boxes = np.asarray(label["bboxes"], dtype=np.float64) * [width, height, width, height]
            corners = np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2])
            seen[sha256] = (split, sorted(map(tuple, corners)))
    assert set(seen) == {image.sha256 for image in line.manifest.images}
    assert any(image.boxes for image in line.manifest.images)
    assert not all(image.boxes for image in line.manifest.images)
    for image in line.manifest.images:
        split, corners = seen[image.sha256]
        assert split == image.split
        expected = sorted(labelled.box.xyxy for labelled in image.labels)
        np.testing.assert_allclose(np.reshape(corners, (-1, 4)), np.reshape(expected, (-1, 4)), atol=0.01)
