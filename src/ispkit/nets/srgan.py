"""The restoration net of CameraNet's second architecture pair: SRGAN's generator with ten layers.

Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network", CVPR 2017, fig. 4:
a 9x9 convolution, residual blocks of two 3x3 convolutions, one more before the long skip, one before the sub-pixel
shuffle, a 9x9 convolution at full size. Ten layers (Liang et al. 2021, section IV-B) are three blocks; 0.44 million
parameters. Batch normalization is left out: its statistics are those of training crops, and nets of this kind restore
better without it (Lim et al., EDSR, CVPR Workshops 2017). No discriminator: CameraNet trains it by its own losses.
"small": 0.12 million parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from ispkit.core.errors import ParamError
from ispkit.nets.layers import Conv, at_least, expect, start, start_linear, unpacked
from ispkit.nets.picture_net import PictureNet

_SLOPE = 0.25


@dataclass(frozen=True)
class SrganShape:
    """Sizes of an `SrganNet`. Raises `ParamError`."""

    width: int = 64
    blocks: int = 3
    """residual blocks; layers in all: 4 + 2 blocks"""

    def __post_init__(self) -> None:
        at_least("SrganNet", 1, width=self.width, blocks=self.blocks)


PRESETS = {"paper": SrganShape(), "small": SrganShape(width=32)}


class SrganNet(PictureNet):
    """Planes R, G, G, B (B, 4 or 5, H, W), black 0 and white 1 -> a picture (B, 3, 2H, 2W), not clipped.

    The fifth input is a noise map. The range of the picture is that of those it is trained on.
    """

    scale = 2

    def __init__(self, inputs: int = 4, shape: SrganShape | None = None) -> None:
        super().__init__()
        if inputs not in (4, 5):
            raise ParamError(f"SrganNet: inputs={inputs} must be 4 (planes) or 5 (planes and a noise map)")
        self.inputs, self.shape = inputs, shape or PRESETS["paper"]
        width = self.shape.width
        self.first = nn.Sequential(Conv(inputs, width, 9), nn.PReLU(width, _SLOPE))
        self.blocks = nn.ModuleList(
            nn.Sequential(Conv(width, width), nn.PReLU(width, _SLOPE), Conv(width, width))
            for _ in range(self.shape.blocks)
        )
        self.after = Conv(width, width)
        self.grow, self.bend = Conv(width, 4 * width), nn.PReLU(width, _SLOPE)
        self.last = Conv(width, 3, 9)
        # 9x9, then 3x3s, at half size; the last 9x9 reaches 4 px of the picture, which are 2 cells
        self.halo = 4 + 2 * self.shape.blocks + 2 + 2
        start(self, slope=_SLOPE)
        start_linear(self.last, 0.1)
        for conv in (*(cast(nn.Sequential, block)[-1] for block in self.blocks), self.after):
            # sums of equals would double the signal's power in each block
            start_linear(cast(Conv, conv), 0.1)

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Make the picture; nothing is pooled. Raises `ShapeError`."""
        expect(self, x)
        first = x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        x = first + self.after(x)
        picture: Tensor = self.last(self.bend(unpacked(self.grow(x))))
        return picture
