"""Bilateral filter: means over neighbors of like value (Tomasi, Manduchi, ICCV 1998)."""

from __future__ import annotations

from torch import Tensor

from ispkit.ops.blur import box_kernel
from ispkit.ops.nlm import Window, falloff_of, shift_means


def bilateral_filter(image: Tensor, guide: Tensor, strength: float | Tensor, *, window: Window) -> Tensor:
    """Average neighbors with weights window * exp(-distance / (2 strength^2)).

    Args:
        image: (B, C, H, W) what is averaged.
        guide: (B, G, H, W); distance = mean over its channels of the squared difference.
        strength: in units of the guide; scalar or (B,).
        window: spatial weights, from `ops.nlm`: `disk_window`, `gaussian_window` or `square_window`.
    """
    falloff = falloff_of(strength, image) / 2
    return shift_means([(image, falloff)], guide, window=window, patch=box_kernel(0, guide))[0]
