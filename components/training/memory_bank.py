"""What a PatchCore model is made of: patch features of good parts, the bank that keeps the most different of them, and
the calibration of distances.

PatchCore: Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022, arXiv:2106.08265.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.training.efficientnet_lite import Features

STAGES: Final = (2, 4)
"""The stages of the network whose maps make a patch; the first sets the size of the anomaly map, a place per stride."""
STRIDE: Final = 8
DIMENSIONS: Final = 96
"""Dimensions of a patch after the projection."""
BANK: Final = 2048
"""Patches in the bank at most."""
CONSIDERED: Final = 20_000
"""Patches that the bank is chosen from at most."""
POWER: Final = 4
"""How steeply a score rises with the squared distance."""
_MOST_RATIO: Final = 1e4
_RIDGE: Final = 1e-2


class Patches(nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
    """Images -> a feature for each place: the network's maps on the grid of the finest one.

    PatchCore averages each map over neighbourhoods first, and smooths the distances last. On generated parts both cost
    more than they gave: small defects fade.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = Features(STAGES)

    @property
    def channels(self) -> int:
        """The length of a feature."""
        return sum(self.features.channels)

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, height, width) float32 RGB in 0..1 -> (n, channels, height / 8, width / 8)."""
        finest, *others = self.features(images)
        rest = [F.interpolate(o, size=finest.shape[-2:], mode="bilinear", align_corners=False) for o in others]
        return torch.cat([finest, *rest], dim=1)


@dataclass(frozen=True, slots=True)
class Projection:
    """Whitening by principal components: patch -> (patch - mean) @ matrix, in which no direction weighs more.

    mean: (channels,). matrix: (channels, dimensions).
    """

    mean: Tensor
    matrix: Tensor

    def of(self, patches: Tensor) -> Tensor:
        """(n, channels) -> (n, dimensions)."""
        return (patches - self.mean) @ self.matrix


def projection_of(patches: Tensor, dimensions: int = DIMENSIONS) -> Projection:
    """The projection onto the strongest principal components of some patches, (n, channels)."""
    mean = patches.mean(dim=0)
    centred = (patches - mean).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred / max(1, len(patches) - 1))
    values, vectors = values.flip(0).clamp(min=0)[:dimensions], vectors.flip(1)[:, :dimensions]
    # The sign of an eigenvector is arbitrary; fixed, so that another run gives the same bytes.
    vectors = vectors * torch.sign(vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)))
    scale = (values + _RIDGE * values.mean()).rsqrt()
    return Projection(mean, (vectors * scale).float())


def coreset(patches: Tensor, size: int = BANK) -> Tensor:
    """The patches that lie farthest from each other: greedily, each next one is the farthest from all before.

    patches: (n, dimensions), n > 0. Returns (min(n, size), dimensions).
    """
    if len(patches) <= size:
        return patches
    squared = (patches * patches).sum(dim=1)
    chosen = [int((patches - patches.mean(dim=0)).square().sum(dim=1).argmin())]
    nearest = torch.full((len(patches),), torch.inf)
    while len(chosen) < size:
        latest = patches[chosen[-1]]
        nearest = torch.minimum(nearest, squared - 2 * (patches @ latest) + squared[chosen[-1]])
        chosen.append(int(nearest.argmax()))
    return patches[torch.tensor(chosen)]


def squared_distances(patches: Tensor, bank: Tensor) -> Tensor:
    """(n, dimensions), (m, dimensions) -> (n,): the squared distance of each patch to the nearest of the bank."""
    of_bank = (bank * bank).sum(dim=1)
    found = [
        (of_bank - 2 * (some @ bank.T)).min(dim=1).values + (some * some).sum(dim=1) for some in patches.split(4096)
    ]
    return torch.cat(found).clamp(min=0)


class Deployed(nn.Module):  # type: ignore[misc]
    """The network as devices run it: (1, 3, height, width) -> an anomaly map (1, 1, rows, columns) in 0..1; eval mode.

    A place's score is r / (1 + r), r = (d² / unit) to the power `POWER`, where d is the distance of its patch to the
    bank. It rises with the distance, never reaches 0, and is one half at d² = unit.

    Args:
        unit: the squared distance that scores one half, above 0.
    """

    def __init__(
        self, patches: Patches, projection: Projection, bank: Tensor, unit: float, rows: int, columns: int
    ) -> None:
        super().__init__()
        self.patches, self.rows, self.columns = patches, rows, columns
        self.register_buffer("matrix", projection.matrix.T.contiguous()[None])
        self.register_buffer("offset", -(projection.mean @ projection.matrix).reshape(1, -1, 1))
        self.register_buffer("bank", (-2 * bank).contiguous()[None])
        self.register_buffer("of_bank", (bank * bank).sum(dim=1).reshape(1, -1, 1))
        self.unit = unit

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        found = self.patches(images)
        flat = found.reshape(1, found.shape[1], self.rows * self.columns)
        own = torch.matmul(self.matrix, flat) + self.offset
        nearest = (torch.matmul(self.bank, own) + self.of_bank).amin(dim=1, keepdim=True)
        squared = (nearest + (own * own).sum(dim=1, keepdim=True)).clamp(min=0)
        scores = score_of(squared, self.unit)
        return scores.reshape(1, 1, self.rows, self.columns)  # the export then knows the size of the answer


def score_of(squared: Tensor, unit: float) -> Tensor:
    """Squared distances as scores in 0..1; see `Deployed`."""
    ratio = (squared / unit).clamp(min=1e-3, max=_MOST_RATIO)
    steep = ratio**POWER
    return steep / (1 + steep)


def unit_for(squared: float, score: float) -> float:
    """The unit with which a squared distance has a score: the inverse of `score_of`."""
    return float(squared / (score / (1 - score)) ** (1 / POWER))
