"""The plain U-Net between two pictures: `ProxyUNet` without settings, as a network that can be tiled and exported.

Two 3x3 convolutions a level, 2x2 maximum, transposed 2x2 convolutions, no normalization; it learns the difference from
its input and starts as the identity (Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015). "paper" has the widths of the
U-Net of Chen et al., "Learning to See in the Dark", CVPR 2018; "small": 0.48 million parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ispkit.nets.layers import at_least, expect
from ispkit.nets.picture_net import PictureNet
from ispkit.nets.unet import Activation, ProxyUNet


@dataclass(frozen=True)
class PictureUNetShape:
    """Sizes of a `PictureUNet`. Raises `ParamError`."""

    channels: tuple[int, ...] = (32, 64, 128, 256, 512)
    """features a level, finest first"""
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        at_least("PictureUNet", 1, **{f"channels[{i}]": c for i, c in enumerate(self.channels)})
        at_least("PictureUNet", 2, levels=len(self.channels))


PRESETS = {"paper": PictureUNetShape(), "small": PictureUNetShape(channels=(16, 32, 64, 128))}


class PictureUNet(PictureNet):
    """Encoded RGB (B, 3, H, W) -> encoded RGB of the same shape, not clipped."""

    inputs = 3

    def __init__(self, shape: PictureUNetShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or PRESETS["paper"]
        self.net = ProxyUNet(0, channels=shape.channels, activation=shape.activation)
        self.multiple = self.net.multiple
        # two convolutions a level and way; from a level up to the next finer one a cell reaches past itself
        self.halo = 5 * (self.multiple - 1) + 2 * self.multiple

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Make the picture; nothing is pooled. Raises `ShapeError`."""
        expect(self, x)
        picture: Tensor = self.net(x, x.new_zeros(len(x), 0))
        return picture
