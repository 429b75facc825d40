"""White-balance gains, color matrix and tone table."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ispkit.isp.c71.fixed import WHITE, Plane, saturate
from ispkit.isp.c71.registers import COEF_ZERO, Codes

Rgb = tuple[Plane, Plane, Plane]


def balance(mosaic: Plane, codes: Codes) -> Plane:
    """Gains per site of an RGGB mosaic, 256 = 1; saturates at white."""
    gains = np.empty((2, 2), np.int32)
    gains[:] = (codes["gain_00"], codes["gain_01"]), (codes["gain_01"], codes["gain_11"])
    height, width = mosaic.shape
    field = np.tile(gains, (-(-height // 2), -(-width // 2)))[:height, :width]
    return saturate((mosaic * field + 128) >> 8)


def matrix(codes: Codes) -> NDArray[np.int32]:
    """(3, 3) in 1/256: two coefficients a row are registers, the third completes the row to 1, so gray stays gray.

    That reading of the six numbers is an inference: it makes the paper's values a plausible camera matrix,
    [[1.43, -0.37, -0.05], [-0.11, 1.18, -0.07], [0.15, -0.99, 1.84]].
    """
    rows = [[codes[f"coef_a_{i}{j}"] - COEF_ZERO for j in (1, 2)] for i in (1, 2, 3)]
    return np.array([[a, b, 256 - a - b] for a, b in rows], np.int32)


def convert(rgb: Rgb, codes: Codes) -> Rgb:
    """Sensor RGB -> linear sRGB codes in [0, WHITE]."""
    sums = [sum(int(a) * plane for a, plane in zip(row, rgb, strict=True)) + 128 for row in matrix(codes)]
    r, g, b = (np.clip(s >> 8, 0, WHITE) for s in sums)
    return r, g, b


@lru_cache(maxsize=64)
def tone_table(knee: int, power: int, shadow: int) -> NDArray[np.uint8]:
    """The 8-bit code of each linear code 0..WHITE; firmware would fill it when a register changes.

    With t in [0, 1]: the curve t^p / k, p = (128 + power) / 512, up to k = (768 + knee) / 1024, from there straight
    to (1, 1); up to t = shadow / 4096 it is straight from (0, 0). Smaller knee: brighter midtones, flatter
    highlights. Smaller power: brighter. Larger shadow: darker shadows with less noise.
    """
    t = np.arange(WHITE + 1, dtype=np.float64) / WHITE
    exponent, k = (128 + power) / 512, (768 + knee) / 1024

    def curve(x: NDArray[np.float64]) -> NDArray[np.float64]:
        start = k ** (2 / exponent)
        return np.where(x < start, x**exponent / k, k + (1 - k) * (x - start) / (1 - start))

    y = curve(t)
    if shadow:
        toe = np.array([shadow / 4096])
        y = np.where(t < toe, t / toe * curve(toe), y)
    table = np.rint(255 * np.clip(y, 0.0, 1.0)).astype(np.uint8)
    table.setflags(write=False)
    return table
