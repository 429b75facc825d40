"""Which of the four Bayer phases the pixels fit: the greens from likeness, red and blue from physics.

**Greens.** Of the two diagonals of the 2x2 one holds the same filter twice: block by block its two sites
agree, the other two do not. This is near certain wherever there is color.

**Red or blue.** Swapping red for blue leaves a valid mosaic of another world, so pixels alone give odds,
never proof. Three cues add up as log-odds, each a fact about light, paint or glass:
1. strongly colored surfaces are warm: reflectance of natural things and pigments rises with wavelength, so
   the spread of chromaticities reaches further toward yellow and red than toward cyan and blue
   (every chromaticity present counts once, as in Finlayson et al., Color by correlation, PAMI 2001);
2. the mean of a picture is rather reddish than bluish against the sensor's own balance in warm light;
3. lenses draw red sharper than blue: dispersion is steepest at short wavelengths, so edges are steeper in red.
The weights of 1 and 2 come from a logistic fit to photographs seen by random Gaussian sensors under
daylight and Planckian light; that of 3 from six real files. See docs/decisions/0006-doctor.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ispkit.core.cfa import CfaPattern
from ispkit.doctor.sites import Mosaic, Pixels, Reals, block_means, dark_tail, pixel_noise

_GREEN_DIAGONALS: tuple[tuple[CfaPattern, CfaPattern], ...] = (("GRBG", "GBRG"), ("RGGB", "BGGR"))
_GREEN_SLOPE = 4.0
_CERTAIN = 12.0
_DETERMINABLE = 2.0
_WARM_SURFACES, _WARM_LIGHT, _SHARP_RED = 4.5, 1.0, 10.0
_MEAN_CAP, _SHARP_CAP = 1.5, 2.5
_BIN = 0.12
_SPAN = 2.5


@dataclass(frozen=True)
class PhaseEvidence:
    """Probabilities of the four phases, and what they rest on (log-odds in nats)."""

    probabilities: dict[CfaPattern, float]
    """likeliest first"""
    green_log_odds: float
    """for the greens on the diagonal of the first pattern"""
    red_log_odds: dict[str, float]
    """for red where the first pattern has it, by cue"""
    reason: str
    """why nothing can be said; empty if something can"""

    @property
    def determinable(self) -> bool:
        """Whether the pixels tell where the greens are."""
        return not self.reason

    @property
    def best(self) -> CfaPattern:
        """The likeliest phase."""
        return next(iter(self.probabilities))

    @property
    def red_probability(self) -> float:
        """That red and blue are not swapped in `best`, given its greens."""
        return float(1.0 / (1.0 + np.exp(-sum(self.red_log_odds.values()))))


def find_phase(mosaic: Mosaic) -> PhaseEvidence:
    """Weigh the four phases of a mosaic."""
    planes = _window(mosaic.planes())
    values = planes.reshape(4, -1)
    black = np.array(mosaic.black) if mosaic.black is not None else np.full(4, dark_tail(values).min())
    blocks = block_means(planes, _block(planes))
    reason = _nothing_to_see(planes, blocks)
    odds = _green_log_odds(block_means(planes, _coarse_block(planes)), black)
    if not reason and abs(odds) < _DETERMINABLE:
        reason = "all four sites carry the same picture: a monochrome sensor, or gray without color"
    if reason:
        return PhaseEvidence({p: 0.25 for pair in _GREEN_DIAGONALS for p in pair}, 0.0, {}, reason)
    first, second = _GREEN_DIAGONALS[0 if odds > 0 else 1]
    red, blue = first.index("R"), first.index("B")
    cues = _red_cues(planes - black[:, None, None].astype(np.float32), blocks - black[:, None, None], (red, blue))
    if sum(cues.values()) < 0:
        first, second, cues = second, first, {k: -v for k, v in cues.items()}
    return _evidence((first, second), abs(odds), cues)


def _evidence(pair: tuple[CfaPattern, CfaPattern], odds: float, cues: dict[str, float]) -> PhaseEvidence:
    green = 1.0 / (1.0 + np.exp(-odds))
    red = 1.0 / (1.0 + np.exp(-sum(cues.values())))
    other = next(p for p in _GREEN_DIAGONALS if pair[0] not in p)
    shares: dict[CfaPattern, float] = {pair[0]: float(green * red), pair[1]: float(green * (1 - red))}
    shares |= {p: float((1 - green) / 2) for p in other}
    return PhaseEvidence(shares, odds, cues, "")


def _window(planes: Pixels) -> Pixels:
    """At most 4 million pixels a plane, from even tiles all over the picture."""
    _, height, width = planes.shape
    keep = max(1, int(np.ceil(np.sqrt(height * width / 4e6))))
    if keep == 1:
        return planes
    tile = 256
    rows = np.concatenate([np.arange(y, y + tile) for y in range(0, height - tile + 1, tile * keep)])
    columns = np.concatenate([np.arange(x, x + tile) for x in range(0, width - tile + 1, tile * keep)])
    return planes[:, rows][:, :, columns]


def _block(planes: Pixels) -> int:
    return int(np.clip(planes.shape[2] // 160, 2, 16))


def _coarse_block(planes: Pixels) -> int:
    """Large enough that texture, which the four sites see at different places, evens out."""
    return int(np.clip(min(planes.shape[1:]) // 16, 2, 16))


def _nothing_to_see(planes: Pixels, blocks: Reals) -> str:
    """Says so if neither the scene nor the filters stand out of the noise of one pixel."""
    middle = [np.clip(p, *np.quantile(p, [0.001, 0.999])) for p in planes[:, ::2, ::2]]
    noise = max(float(np.mean([m.std() for m in middle])), 1e-6)
    spans = np.quantile(blocks.reshape(4, -1), [0.02, 0.98], axis=1)
    contrast = float((spans[1] - spans[0]).max())
    local = max(float(pixel_noise(planes).max()), 1e-6)
    separation = float(np.ptp(np.median(blocks.reshape(4, -1), axis=1)))
    if contrast < 2.0 * min(noise, max(local, 0.3 * noise)) and separation < 2.0 * noise:
        return "no light: the sites differ by less than the noise of a pixel (a dark frame?)"
    return ""


def _green_log_odds(blocks: Reals, black: Reals) -> float:
    """Log-odds for the greens at sites 0 and 3 (GRBG, GBRG) against 1 and 2 (RGGB, BGGR)."""
    flat = blocks.reshape(4, -1)
    main, anti = np.abs(flat[0] - flat[3]), np.abs(flat[1] - flat[2])
    floor = 1e-3 * float(flat.mean() - black.mean()) + 1e-6
    unlike = [float(np.mean(np.minimum(d, np.quantile(d, 0.98)))) + floor for d in (main, anti)]
    odds = _GREEN_SLOPE * np.log(unlike[1] / unlike[0])
    light = np.maximum(flat.mean(axis=1) - black, 1e-6)
    brighter = np.clip(np.log((light[0] + light[3]) / (light[1] + light[2])), -0.5, 0.5)  # greens see most light
    return float(np.clip(odds + brighter, -_CERTAIN, _CERTAIN))


def _red_cues(planes: Pixels, blocks: Reals, sites: tuple[int, int]) -> dict[str, float]:
    """Log-odds for red at the first of two sites and blue at the second."""
    a, b = sites
    greens = [s for s in range(4) if s not in sites]
    surfaces, light = _warmth(blocks[a].ravel(), blocks[greens].mean(axis=0).ravel(), blocks[b].ravel())
    sharp = float(np.clip(_SHARP_RED * _sharper(planes[a], planes[b]), -_SHARP_CAP, _SHARP_CAP))
    return {
        "surfaces": _WARM_SURFACES * surfaces,
        "light": float(np.clip(_WARM_LIGHT * light, -_MEAN_CAP, _MEAN_CAP)),
        "sharpness": sharp,
    }


def _warmth(red: Reals, green: Reals, blue: Reals) -> tuple[float, float]:
    """How far colors reach toward red more than toward blue, and how red the mean is; both change sign if swapped."""
    bright = max(float(np.quantile(green, 0.995)), 1e-9)
    top = np.array([red.max(), green.max(), blue.max()])
    ceiling = 0.95 * float(top.max())
    good = (red < ceiling) & (green < ceiling) & (blue < ceiling) & (green > 0.02 * bright)
    if good.sum() < 50:
        return 0.0, 0.0
    r, g, b = (np.maximum(x[good], 0.0) for x in (red, green, blue))
    floor = 0.01 * bright
    u, v = np.log((r + floor) / (g + floor)), np.log((b + floor) / (g + floor))
    u, v = (np.clip(x - np.median(x), -_SPAN, _SPAN) for x in (u, v))
    cells, counts = np.unique(np.rint(np.stack([u, v]) / _BIN), axis=1, return_counts=True)
    present = cells[:, counts >= max(3, 2e-4 * u.size)] * _BIN
    reach = float((present[0] - present[1]).mean()) if present.size else 0.0
    return reach, float(np.log((r.mean() + 1e-3 * g.mean()) / (b.mean() + 1e-3 * g.mean())))


def _sharper(first: Pixels, second: Pixels) -> float:
    """Mean log ratio of edge steepness, the first plane against the second, at edges that both show."""
    ratios = []
    for a, b in ((first, second), (first.T, second.T)):
        steep_a, good_a, sign_a = _edges(a)
        steep_b, good_b, sign_b = _edges(b)
        both = good_a & good_b & (sign_a == sign_b)
        ratios.append(np.log(steep_a[both] / steep_b[both]))
    found = np.concatenate(ratios)
    return float(found.mean()) if len(found) >= 200 else 0.0


def _edges(plane: Pixels) -> tuple[Pixels, np.ndarray, Pixels]:
    """Largest step over the whole rise in 8 pixels, where the rise is clean, strong and unclipped."""
    step = np.diff(plane, axis=1)
    rise = plane[:, 8:] - plane[:, :-8]
    windows = [np.abs(step[:, k : k + rise.shape[1]]) for k in range(8)]
    path, largest = windows[0].copy(), windows[0].copy()
    for w in windows[1:]:
        path += w
        np.maximum(largest, w, out=largest)
    central = np.maximum.reduce(windows[2:6]) >= largest
    size = np.abs(rise)
    clipped = 0.97 * float(np.quantile(plane[::4, ::4], 0.999))
    good = (path < 1.15 * size) & (size > 12 * float(np.median(np.abs(step[::4, ::4]))))
    good &= central & (plane[:, 8:] < clipped) & (plane[:, :-8] < clipped) & (size > 0)
    return largest / np.maximum(size, 1e-9), good, np.sign(rise)
