"""Row and column noise, hot pixels, and the noise curve of a single frame."""

from __future__ import annotations

import numpy as np

from ispkit.doctor.findings import Finding, Verdict
from ispkit.doctor.sites import Mosaic, Pixels, Reals, block_means

_HOT_SIGMA = 12.0
_MANY_HOT = 2e-5
_LINE_SHARE = 0.15
_MIN_EXCESS = 6.0
_BLOCK = 8
_MIN_BLOCKS = 30
_FLATTEST = 1.42  # mean over 10 % point of the variances that 64 independent pixels give


def check_noise(mosaic: Mosaic) -> list[Finding]:
    """Findings on lines, hot pixels and the noise curve."""
    planes = mosaic.planes()
    slope, offset = noise_curve(planes, _black(mosaic, planes))
    floor = float(np.sqrt(max(offset, 1e-6)))
    return [
        _lines("row_noise", "rows", planes, 2, floor),
        _lines("column_noise", "columns", planes, 1, floor),
        _hot(mosaic, planes, (slope, offset)),
        _curve(mosaic, slope, offset),
    ]


def noise_curve(planes: Pixels, black: float) -> tuple[float, float]:
    """(S, O) of variance = S (x - black) + O in DN, from the flattest blocks at each brightness.

    The lower envelope of a textured picture overestimates noise where nothing is flat: an upper bound.
    """
    means, variances = _flat_statistics(planes)
    light = means - black
    edges = np.linspace(light.min(), max(float(np.quantile(light, 0.995)), float(light.min()) + 1e-3), 25)
    place = np.digitize(light, edges)
    bins = [found for k in range(1, len(edges)) if np.count_nonzero(found := place == k) >= _MIN_BLOCKS]
    curve = (0.0, max(float(np.median(variances)), 1e-6))
    if len(bins) < 3:
        return 0.0, _FLATTEST * float(np.quantile(variances, 0.1))
    x = np.array([light[b].mean() for b in bins])
    weight = np.array([np.sqrt(b.sum()) for b in bins])
    for _ in range(4):  # within a bin the noise grows too: compare each block with the curve at its own light
        usual = np.maximum(curve[0] * light + curve[1], 1e-6)
        ratio = [_FLATTEST * float(np.quantile((variances / usual)[b], 0.1)) for b in bins]
        curve = _line(x, np.array(ratio) * np.maximum(curve[0] * x + curve[1], 1e-6), weight)
    return curve


def _line(x: Reals, y: Reals, weight: Reals) -> tuple[float, float]:
    """Weighted least squares of relative errors, both coefficients at least 0; outliers above count little."""
    size = np.maximum(y, 1e-6)
    w = weight / size
    slope, offset = 0.0, float(y.min())
    for _ in range(3):
        slope, offset = np.linalg.lstsq(np.stack([x * w, w], axis=1), y * w, rcond=None)[0]
        textured = y - (slope * x + offset) > 0.3 * size  # texture only ever adds
        w = weight / size * np.where(textured, 0.1, 1.0)
    return max(float(slope), 0.0), max(float(offset), float(y.min()) * 0.02, 0.0)


