"""torchvision's FCOS (BSD-3-Clause) on MobileNetV3 for any input size, and the same network with boxes decoded.

Source of the method: Tian, Shen, Chen, He, *FCOS: a simple and strong anchor-free object detector*, 2020.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Final

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.ops import FeaturePyramidNetwork

from components.training.onnx_file import STRIDES
from components.use_case import TrainingSettings

_CHANNELS: Final = 64  # of each map of the pyramid; the head's group norm has 32 groups
_CONVOLUTIONS: Final = 2
_COUNT: Final = "places"
_BACKBONES: Final = {"n": "mobilenet_v3_small", "s": "mobilenet_v3_large"}


def network_of(settings: TrainingSettings, classes: int) -> FCOS:
    """The network with random weights. Model n is MobileNetV3-Small, s is Large, narrowed by `width_multiple`."""
    features = torchvision.models.get_model(
        _BACKBONES[settings.model],
        weights=None,
        width_mult=settings.width_multiple or 1.0,
        # torchvision's momentum of 0.01 suits hundreds of thousands of steps; here there may be a few hundred.
        norm_layer=partial(nn.BatchNorm2d, eps=0.001, momentum=0.03),
    ).features
    return FCOS(
        _Pyramid(features),
        num_classes=classes,
        # Kizu passes its own anchors with each call. This generator only states that there is one at each place.
        anchor_generator=torchvision.models.detection.anchor_utils.AnchorGenerator(
            tuple((stride,) for stride in STRIDES), ((1.0,),) * len(STRIDES)
        ),
        head=_Head(_CHANNELS, classes),
    )


def losses_of(network: FCOS, images: Tensor, targets: Sequence[dict[str, Tensor]]) -> tuple[dict[str, Tensor], int]:
    """torchvision's losses by name, summed over the places that answer for a box, and the number of places.

    Args:
        images: (n, 3, height, width) float32 in 0..1, as the network gets them on a device: nothing else is scaled.
        targets: for each image `boxes`, (m, 4) xyxy in input pixels, and `labels`, (m,) int64 from 0.
    """
    height, width = images.shape[-2:]
    features = list(network.backbone(images).values())
    levels = [
        places(found.shape[-2], found.shape[-1], stride, images)
        for found, stride in zip(features, STRIDES, strict=True)
    ]
    reachable = [{**target, "boxes": reached(target["boxes"], width, height)} for target in targets]
    losses: dict[str, Tensor] = network.compute_loss(
        reachable, network.head(features), [torch.cat(levels)] * len(targets), [len(level) for level in levels]
    )
    return losses, int(losses.pop(_COUNT))


def reached(boxes: Tensor, width: int, height: int) -> Tensor:
    """Widen boxes that contain no place to the nearest place, by a few pixels. Takes and returns (n, 4) xyxy.

    A place answers for a box that it lies in, on the feature map for the length of the box's longer side. A scratch
    thinner than the stride may lie between two rows of places and would be learned as background.
    """
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    longest = half.max(dim=1).values
    stride = torch.full_like(longest, STRIDES[-1])
    for candidate in reversed(STRIDES[:-1]):
        # A map answers for sides up to eight strides from a place, and the place may lie off the box's centre.
        stride = torch.where(longest + candidate < 8 * candidate, torch.full_like(stride, candidate), stride)
    step = stride[:, None]
    last = torch.tensor([width, height], dtype=boxes.dtype, device=boxes.device) / step - 1
    place = (torch.minimum((centre / step).floor().clamp(min=0), last) + 0.5) * step
    inside = (place > boxes[:, :2]) & (place < boxes[:, 2:])
    low = torch.where(inside, boxes[:, :2], torch.minimum(boxes[:, :2], place - 1))
    high = torch.where(inside, boxes[:, 2:], torch.maximum(boxes[:, 2:], place + 1))
    return torch.cat([low, high], dim=1)


def places(rows: int, columns: int, stride: int, like: Tensor) -> Tensor:
    """The places of a feature map: (rows * columns, 4) xyxy squares with the side `stride`, in input pixels."""
    y, x = torch.meshgrid(
        torch.arange(rows, device=like.device), torch.arange(columns, device=like.device), indexing="ij"
    )
    corner = torch.stack([x, y, x, y], dim=-1).reshape(-1, 4).to(like.dtype) * stride
    return corner + torch.tensor([0, 0, stride, stride], dtype=like.dtype, device=like.device)


class Deployed(nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
    """The network as it is exported for devices: (1, 3, height, width) -> (1, 4 + classes, n); eval mode."""

    def __init__(self, network: FCOS, width: int, height: int) -> None:
        super().__init__()
        self.backbone, self.head = network.backbone, network.head
        for number, stride in enumerate(STRIDES):
            squares = places(height // stride, width // stride, stride, torch.zeros(1))
            centres = (squares[:, :2] + squares[:, 2:]) / 2
            self.register_buffer(f"centres{number}", centres.T[None].contiguous())

    def forward(self, images: Tensor) -> Tensor:
        """Rows: centre x, centre y, width, height in input pixels, then a score 0..1 for each class."""
        answers = []
        for number, features in enumerate(self.backbone(images).values()):
            classes, boxes = self.head.classification_head, self.head.regression_head
            regressed = boxes.conv(features)
            logits = self._flat(classes.cls_logits(classes.conv(features)))
            sides = self._flat(boxes.bbox_reg(regressed)) * STRIDES[number]
            centreness = self._flat(boxes.bbox_ctrness(regressed))
            centres = getattr(self, f"centres{number}")
            low, high = centres - sides[:, :2], centres + sides[:, 2:]
            scores = torch.sqrt(logits.sigmoid() * centreness.sigmoid())
            answers.append(torch.cat([(low + high) / 2, high - low, scores], dim=1))
        return torch.cat(answers, dim=2)

    @staticmethod
    def _flat(x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], x.shape[2] * x.shape[3])


class Answered(nn.Module):  # type: ignore[misc]
    """The same answers by torchvision's own head and box coder; `Deployed` is compared with it."""

    def __init__(self, network: FCOS) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """See `Deployed.forward`."""
        features = list(self.network.backbone(images).values())
        answered = self.network.head(features)
        squares = [
            places(found.shape[-2], found.shape[-1], stride, images)
            for found, stride in zip(features, STRIDES, strict=True)
        ]
        boxes = self.network.box_coder.decode(answered["bbox_regression"][0], torch.cat(squares))
        scores = (answered["cls_logits"][0].sigmoid() * answered["bbox_ctrness"][0].sigmoid()).sqrt()
        centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        return torch.cat([centre, size, scores], dim=1).T[None]


