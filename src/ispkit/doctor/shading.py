"""How much the picture darkens and turns color toward its corners."""

from __future__ import annotations

import numpy as np

from ispkit.doctor.findings import Finding
from ispkit.doctor.sites import Mosaic, Reals, block_means

_RINGS = 6
_DARK_CORNERS = 0.75
_COLORED = 0.08


def check_shading(mosaic: Mosaic) -> Finding:
    """Compare rings around the center: the scene decides much of it, so this is a hint, not a measurement."""
    planes = mosaic.planes()
    block = max(4, planes.shape[2] // 96)
    blocks = block_means(planes, block)
    black = np.array(mosaic.black) if mosaic.black is not None else blocks.reshape(4, -1).min(axis=1)
    light = np.maximum(blocks - black[:, None, None], 0.0)
    radius = _radius(light.shape[1], light.shape[2])
    level = light.mean(axis=0)
    if float(level.max()) <= 0 or min(light.shape[1:]) < 8:
        return Finding("shading", "undeterminable", "there is no light to judge shading by")
    falloff, agreement = _falloff(level, radius)
    tint = _tint(light, radius)
    numbers = {"corner_to_center": falloff, "quadrants_agree": agreement, "color_drift": tint}
    if agreement and falloff < _DARK_CORNERS:
        what = f"corners get about {falloff:.0%} of the light of the center, alike in all four"
        return Finding(
            "shading", "warning", what, "corners", "apply lens shading; calibrate it with a flat field", numbers
        )
    if agreement and tint > _COLORED:
        what = f"color drifts by {tint:.0%} from center to corners"
        return Finding("shading", "warning", what, "corners", "calibrate color shading with a flat field", numbers)
    if not agreement:
        what = f"the four corners differ too much to tell shading from the scene (mean {falloff:.0%})"
        return Finding("shading", "undeterminable", what, "corners", "shoot a flat field", numbers)
    return Finding(
        "shading", "ok", f"corners get about {falloff:.0%} of the light of the center", "corners", "", numbers
    )


def _radius(rows: int, columns: int) -> Reals:
    y, x = np.mgrid[0:rows, 0:columns]
    cy, cx = (rows - 1) / 2, (columns - 1) / 2
    radius: Reals = np.hypot(y - cy, x - cx) / np.hypot(cy, cx)
    return radius


def _falloff(level: Reals, radius: Reals) -> tuple[float, bool]:
    """Median light of the corners over that of the center, and whether all quadrants show the same fall."""
    rows, columns = level.shape
    y, x = np.mgrid[0:rows, 0:columns]
    quadrant = (y >= rows / 2) * 2 + (x >= columns / 2)
    ratios = []
    for q in range(4):
        own = quadrant == q
        rings = [level[own & (radius >= k / _RINGS) & (radius < (k + 1) / _RINGS)] for k in range(_RINGS)]
        medians = [float(np.median(r)) for r in rings if r.size]
        ratios.append(medians[-1] / max(medians[0], 1e-9))
    spread = np.ptp(np.log(np.maximum(ratios, 1e-3)))
    return float(np.median(ratios)), bool(spread < 0.25)


def _tint(light: Reals, radius: Reals) -> float:
    """Largest change of a site's share of the light from center to rim."""
    share = light / np.maximum(light.sum(axis=0), 1e-9)
    center, rim = radius < 0.3, radius > 0.8
    change = [abs(np.median(s[rim]) / max(float(np.median(s[center])), 1e-9) - 1) for s in share]
    return float(max(change))
