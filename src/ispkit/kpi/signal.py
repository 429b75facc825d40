"""What the spatial KPIs share: arrays from tensors, windows, radial means, crossings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.ops.luma import WEIGHTS

Array = NDArray[np.float64]


def planes(picture: Tensor, who: str, *, least: int = 16) -> Array:
    """(H, W) or (3, H, W) -> float64 (1 or 3, H, W) on the CPU.

    `who` asks and needs at least `least` pixels a side. Raises `ShapeError`, and `ParamError` for NaN or infinity.
    """
    if picture.ndim not in {2, 3} or (picture.ndim == 3 and picture.shape[0] != 3):
        raise ShapeError(
            f"{who} reads (H, W) luminance or (3, H, W) color, got {tuple(picture.shape)}; crop one region"
        )
    height, width = picture.shape[-2:]
    if min(height, width) < least:
        raise ShapeError(f"{who} needs at least {least}x{least} pixels, got {height}x{width}; take a larger region")
    array: Array = picture.detach().to("cpu").double().numpy().reshape(-1, height, width)
    if not np.isfinite(array).all():
        raise ParamError(f"{who} reads finite pixels, but some are NaN or infinite; mend them first")
    return array


def luminance_plane(picture: Tensor, who: str, *, least: int = 16) -> Array:
    """(H, W) or linear (3, H, W) -> luminance, float64 (H, W); errors as `planes`."""
    array = planes(picture, who, least=least)
    y: Array = array[0] if len(array) == 1 else np.tensordot(np.array(WEIGHTS), array, axes=1)
    return y


def tukey(position: Array, center: float | Array, half_width: float | Array, alpha: float) -> Array:
    """Tukey window at `position`, cosine flanks over `alpha` of each half; `alpha=1` is Hann."""
    u = np.abs(position - center) / half_width
    flank = np.clip((u - (1 - alpha)) / alpha, 0, 1) if alpha > 0 else (u > 1).astype(np.float64)
    window: Array = 0.5 * (1 + np.cos(np.pi * flank))
    return window


def hamming(position: Array, center: float | Array, half_width: float | Array) -> Array:
    """Hamming window at `position`, 0.08 at the ends."""
    window: Array = 0.54 + 0.46 * np.cos(np.pi * np.clip((position - center) / half_width, -1, 1))
    return window


def falls_to(frequency: Array, curve: Array, level: float) -> float:
    """First frequency where `curve` falls through `level`, interpolated; NaN if it never does."""
    below = np.flatnonzero(curve < level)
    if not below.size or below[0] == 0:
        return float("nan")
    i = int(below[0])
    share = (curve[i - 1] - level) / (curve[i - 1] - curve[i])
    return float(frequency[i - 1] + share * (frequency[i] - frequency[i - 1]))


def hann2(height: int, width: int) -> Array:
    """Two-dimensional Hann window whose mean square is 1, (H, W)."""
    rows, columns = (0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n) + 0.5) / n) for n in (height, width))
    window = np.outer(rows, columns)
    normed: Array = window / np.sqrt(np.mean(window**2))
    return normed


def spectrum(plane: Array) -> NDArray[np.complex128]:
    """DFT of a plane without its mean under a Hann window; |.|^2 is a power density in px^2."""
    window = hann2(*plane.shape)
    centered = plane - np.sum(plane * window) / np.sum(window)
    transform: NDArray[np.complex128] = np.fft.fft2(centered * window) / np.sqrt(plane.size)
    return transform


def radial_bins(height: int, width: int) -> tuple[Array, NDArray[Any]]:
    """Frequencies (cy/px) of rings up to Nyquist, and the ring of every DFT coefficient.

    The second is (H, W) integer, -1 beyond Nyquist. Rings are as wide as the coarser step of the DFT; the first,
    DC, is left out of the frequencies.
    """
    step = 1 / min(height, width)
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij"))
    ring = np.rint(radius / step).astype(np.intp)
    last = int(0.5 / step)
    ring[ring > last] = -1
    frequency: Array = np.arange(1, last + 1, dtype=np.float64) * step
    return frequency, ring


def radial_mean(values: Array, ring: NDArray[Any], count: int) -> Array:
    """Mean of `values` over rings 1..`count`, (count,); `ring` as `radial_bins` gives it."""
    inside = ring > 0
    total = np.bincount(ring[inside], weights=values[inside], minlength=count + 1)
    number = np.bincount(ring[inside], minlength=count + 1)
    mean: Array = total[1 : count + 1] / number[1 : count + 1]
    return mean
