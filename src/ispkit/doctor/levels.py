"""Black level, white level and clipping, and the codes in use, from the histogram of every site."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ispkit.doctor.findings import Finding, Verdict
from ispkit.doctor.sites import Mosaic, Pixels, dark_tail, pixel_noise

_PILE = 8.0
_MIN_CLIPPED = 1e-4
_GRAVE_BELOW = 5e-3
_FEW_BELOW = 2e-4
_DARK_FRAME = 5.0  # the 0.1 % point of pure noise lies 3.1 sigma below its mean
_NAMES = ("top left", "top right", "bottom left", "bottom right")


@dataclass(frozen=True)
class Levels:
    """What the histograms show, per site of the top-left 2x2, row by row, in DN."""

    dark: tuple[float, ...]
    """0.1 % point: the black level cannot be higher by more than noise"""
    mean: tuple[float, ...]
    """of all pixels but the brightest and darkest 1 %"""
    noise: float
    """of a pixel in flat places"""
    saturation: tuple[float | None, ...]
    """the code at which values pile up; None where they do not"""
    clipped: tuple[float, ...]
    """share of pixels there"""


def measure_levels(mosaic: Mosaic) -> Levels:
    """Dark tail and saturation of each site."""
    values, paired = mosaic.site_values(), mosaic.paired_values(brightest=False)
    tops = [_pile_up(v) for v in paired]
    clipped = tuple(0.0 if t is None else float((v >= t * 0.999).mean()) for v, t in zip(values, tops, strict=True))
    tail = dark_tail(values)
    noise = float(np.median(pixel_noise(mosaic.planes()[:, :512, :1024])))
    means = tuple(float(np.clip(v, *np.quantile(v, (0.01, 0.99))).mean()) for v in values)
    return Levels(tuple(map(float, tail)), means, noise, tuple(tops), clipped)


def check_levels(mosaic: Mosaic, levels: Levels) -> list[Finding]:
    """Findings on black level, white level and codes."""
    return [_black(mosaic, levels), _white(mosaic, levels), _codes(mosaic)]


def suggested_black(levels: Levels) -> float:
    """A black level for a file that names none.

    Of a frame without light (all within the noise) it is the mean; of a picture the darkest that is common to
    all sites, which is only an upper bound.
    """
    if max(levels.mean) - min(levels.dark) < _DARK_FRAME * max(levels.noise, 1.0):
        return round(float(np.mean(levels.mean)), 2)
    return float(np.floor(min(levels.dark)))


def _black(mosaic: Mosaic, levels: Levels) -> Finding:
    darkest = min(levels.dark)
    numbers = {"dark_tail": levels.dark, "pixel_noise": levels.noise}
    if mosaic.black is None:
        what = f"no black level is stated; the darkest pixels of the sites lie at {_list(levels.dark)} DN"
        remedy = f"shoot a frame with the lens capped, or take {suggested_black(levels):g} as an upper bound"
        verdict: Verdict = "ok" if darkest < 1 else "warning"
        return Finding("black_level", verdict, what, "dark end", "" if verdict == "ok" else remedy, numbers)
    values = mosaic.paired_values(brightest=True)
    bottom = np.array(mosaic.black)[:, None] - 4 * max(levels.noise, 0.5)
    below = float((values < bottom).mean())
    numbers |= {"stated": mosaic.black, "share_below": below}
    if below > _FEW_BELOW:
        what = f"{below:.2%} of the pixels lie clearly below the stated black level {_list(mosaic.black)}"
        verdict = "problem" if below > _GRAVE_BELOW else "warning"
        lower = suggested_black(levels)
        remedy = f"use {lower:g} or measure a dark frame" if lower < min(mosaic.black) else "measure a dark frame"
        return Finding("black_level", verdict, what, "dark end", remedy, numbers)
    span = (max(mosaic.white) if mosaic.white else 65535.0) - min(mosaic.black)
    gap = darkest - max(mosaic.black)
    if gap > 0.02 * span:
        what = f"the darkest pixels lie {gap:.0f} DN above the stated black level {_list(mosaic.black)}"
        remedy = f"if the scene has true shadows, the black level is nearer to {suggested_black(levels):g}"
        return Finding("black_level", "warning", what, "dark end", remedy, numbers)
    what = f"the stated black level {_list(mosaic.black)} fits the darkest pixels ({_list(levels.dark)})"
    return Finding("black_level", "ok", what, "dark end", "", numbers)


def _white(mosaic: Mosaic, levels: Levels) -> Finding:
    numbers = {"saturation": levels.saturation, "clipped_share": levels.clipped, "stated": mosaic.white}
    where = ", ".join(f"{n} {c:.2%}" for n, c in zip(_NAMES, levels.clipped, strict=True) if c > _MIN_CLIPPED)
    found = [s for s, c in zip(levels.saturation, levels.clipped, strict=True) if s is not None and c > _MIN_CLIPPED]
    if not found:
        return Finding("white_level", "ok", "no site shows the pile-up of clipped pixels", numbers=numbers)
    stated = None if mosaic.white is None else min(mosaic.white)
    lowest = min(found)
    if stated is not None and lowest < 0.985 * stated:
        what = f"pixels clip at {lowest:g} DN, below the stated white level {stated:g}: highlights turn colored"
        return Finding("white_level", "problem", what, where, f"set white_level={lowest:g}", numbers)
    if stated is not None and lowest > 1.015 * stated:
        what = f"pixels reach {lowest:g} DN, above the stated white level {stated:g}: detail is thrown away"
        return Finding("white_level", "warning", what, where, f"set white_level={lowest:g}", numbers)
    share = max(levels.clipped)
    verdict: Verdict = "warning" if share > 0.01 else "ok"
    remedy = "expose less, or use highlight recovery" if verdict == "warning" else ""
    return Finding(
        "white_level", verdict, f"up to {share:.2%} of a site is clipped at {lowest:g} DN", where, remedy, numbers
    )


def _codes(mosaic: Mosaic) -> Finding:
    """Gaps in the histogram tell of fewer bits than stored, or of digital gain."""
    values = mosaic.site_values()
    shares, steps = zip(*(_comb(v) for v in values), strict=True)
    step, missing = int(np.median(steps)), float(np.mean(shares))
    top = float(values.max())
    bits = max(top, 1.0) and int(np.ceil(np.log2(max(top + 1, 2)) - np.log2(step)))
    numbers = {"step": step, "missing_codes": missing, "effective_bits": bits}
    if step > 1:
        what = f"only every {step}th code is used: about {bits} bits carry the picture"
        return Finding("codes", "warning", what, "histogram", "keep this in mind for noise and shadows", numbers)
    if missing > 0.15:
        what = f"{missing:.0%} of the codes in the middle of the histogram never occur: digital gain or a curve"
        return Finding("codes", "warning", what, "histogram", "ask for data before gain, if there is any", numbers)
    return Finding("codes", "ok", f"all codes occur; the largest needs {bits} bits", "histogram", "", numbers)


def _comb(values: Pixels) -> tuple[float, int]:
    """Share of codes missing between the 10 % and 60 % points, and the usual distance of codes in use."""
    low, high = np.quantile(values, [0.1, 0.6])
    window = values[(values >= low) & (values <= high)]
    codes = np.unique(np.rint(window))
    expected = high - low
    if expected < 16 or len(window) < 20 * expected:
        return 0.0, 1
    return float(1 - len(codes) / (expected + 1)), max(1, int(np.median(np.diff(codes))))


def _pile_up(values: Pixels) -> float | None:
    """The code near the top where values pile up; isolated hot pixels above do not count."""
    low, high = float(np.quantile(values, 0.001)), float(values.max())
    if high - low < 16:
        return None
    near = values[values > high - 0.08 * (high - low)]
    codes, counts = np.unique(np.rint(near), return_counts=True)
    peak = int(counts.argmax())
    others = np.delete(counts, peak)
    usual = float(np.median(others)) if len(others) else 0.0
    last = codes[peak] >= codes[-1] - max(2.0, 0.002 * codes[-1]) or counts[peak + 1 :].sum() < 0.05 * counts[peak]
    clear = counts[peak] >= max(_PILE * usual, 8) or (len(codes) <= 2 and counts[peak] >= _MIN_CLIPPED * len(values))
    return float(codes[peak]) if last and clear else None


def _list(numbers: tuple[float, ...]) -> str:
    return f"{numbers[0]:g}" if len(set(numbers)) == 1 else ", ".join(f"{n:g}" for n in numbers)
