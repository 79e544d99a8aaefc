"""mAP50 on parts that the training never saw, through the code that the device runs."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

from benchmarks.edge.material import Material
from components.evaluation.metrics import Scored, average_precision
from components.stores.datasets.manifest import SplitName
from edge_agent.inference import RuntimeChoice, load_model
from inspection import ClassThreshold, Inspector, Nms, decode_image

_FLOOR = 0.001


def map50(material: Material, model: Path, choice: RuntimeChoice) -> float:
    """mAP50 over validation and test parts. With the settings of the use case, the training reads neither."""
    size, classes = material.preprocess, material.use_case.classes
    infer = load_model(model, (1, 3, size.height, size.width), choice)
    always = {name: ClassThreshold(fail=1.0, uncertain=_FLOOR) for name in classes}
    inspector = Inspector(infer, size, classes, always, Nms())
    scored = [
        Scored(entry.group, entry.width, entry.height, entry.labels, inspector.detect(decode_image(data), _FLOOR))
        for entry, data in material.of(SplitName.VAL, SplitName.TEST)
    ]
    return mean(value[0] for value in average_precision(scored, classes).values() if value is not None)
