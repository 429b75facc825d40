"""A small network that looks at a frame and says where the knobs should stand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import ShapeError
from ispkit.core.space import ParamSpace

_GRID = 8
_DEEPEST = 1e-4  # below it a logarithm of light or of noise says nothing


def frame_statistics(pixels: Tensor) -> Tensor:
    """What exposure, contrast and noise leave in a frame: (B, C, H, W), white = 1 -> (B, 3C, 8, 8).

    For each channel and cell of an 8x8 grid the logarithms of the mean, of the mean absolute second difference
    (fine texture and noise) and of the spread of the cell's 2x2 means (coarse contrast), scaled to about [-1, 1].
    Raises `ShapeError` below 16 px a side.
    """
    if pixels.ndim != 4 or min(pixels.shape[-2:]) < 2 * _GRID:
        raise ShapeError(f"pixels {tuple(pixels.shape)} must be (B, C, H, W) of at least {2 * _GRID} px a side")
    mean = F.adaptive_avg_pool2d(pixels, _GRID)
    inner = pixels[..., 1:-1]
    fine = F.adaptive_avg_pool2d((pixels[..., 2:] - 2 * inner + pixels[..., :-2]).abs(), _GRID)
    coarse = F.avg_pool2d(pixels, 2)
    spread = (F.adaptive_avg_pool2d(coarse.square(), _GRID) - F.adaptive_avg_pool2d(coarse, _GRID).square()).clamp(
        min=0
    )
    parts = (mean, fine, (spread + _DEEPEST**2).sqrt())
    return torch.cat([p.clamp(min=_DEEPEST).log10() / 2 + 1 for p in parts], 1)


class KnobPredictor(nn.Module):
    """Pixels (B, C, H, W), linear sites of a mosaic or colors, white = 1 -> points (B, P) of the unit cube.

    It sees the `frame_statistics` alone, so that frames of any size are equal and a big one costs little. Untrained
    it says the defaults of `space`, whatever the frame.
    """

    def __init__(self, space: ParamSpace, *, channels: int = 4, width: int = 32) -> None:
        super().__init__()
        self.space, self.channels = space, channels
        self.look = nn.Sequential(
            nn.Conv2d(3 * channels, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, width),
            nn.ReLU(),
        )
        self.say = nn.Linear(width, space.dim)
        nn.init.zeros_(self.say.weight)
        with torch.no_grad():
            self.say.bias.copy_(torch.logit(space.to_vector({}).float().clamp(0.02, 0.98)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Where the knobs should stand, inside (0, 1). Raises `ShapeError`."""
        if pixels.ndim != 4 or pixels.shape[1] != self.channels:
            raise ShapeError(f"pixels {tuple(pixels.shape)} must be (B, {self.channels}, H, W)")
        said: Tensor = self.say(self.look(frame_statistics(pixels)))
        return torch.sigmoid(said)