def _flat_statistics(planes: Pixels) -> tuple[Reals, Reals]:
    step = max(1, planes.shape[1] * planes.shape[2] * 4 // 4_000_000)
    rows = [planes[:, y : y + _BLOCK * 8] for y in range(0, planes.shape[1] - _BLOCK + 1, _BLOCK * 8 * step)]
    means, variances = [], []
    for part in rows:
        if part.shape[1] < _BLOCK or part.shape[2] < _BLOCK:
            continue
        second = np.zeros_like(part)
        second[:, :, 1:-1] = part[:, :, 1:-1] - 0.5 * (part[:, :, :-2] + part[:, :, 2:])
        means.append(block_means(part, _BLOCK).ravel())
        variances.append(block_means(second**2, _BLOCK).ravel() / 1.5)
    if not means:
        return planes.reshape(-1).astype(np.float64), np.zeros(planes.size)
    return np.concatenate(means), np.concatenate(variances)


def _lines(check: str, word: str, planes: Pixels, axis: int, floor: float) -> Finding:
    """Lines that differ from both neighbors of their color more than independent pixels can."""
    length = planes.shape[axis]
    smooth = planes - _beside(planes, axis)
    low, high = np.quantile(smooth[:, ::4, ::4], [0.02, 0.98])
    profile = np.clip(smooth, low, high).mean(axis=axis, dtype=np.float64)
    spread = 1.4826 * float(np.median(np.abs(profile - np.median(profile)))) / np.sqrt(1.5)
    expected = float(np.clip(smooth[:, ::2, ::2], low, high).std()) / np.sqrt(1.5 * length)
    excess = float(np.sqrt(max(spread**2 - expected**2, 0.0)))
    numbers = {"line_sigma_dn": excess, "expected_sigma_dn": expected, "read_noise_dn": floor}
    if spread > _MIN_EXCESS**0.5 * expected and excess > _LINE_SHARE * max(floor, 0.3):
        what = f"{word} differ by {excess:.2g} DN (standard deviation) beyond what independent pixels give"
        return Finding(check, "warning", what, word, f"subtract a dark frame, or average dark {word}", numbers)
    return Finding(check, "ok", f"{word} show no pattern of their own ({excess:.2g} DN)", word, "", numbers)


def _beside(planes: Pixels, axis: int) -> Pixels:
    """The scene across the lines, coarsely: the mean of the two neighboring lines of the same color."""
    other = 3 - axis
    before, after = np.roll(planes, 1, axis=other), np.roll(planes, -1, axis=other)
    scene: Pixels = 0.5 * (before + after)
    return scene


def _hot(mosaic: Mosaic, planes: Pixels, curve: tuple[float, float]) -> Finding:
    """Pixels far above all neighbors of their color, by the noise that their surroundings should have."""
    count, total, examples = 0, 0, []
    black = _black(mosaic, planes)
    for site, plane in enumerate(planes):
        ring = _neighbors(plane)
        top, low = ring.max(axis=0), ring.min(axis=0)
        center = plane[1:-1, 1:-1]
        sigma = np.sqrt(curve[0] * np.maximum(top - black, 0) + curve[1]) + 0.5
        hot = (center - top > _HOT_SIGMA * sigma) & (center - top > 2 * (top - low))
        rows, columns = np.nonzero(hot)
        count, total = count + len(rows), total + center.size
        for r, c in list(zip(rows.tolist(), columns.tolist(), strict=True))[:3]:
            examples.append((2 * (r + 1) + site // 2, 2 * (c + 1) + site % 2))
    share = count / max(total, 1)
    numbers = {"count": count, "share": share, "examples_row_column": examples[:8]}
    verdict: Verdict = "warning" if share > _MANY_HOT else "ok"
    what = f"{count} hot pixels ({share * 1e6:.0f} per million)"
    where = "; ".join(f"row {r}, column {c}" for r, c in examples[:3]) or "whole picture"
    return Finding("hot_pixels", verdict, what, where, "switch on defect correction" if count else "", numbers)


def _neighbors(plane: Pixels) -> Pixels:
    height, width = plane.shape
    around = [(y, x) for y in (0, 1, 2) for x in (0, 1, 2) if (y, x) != (1, 1)]
    return np.stack([plane[y : height - 2 + y, x : width - 2 + x] for y, x in around])


def _curve(mosaic: Mosaic, slope: float, offset: float) -> Finding:
    numbers: dict[str, object] = {"slope_dn": slope, "offset_dn2": offset}
    if mosaic.white is None or mosaic.black is None:
        what = f"variance at most {slope:.3g} x + {offset:.3g} (DN above black)"
        return Finding("noise", "ok", what, "flat places", "", numbers)
    span = max(min(mosaic.white) - max(mosaic.black), 1e-9)
    numbers |= {"S": slope / span, "O": offset / span**2}
    what = f"NoiseProfile at most S={slope / span:.3g}, O={offset / span**2:.3g}"
    return Finding("noise", "ok", what, "flat places", "", numbers)


def _black(mosaic: Mosaic, planes: Pixels) -> float:
    if mosaic.black is not None:
        return float(np.mean(mosaic.black))
    return float(np.quantile(planes[:, ::4, ::4], 0.001))
