"""DeepCamera as CameraNet's tables count it: a multi-scale net that reads the mosaic itself, not its planes.

Ratnasingam, "Deep Camera: A Fully Convolutional Neural Network for Image Signal Processing", ICCV Workshops 2019, as
Liang et al. 2021 describe and count it (sections IV-C and IV-D: the mosaic as input, several scales, 0.467 million
parameters, 4460.35 GFLOPs at 4032x3024). Its layers are not in the texts that this file was made from: they were
chosen so that both counts fit. Of the nets of three scales and one width, joined by 1x1 convolutions, that were tried,
few fit both within 1 %; this one has 467,187 parameters and 4452.6 GFLOPs (two a multiply-add). Take its results as
those of a net of this size and kind, not of the original. "small": 0.1 million parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.nets.layers import Conv, at_least, expect, start, start_linear
from ispkit.nets.picture_net import PictureNet


@dataclass(frozen=True)
class DeepCameraShape:
    """Sizes of a `DeepCamera`. Raises `ParamError`."""

    width: int = 48
    """features at every scale"""
    convs: tuple[int, int, int] = (3, 4, 8)
    """3x3 convolutions at full, half and quarter size; the first two once more on the way up"""

    def __post_init__(self) -> None:
        at_least("DeepCamera", 1, width=self.width, **{f"convs[{i}]": n for i, n in enumerate(self.convs)})


PRESETS = {"paper": DeepCameraShape(), "small": DeepCameraShape(width=22)}


class DeepCamera(PictureNet):
    """Planes R, G, G, B (B, 4, H, W), black 0 and white 1 -> encoded RGB (B, 3, 2H, 2W), not clipped.

    The planes are laid out as the mosaic first; ReLU, 2x2 maximum, nearest neighbor on the way up.
    """

    inputs, scale, multiple = 4, 2, 2

    def __init__(self, shape: DeepCameraShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or PRESETS["paper"]
        full, half, quarter = shape.convs
        width = shape.width
        self.first = Conv(1, width)
        self.down = nn.ModuleList(_row(width, n) for n in (full, half))
        self.bottom = _row(width, quarter)
        self.merge = nn.ModuleList(Conv(2 * width, width, 1) for _ in range(2))
        self.up = nn.ModuleList(_row(width, n) for n in (full, half))
        self.head = Conv(width, 3, 1)
        # pixels of the mosaic; a cell on the way up reaches one finer cell past itself
        reach = 1 + 2 * full + 2 * (2 * half) + 4 * quarter + 1 + 2
        self.halo = -(-reach // 2)
        start(self)
        start_linear(self.head)

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Make the picture; nothing is pooled. Raises `ShapeError`."""
        expect(self, x)
        x, skips = F.relu(self.first(F.pixel_shuffle(x, 2))), []
        for row in self.down:
            skips.append(row(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.bottom(x)
        for merge, row, skip in zip(reversed(self.merge), reversed(self.up), reversed(skips), strict=True):
            x = row(F.relu(merge(torch.cat([F.interpolate(x, scale_factor=2.0), skip], 1))))
        picture: Tensor = self.head(x)
        return picture


def _row(width: int, convs: int) -> nn.Sequential:
    return nn.Sequential(*(layer for _ in range(convs) for layer in (Conv(width, width), nn.ReLU())))
