"""Two-scale denoising of luma and color differences, thresholds in units of the noise profile."""

from __future__ import annotations

import numpy as np

from ispkit.isp.c71.fixed import Plane, binomial, noise_profile
from ispkit.isp.c71.registers import Codes

Rgb = tuple[Plane, Plane, Plane]


def denoise(rgb: Rgb, codes: Codes) -> Rgb:
    """Remove detail of 1 and 4 px that is below its threshold, and the slow rest where a place is flat.

    Differences of color have twice the thresholds of luma. Luma is (R + 2 G + B) / 4.
    """
    r, g, b = rgb
    light = (r + (g << 1) + b + 2) >> 2
    smooth = binomial(light)
    sigma = noise_profile(smooth)
    light = _plane(light, smooth, sigma, codes)
    red, blue = (_plane(c, binomial(c), sigma << 1, codes) for c in (r - g, b - g))
    g = light - ((red + blue) >> 2)
    return g + red, g, g + blue


def _plane(plane: Plane, smooth: Plane, sigma: Plane, codes: Codes) -> Plane:
    coarse = binomial(smooth, 2)
    fine = _kept(plane - smooth, (sigma * codes["thresh_1h"]) >> 6, codes["strength_1"])
    middle = _kept(smooth - coarse, (sigma * codes["thresh_4h"]) >> 8, codes["strength_4"])
    if codes["thresh_long"]:
        mean = binomial(coarse, 4)
        flat = np.abs(coarse - mean) < ((sigma * codes["thresh_long"]) >> 10)
        coarse = np.where(flat, mean, coarse)
    fine += middle
    fine += coarse
    return fine


def _kept(detail: Plane, threshold: Plane, strength: int) -> Plane:
    """Detail less `strength` / 256 of what is noise: all of it up to the threshold, none from three times that on."""
    size = np.abs(detail)
    noise = np.minimum(size, threshold)
    noise = np.minimum(noise, np.maximum(3 * threshold - size, 0))
    noise *= strength
    noise >>= 8
    noise *= np.sign(detail)
    return detail - noise