class _Sides(nn.Conv2d):  # type: ignore[misc]
    """The distances from a place to the sides of its box, in strides: positive, and always with a gradient.

    torchvision clips negative distances to 0. The first steps from random weights may make all distances negative;
    without a gradient the network then never learns a box.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 4, kernel_size=3, padding=1)
        nn.init.normal_(self.weight, std=0.01)
        nn.init.zeros_(self.bias)

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.softplus(super().forward(features))


class _Head(FCOSHead):  # type: ignore[misc]
    """Returns losses as sums, with the number of places.

    torchvision divides by the number of places in a batch, and by 1 where there are none.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, 1, classes, _CONVOLUTIONS)
        self.regression_head.bbox_reg = _Sides(channels)

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        count = sum(int((found >= 0).sum()) for found in matched_idxs)
        losses = super().compute_loss(targets, head_outputs, anchors, matched_idxs)
        return {name: loss * max(1, count) for name, loss in losses.items()} | {_COUNT: torch.tensor(count)}


class _Pyramid(nn.Module):  # type: ignore[misc]
    """A feature pyramid over the maps of MobileNetV3 at each of the strides."""

    def __init__(self, features: nn.Sequential) -> None:
        super().__init__()
        self.features = features
        self.out_channels = _CHANNELS
        side, taps, channels = 8 * STRIDES[-1], {}, {}
        with torch.no_grad():
            x = torch.zeros(1, 3, side, side)
            for number, layer in enumerate(features.eval()):
                x = layer(x)
                taps[side // x.shape[-1]], channels[side // x.shape[-1]] = number, x.shape[1]
        features.train()
        self.taps = [taps[stride] for stride in STRIDES]  # the last layer of each stride
        self.pyramid = FeaturePyramidNetwork(
            [channels[stride] for stride in STRIDES], _CHANNELS, norm_layer=nn.BatchNorm2d
        )

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        found: OrderedDict[str, Tensor] = OrderedDict()
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.taps:
                found[str(number)] = x
        return self.pyramid(found)  # type: ignore[no-any-return]
