"""False-color correction and sharpening, which share the luma and the directions of the demosaicker."""

from __future__ import annotations

import numpy as np

from ispkit.isp.c71.demosaic import Directions
from ispkit.isp.c71.fixed import Plane, binomial, cored, padded, tap
from ispkit.isp.c71.registers import Codes

_OVERSHOOT = 8191


def luma(full_green: Plane, red: Plane, blue: Plane) -> Plane:
    """(R + 2 G + B) / 4 from green and the differences from it."""
    return full_green + ((red + blue) >> 2)


def aliasing(light: Plane, smooth: Plane) -> Plane:
    """Fine detail that has no edge under it: 4 x its mean size less the slope of the smoothed luma."""
    fine = binomial(np.abs(light - smooth), 2)
    wide = padded(smooth, 2)
    level, upright = tap(wide, 2, 0, 2) - tap(wide, 2, 0, -2), tap(wide, 2, 2, 0) - tap(wide, 2, -2, 0)
    alias: Plane = (fine << 2) - np.abs(level) - np.abs(upright)
    return alias


def correct_colors(difference: Plane, alias: Plane, sigma: Plane, codes: Codes) -> Plane:
    """Pull a color difference to a smoothed and paler one, the more the more aliasing there is.

    The weight a is 0 up to the threshold plus the noise and grows by fc_alias_slope / 256 a code to 1 (256);
    the strength is a fc_slope / 256. What is pulled to is the mean over 7 pixels, up to half as colorful.
    """
    if not codes["fc_slope"]:
        return difference
    excess = alias - (codes["fc_alias_thresh"] << 4) - (sigma >> 4)
    weight = np.clip((np.maximum(excess, 0) * codes["fc_alias_slope"]) >> 8, 0, 256)
    strength = (weight * codes["fc_slope"]) >> 8
    wanted = (binomial(binomial(difference), 2) * (512 - strength)) >> 9
    corrected: Plane = difference + (((wanted - difference) * strength) >> 8)
    return corrected


def sharpening(light: Plane, smooth: Plane, found: Directions, codes: Codes) -> Plane:
    """What is added to all colors: three masks, each cored at the noise profile.

    ld: across the edge, where a direction is trusted; lu: all around, where none is; ldu: the broad mask, everywhere.
    """
    across, around = _masks(light, found)
    noise = found.sigma >> 4
    directed = (cored(across, noise) * found.defined) >> 8
    undirected = (cored(around, noise) * (256 - found.defined)) >> 8
    broad = cored(light - smooth, noise >> 1)
    added: Plane = (directed * codes["sharp_alt_ld"]) >> 9
    added += (undirected * codes["sharp_alt_lu"]) >> 9
    added += (broad * codes["sharp_alt_ldu"]) >> 8
    return added.clip(-_OVERSHOOT, _OVERSHOOT)


def _masks(light: Plane, found: Directions) -> tuple[Plane, Plane]:
    """Second difference across the edge, and half the Laplacian."""
    wide, twice = padded(light, 1), light << 1
    upright = twice - tap(wide, 1, -1, 0) - tap(wide, 1, 1, 0)
    level = twice - tap(wide, 1, 0, -1) - tap(wide, 1, 0, 1)
    falling = twice - tap(wide, 1, -1, -1) - tap(wide, 1, 1, 1)
    rising = twice - tap(wide, 1, -1, 1) - tap(wide, 1, 1, -1)
    axes = np.where(found.horizontal > 0, upright, level)
    diagonal = np.where(found.rising > 0, falling, rising)
    return np.where(found.va > 128, diagonal, axes), (upright + level) >> 1
