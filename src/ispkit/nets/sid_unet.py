"""The U-Net of "Learning to See in the Dark": planes of a mosaic in, a picture out.

Chen, Chen, Xu, Koltun, CVPR 2018, section 4, and the authors' TensorFlow code (MIT): five levels of two 3x3
convolutions, leaky ReLU 0.2, 2x2 maximum, 2x2 transposed convolutions without bias; 7,760,268 parameters. That code
fills zeros past the picture's edge, which preset "released" does and "paper" does not. "small": 0.13 million.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import ParamError
from ispkit.nets.layers import Conv, Edge, at_least, expect, start, start_linear, unpacked
from ispkit.nets.picture_net import PictureNet

_SLOPE = 0.2


@dataclass(frozen=True)
class SidUNetShape:
    """Sizes of a `SidUNet`. Raises `ParamError`."""

    channels: tuple[int, ...] = (32, 64, 128, 256, 512)
    """features a level, finest first"""
    edge: Edge = "reflect"
    """what a convolution sees past the picture"""

    def __post_init__(self) -> None:
        at_least("SidUNet", 1, **{f"channels[{i}]": c for i, c in enumerate(self.channels)})
        at_least("SidUNet", 2, levels=len(self.channels))
        if self.edge == "valid":
            raise ParamError("SidUNet: edge='valid' would change the picture's size; use 'reflect' or 'zeros'")


PRESETS = {
    "paper": SidUNetShape(),
    "released": SidUNetShape(edge="zeros"),
    "small": SidUNetShape(channels=(12, 16, 24, 32, 48)),
}


class SidUNet(PictureNet):
    """Planes R, G, G, B (B, 4 or 5, H, W), black 0 and white 1 -> encoded RGB (B, 3, 2H, 2W), not clipped.

    The fifth input is a noise map. The paper multiplies the planes by the ratio of the exposures before.
    """

    scale = 2

    def __init__(self, inputs: int = 4, shape: SidUNetShape | None = None) -> None:
        super().__init__()
        if inputs not in (4, 5):
            raise ParamError(f"SidUNet: inputs={inputs} must be 4 (planes) or 5 (planes and a noise map)")
        self.inputs, self.shape = inputs, shape or PRESETS["paper"]
        channels, edge = self.shape.channels, self.shape.edge
        self.down = nn.ModuleList(_pair(i, o, edge) for i, o in pairwise((inputs, *channels)))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(o, i, 2, 2, bias=False) for i, o in pairwise(channels))
        self.up = nn.ModuleList(_pair(2 * c, c, edge) for c in channels[:-1])
        self.head = Conv(channels[0], 12, 1)
        self.multiple = 2 ** (len(channels) - 1)
        # two convolutions a level and way; from a level up to the next finer one a cell reaches past itself
        self.halo = 5 * (self.multiple - 1) + 2 * self.multiple
        start(self, slope=_SLOPE)
        start_linear(self.head, 0.1)

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Make the picture; nothing is pooled. Raises `ShapeError`."""
        expect(self, x)
        skips: list[Tensor] = []
        for level in self.down:
            x = level(F.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        for grow, level, skip in zip(reversed(self.grow), reversed(self.up), skips[-2::-1], strict=True):
            x = level(torch.cat([grow(x), skip], 1))
        return unpacked(self.head(x))


def _pair(before: int, after: int, edge: Edge) -> nn.Sequential:
    first, second = Conv(before, after, edge=edge), Conv(after, after, edge=edge)
    return nn.Sequential(first, nn.LeakyReLU(_SLOPE), second, nn.LeakyReLU(_SLOPE))
