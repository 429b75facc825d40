"""The U-Net that imitates an ISP: a picture and constant planes of its settings in, a picture out.

Tseng et al., "Hyperparameter Optimization in Black-box Image Processing using Differentiable Proxies",
ACM Trans. Graphics 38(4), 2019, section 4.3 and fig. 3. The paper leaves the block open; here it is two 3x3
convolutions a level, 2x2 maximum pooling, transposed 2x2 convolutions and no normalization. Edges are repeated
and not padded with zeros, so that a constant plane is constant up to the border.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import ShapeError, nearest

CHANNELS: dict[str, tuple[int, ...]] = {
    "paper": (32, 64, 128, 256, 512),
    "small": (16, 32, 64, 128, 256),
    "tiny": (8, 16, 32, 64),
}
"""features a level, finest first, by preset"""
Activation = Literal["relu", "silu"]


class ProxyUNet(nn.Module):
    """Pixels (B, C, H, W) and settings (B, P) in [0, 1] -> encoded RGB (B, 3, sH, sW), not clipped.

    Three channels are an encoded picture (s = 1); four are the RGGB sites of a mosaic at half size (s = 2),
    whose twelve outputs are shuffled to the mosaic's size (section 6.1). The settings, one constant plane a
    knob, enter at the top and again after each pooling. With `residual` the net learns the difference from
    its input (from the R, mean G and B of the site for a mosaic).

    H and W are multiples of `multiple`. Raises `ShapeError`.
    """

    def __init__(
        self,
        knobs: int,
        *,
        pixels: int = 3,
        channels: Sequence[int] | str,
        residual: bool = True,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        if pixels not in (3, 4):
            raise ShapeError(f"pixels={pixels} must be 3 (an encoded picture) or 4 (the sites of a mosaic)")
        self.channels = named_channels(channels)
        self.knobs, self.pixels, self.residual, self.activation = knobs, pixels, residual, activation
        self.scale = 2 if pixels == 4 else 1
        into = [pixels, *self.channels[:-1]]
        self.down = nn.ModuleList(_block(i + knobs, o, activation) for i, o in zip(into, self.channels, strict=True))
        pairs = list(zip(self.channels[:0:-1], self.channels[-2::-1], strict=True))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, stride=2) for i, o in pairs)
        self.up = nn.ModuleList(_block(2 * o, o, activation) for _, o in pairs)
        self.last = nn.Conv2d(self.channels[0], 3 * self.scale**2, 1)
        self._start()

    def _start(self) -> None:
        """First weights that keep the signal's size through the levels (He et al. 2015); no normalization does it.

        A net with `residual` starts as the identity.
        """
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                # each output of a transposed 2x2 convolution of stride 2 sees one tap
                fan = layer.in_channels * (1 if isinstance(layer, nn.ConvTranspose2d) else layer.kernel_size[0] ** 2)
                gain = 2.0 if layer.kernel_size[0] == 3 else 1.0
                nn.init.normal_(layer.weight, std=math.sqrt(gain / fan))
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        if self.residual:
            nn.init.zeros_(self.last.weight)

    @property
    def multiple(self) -> int:
        """What height and width must be multiples of."""
        return int(2 ** (len(self.channels) - 1))

    def forward(self, pixels: Tensor, settings: Tensor) -> Tensor:
        """Imitate; one picture meets B settings or B pictures meet B settings."""
        pixels, settings = self._checked(pixels, settings)
        # centered numbers are learned from faster; the family of functions is the same
        planes = (2 * settings - 1)[..., None, None].expand(-1, -1, *pixels.shape[-2:])
        x, skips = pixels - 0.5, []
        for i, block in enumerate(self.down):
            if i:
                # the maximum of a constant plane is itself
                x, planes = F.max_pool2d(x, 2), planes[..., ::2, ::2]
            x = block(torch.cat([x, planes], 1))
            skips.append(x)
        for grow, block, skip in zip(self.grow, self.up, skips[-2::-1], strict=True):
            x = block(torch.cat([skip, grow(x)], 1))
        out = F.pixel_shuffle(self.last(x), self.scale)
        return out + self._base(pixels) if self.residual else out

    def _base(self, pixels: Tensor) -> Tensor:
        if self.scale == 1:
            return pixels
        colors = torch.cat([pixels[:, :1], pixels[:, 1:3].mean(1, keepdim=True), pixels[:, 3:]], 1)
        return F.interpolate(colors, scale_factor=2, mode="nearest")

    def _checked(self, pixels: Tensor, settings: Tensor) -> tuple[Tensor, Tensor]:
        if pixels.ndim != 4 or pixels.shape[1] != self.pixels or any(n % self.multiple for n in pixels.shape[-2:]):
            law = f"(B, {self.pixels}, H, W) with sides in multiples of {self.multiple}"
            raise ShapeError(f"pixels {tuple(pixels.shape)} must be {law}")
        if settings.ndim != 2 or settings.shape[1] != self.knobs:
            raise ShapeError(f"settings {tuple(settings.shape)} must be (B, {self.knobs})")
        if len({len(pixels), len(settings)} - {1}) > 1:
            raise ShapeError(f"{len(settings)} settings do not fit {len(pixels)} pictures; use 1 or as many of either")
        batch = max(len(pixels), len(settings))
        return pixels.expand(batch, -1, -1, -1), settings.expand(batch, -1)


def named_channels(channels: Sequence[int] | str) -> tuple[int, ...]:
    """The features of a preset, or at least two positive numbers of one's own. Raises `ShapeError`."""
    if isinstance(channels, str):
        if channels not in CHANNELS:
            raise ShapeError(f"channels={channels!r} is no preset; {nearest(channels, CHANNELS)}")
        return CHANNELS[channels]
    if len(channels) < 2 or min(channels) < 1:
        raise ShapeError(f"channels={tuple(channels)} must be at least two positive numbers, finest level first")
    return tuple(int(c) for c in channels)


def _block(before: int, after: int, activation: Activation) -> nn.Sequential:
    steps: list[nn.Module] = []
    for width in (before, after):
        steps.append(nn.Conv2d(width, after, 3, padding=1, padding_mode="replicate"))
        steps.append(nn.ReLU(inplace=True) if activation == "relu" else nn.SiLU(inplace=True))
    return nn.Sequential(*steps)
