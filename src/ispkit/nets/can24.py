"""CAN24, the context aggregation network: dilated convolutions at full size, as wide a look as a U-Net's.

Chen, Xu, Koltun, "Fast Image Processing with Fully-Convolutional Networks", ICCV 2017, section 3: 24 features,
dilation 1, 2, 4 ... 64, then 1, leaky ReLU 0.2, a last 1x1 convolution, first weights that pass the signal through.
The paper's adaptive normalization mixes in batch normalization. It is left out: trained on crops it would see other
statistics than a picture has, taken from the picture itself at every layer it could not be rendered in tiles, and
first weights that are the identity keep the signal's size without it. 37,203 parameters. "small" stops at dilation 16,
so that crops of 64-96 px fill most of its field: 26,787 parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.nets.layers import Conv, at_least, expect, start_linear
from ispkit.nets.picture_net import PictureNet

_SLOPE = 0.2


@dataclass(frozen=True)
class CanShape:
    """Sizes of a `CanNet`. Raises `ParamError`."""

    width: int = 24
    rates: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 1)
    """dilation of each 3x3 convolution"""

    def __post_init__(self) -> None:
        at_least("CanNet", 3, width=self.width)
        at_least("CanNet", 1, layers=len(self.rates), **{f"rates[{i}]": r for i, r in enumerate(self.rates)})


PRESETS = {"paper": CanShape(), "small": CanShape(rates=(1, 2, 4, 8, 16, 1))}


class CanNet(PictureNet):
    """A picture (B, 3, H, W) -> the finished picture of the same size, not clipped; range as it is trained."""

    inputs = 3

    def __init__(self, shape: CanShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or PRESETS["paper"]
        width = shape.width
        self.convs = nn.ModuleList(Conv(width if i else 3, width, rate=r) for i, r in enumerate(shape.rates))
        self.last = Conv(width, 3, 1)
        self.halo = sum(shape.rates)
        for conv in self.convs.children():
            nn.init.dirac_(conv.weight)  # type: ignore[arg-type]
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        start_linear(self.last)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Make the picture; nothing is pooled. Raises `ShapeError`."""
        expect(self, x)
        for conv in self.convs:
            x = F.leaky_relu(conv(x), _SLOPE)
        picture: Tensor = self.last(x)
        return picture
