"""GMSD: a perceptual distance that needs no weights."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ispkit.metrics.base import check_pair, check_size, full_precision, luma, safe_sqrt

_CONTRAST = 170 / 255**2  # the constant c of the paper, which counts in 8-bit codes


@full_precision
def gmsd(picture: Tensor, reference: Tensor, *, data_range: float) -> Tensor:
    """Gradient magnitude similarity deviation, (B, 3, H, W) encoded RGB -> (B,), lower is better.

    0 if identical, below about 0.35 in practice. Xue, Zhang, Mou, Bovik 2014: luma, 2x2 means, Prewitt
    gradients with a border of zeros, the standard deviation of their similarity.
    """
    a, b = check_pair(picture, reference, data_range, channels=3)
    check_size(a, 4, "gmsd")
    first, second = _gradient(a), _gradient(b)
    similarity = (2 * first * second + _CONTRAST) / (first.square() + second.square() + _CONTRAST)
    return safe_sqrt(similarity.flatten(1).var(1))


def _gradient(rgb: Tensor) -> Tensor:
    """Prewitt gradient magnitude of the halved luma, (B, 3, H, W) -> (B, 1, ceil(H/2), ceil(W/2))."""
    y = luma(rgb)
    y = F.avg_pool2d(F.pad(y, (0, y.shape[-1] % 2, 0, y.shape[-2] % 2)), 2)
    x = F.pad(y, (1, 1, 1, 1))
    rows = x[..., :-2, :] + x[..., 1:-1, :] + x[..., 2:, :]
    columns = x[..., :-2] + x[..., 1:-1] + x[..., 2:]
    across = (rows[..., 2:] - rows[..., :-2]) / 3
    down = (columns[..., 2:, :] - columns[..., :-2, :]) / 3
    return safe_sqrt(across.square() + down.square())
