"""A mosaic to be examined: pixels, what is said about them, and small statistics per 2x2 site."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Pixels = NDArray[np.float32]
SITES = ((0, 0), (0, 1), (1, 0), (1, 1))
_SAMPLE = 2_000_000


@dataclass(frozen=True)
class Mosaic:
    """Pixels (H, W) in stored DN with what the file says; None where it says nothing."""

    pixels: Pixels
    cfa: str | None = None
    black: tuple[float, float, float, float] | None = None
    white: tuple[float, float, float, float] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])

    def planes(self) -> Pixels:
        """The four sites (4, H/2, W/2), row by row; whole tiles left out where the picture is large."""
        height, width = (n // 2 * 2 for n in self.size)
        whole = self.pixels[:height, :width]
        return np.stack([whole[y::2, x::2] for y, x in SITES])

    def site_values(self) -> Pixels:
        """A spread sample of each site, (4, n), at most two million values in all."""
        planes = self.planes()
        step = max(1, int(np.sqrt(planes.size / _SAMPLE)))
        return planes[:, ::step, ::step].reshape(4, -1)

    def paired_values(self, *, brightest: bool) -> Pixels:
        """Like `site_values`, but the larger (smaller) of two neighbors of a color: isolated defects are gone."""
        planes = self.planes()
        step = max(1, int(np.sqrt(planes.size / _SAMPLE)))
        left, right = planes[:, ::step, :-1:step], planes[:, ::step, 1::step]
        chosen = (np.maximum if brightest else np.minimum)(left, right)
        return chosen.reshape(4, -1)


def block_means(planes: Pixels, block: int) -> Reals:
    """Means over block x block pixels of every plane (C, H, W) -> (C, H // block, W // block)."""
    count, height, width = planes.shape
    rows, columns = height // block, width // block
    cut = planes[:, : rows * block, : columns * block]
    means: Reals = cut.reshape(count, rows, block, columns, block).mean(axis=(2, 4), dtype=np.float64)
    return means


def pixel_noise(planes: Pixels) -> Reals:
    """Noise of a pixel of each plane (C,), DN: the lower quartile of local spreads, blind to edges."""
    second = planes[:, :, 1:-1] - 0.5 * (planes[:, :, :-2] + planes[:, :, 2:])
    power = block_means(second.astype(np.float32) ** 2, 8) if min(second.shape[1:]) >= 8 else second[None] ** 2
    spread: Reals = np.sqrt(np.quantile(power.reshape(len(planes), -1), 0.25, axis=1) / 1.5)
    return spread


def dark_tail(values: Pixels) -> Reals:
    """Lower end of the values of each site, (4,): the 0.1 % point, an upper bound of the black level."""
    tail: Reals = np.quantile(values, 0.001, axis=1).astype(np.float64)
    return tail
