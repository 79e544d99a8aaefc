# SPDX-License-Identifier: AGPL-3.0-only
"""YOLOv8 rearranged for inference on a CPU: the same numbers with fewer passes over memory.

Where the network halves the channels of a feature map (C2f), a runtime converts from its blocked layout and back; two
convolutions that compute one half each need no conversion. Where box sides are softmaxed (DFL), the network transposes
twice because the axis is not the last. Together the changes save an eighth of the time on two cores.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


def rearranged(network: Any) -> Any:
    """A rearranged copy of a fused YOLOv8 in eval mode, with the same answers."""
    from ultralytics.nn.modules import C2f

    network = copy.deepcopy(network)
    for index, layer in enumerate(network.model):
        if type(layer) is C2f and isinstance(layer.cv1.conv, nn.Conv2d):
            network.model[index] = _Halves(layer)
    head = network.model[-1]
    if isinstance(head.dfl, nn.Module) and hasattr(head.dfl, "c1"):
        head.dfl = _SidesFromBins(head.dfl.c1)
    return network


class _Halves(nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
    """C2f with two first convolutions, one for each half of the channels."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        channels = block.c
        self.first, self.second = _part(block.cv1, slice(0, channels)), _part(block.cv1, slice(channels, 2 * channels))
        self.m, self.cv2 = block.m, block.cv2
        self.i, self.f, self.type = block.i, block.f, block.type  # the layer's place in the network, which reads these

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.first(x), self.second(x)]
        for bottleneck in self.m:
            parts.append(bottleneck(parts[-1]))
        answer: Tensor = self.cv2(torch.cat(parts, 1))
        return answer


class _SidesFromBins(nn.Module):  # type: ignore[misc]  # as above
    """DFL: the expected bin of each of the four sides. (1, 4 * bins, n) -> (1, 4, n)."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins
        self.numbers = nn.Parameter(torch.arange(bins, dtype=torch.float32).view(bins, 1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        by_side = x.view(1, 4, self.bins, -1).transpose(2, 3)
        return (by_side.softmax(3) @ self.numbers).view(1, 4, -1)


def _part(block: Any, channels: slice) -> Any:
    """A fused Ultralytics convolution block with some of its output channels."""
    part, whole = copy.deepcopy(block), block.conv
    weight, bias = whole.weight.data[channels].clone(), whole.bias.data[channels].clone()
    part.conv = nn.Conv2d(whole.in_channels, len(bias), whole.kernel_size, whole.stride, whole.padding)
    part.conv.weight, part.conv.bias = (nn.Parameter(value, requires_grad=False) for value in (weight, bias))
    return part
