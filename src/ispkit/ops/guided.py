"""Guided filter (He, Sun, Tang, "Guided Image Filtering", ECCV 2010): local linear models, no gradient reversal."""

from __future__ import annotations

from torch import Tensor

from ispkit.ops.blur import box_filter, separable
from ispkit.ops.values import per_image


def guided_filter(image: Tensor, guide: Tensor, radius: int, *, epsilon: float | Tensor) -> Tensor:
    """Filter each channel of `image` as a local linear function of a one-channel `guide`.

    Args:
        image: (B, C, H, W).
        guide: (B, 1, H, W); may be a channel of the image itself.
        radius: half width of the box windows, px; the result depends on pixels up to 2 radius away.
        epsilon: variance of the guide below which a window counts as flat, in squared units of the
            guide; scalar or (B,).
    """
    mean_guide, mean_image = box_filter(guide, radius), box_filter(image, radius)
    variance = box_filter(guide.square(), radius) - mean_guide.square()
    covariance = box_filter(guide * image, radius) - mean_guide * mean_image
    slope = covariance / (variance + per_image(epsilon, guide))
    offset = mean_image - slope * mean_guide
    return box_filter(slope, radius) * guide + box_filter(offset, radius)


def local_variance(guide: Tensor, kernel: Tensor) -> Tensor:
    """Variance in the window of `kernel` (1 or B, taps), mean over channels: (B, C, H, W) -> (B, 1, H, W)."""
    mean = separable(guide, kernel)
    square = separable(guide.square().mean(dim=-3, keepdim=True), kernel)
    return (square - mean.square().mean(dim=-3, keepdim=True)).clamp(min=0)


def self_guided(image: Tensor, variance: Tensor, kernel: Tensor, *, epsilon: float | Tensor) -> Tensor:
    """The guided filter of a picture by itself, where all channels share one slope per window.

    In each window the picture is `a I + (1 - a) mean I` with a = variance / (variance + epsilon): the
    least squares of He et al. for a vector that guides itself with a scalar slope. Epsilon 0 is identity.

    Args:
        image: (B, C, H, W).
        variance: (B, 1, H, W) of the windows, by `local_variance`, of any guide.
        kernel: (1 or B, taps) weights of the window, the same as the variance's.
        epsilon: in units of `variance`; scalar or (B,).
    """
    flatness = per_image(epsilon, image) / (variance + per_image(epsilon, image) + 1e-12)
    return image + separable(flatness * separable(image, kernel), kernel) - separable(flatness, kernel) * image
