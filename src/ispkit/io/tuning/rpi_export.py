"""`CameraProfile` -> Raspberry Pi tuning file: the calibrated blocks of a template replaced, the rest kept.

Conventions of github.com/raspberrypi/libcamera (controller/rpi) and of its tuning tool
github.com/raspberrypi/ctt 1.4.0: tables hold gains at cell centers, smallest 1; white is measured after
the color tables; the noise slope is written 1.4 times as large as measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ispkit.core.errors import FileError
from ispkit.core.profile import CameraProfile
from ispkit.io.tuning.base import (
    FloatArray,
    black_levels,
    cell_centers,
    depth_scale,
    lights,
    lowest_noise,
    require_something,
    sample,
    shadings,
)
from ispkit.io.tuning.rpi import GRIDS, RpiTuning, parse_tuning

SLOPE_MARGIN = 1.4
"""the tuning tool writes the noise slope this much larger than it measures"""
_SKELETON = '{{\n    "version": 2.0,\n    "target": "{target}",\n    "algorithms": [ ]\n}}\n'
_FIT = np.linspace(0.05, 1.0, 96)
"""roots of the signal over which the noise law is fitted"""


def export_rpi(profile: CameraProfile, target: str, template: str | None = None) -> str:
    """Text of a tuning for "bcm2835" or "pisp". Raises `FileError`.

    Replaces rpi.black_level, noise, alsc (tables only), awb.ct_curve and ccm.ccms as far as the profile
    knows them. Without a template the file holds these alone, which libcamera reads with its defaults.
    """
    found = bool(profile.black or profile.noise or profile.shading or lights(profile))
    require_something(profile, f"a {target} tuning", "black level, noise, shading or colors", found)
    tuning = parse_tuning(template if template is not None else _SKELETON.format(target=target), "template")
    if tuning.target != target:
        raise FileError(f"template: its target is {tuning.target!r}, wanted is {target!r}; take one of that target")
    tables = _tables(profile, GRIDS[target])
    for block, entries in _blocks(profile, tables, tuning).items():
        for key, value in entries.items():
            tuning = tuning.with_entry(block, key, value)
    # libcamera prefers it to the table
    return (tuning.without_entry("rpi.alsc", "corner_strength") if tables else tuning).text


def _blocks(profile: CameraProfile, tables: _Tables, old: RpiTuning) -> dict[str, dict[str, Any]]:
    blocks: dict[str, dict[str, Any]] = {
        "rpi.black_level": _black(profile, old),
        "rpi.noise": _noise(profile),
        "rpi.alsc": _shading(tables),
        "rpi.awb": {},
        "rpi.ccm": {},
    }
    if lights(profile):
        blocks["rpi.awb"] = {"ct_curve": _ct_curve(profile, tables)}
        ccms = [{"ct": round(c.cct_k), "ccm": [round(v, 5) for row in c.ccm for v in row]} for c in lights(profile)]
        blocks["rpi.ccm"] = {"ccms": ccms}
    return blocks


def _black(profile: CameraProfile, old: RpiTuning) -> dict[str, Any]:
    levels = black_levels(profile)
    if levels is None:
        return {}
    each = {"r": levels["R"], "g": (levels["Gr"] + levels["Gb"]) / 2, "b": levels["B"]}
    common = round(sum(levels.values()) / 4)
    had = any(f"black_level_{c}" in (old.block("rpi.black_level") or {}) for c in "rgb")
    if not had and all(round(v) == common for v in each.values()):
        return {"black_level": common}
    return {"black_level": common} | {f"black_level_{c}": round(v) for c, v in each.items()}


def _noise(profile: CameraProfile) -> dict[str, Any]:
    """The square-root law nearest to sqrt(S x + O), at the lowest ISO; libcamera scales it by sqrt(gain)."""
    point, levels = lowest_noise(profile), black_levels(profile)
    if point is None:
        return {}
    scale = depth_scale(profile.white_level)
    span = profile.white_level * scale - (sum(levels.values()) / 4 if levels else 0.0)
    gain = max(point.iso, 1.0) / 100 if point.iso > 0 else 1.0
    sigma = np.sqrt(np.mean(point.shot) * _FIT**2 + max(float(np.mean(point.read)), 0.0)) * span / np.sqrt(gain)
    roots = _FIT * np.sqrt(span)
    slope, constant = np.polyfit(roots, sigma, 1)
    if constant < 0:
        slope, constant = float(roots @ sigma / (roots @ roots)), 0.0
    return {"reference_constant": round(float(constant)), "reference_slope": round(SLOPE_MARGIN * float(slope), 3)}


_Tables = Mapping[int, tuple[FloatArray, FloatArray, FloatArray]]
"""by whole kelvin: red over green, blue over green, green; on the target's cells, not yet normalized"""


def _tables(profile: CameraProfile, grid: tuple[int, int]) -> _Tables:
    at = [cell_centers(n) for n in grid]
    tables = {}
    for cct, planes in shadings(profile).items():
        cells = {name: sample(plane, at[0], at[1]) for name, plane in planes.items()}
        green = (cells["Gr"] + cells["Gb"]) / 2
        tables[cct] = (cells["R"] / green, cells["B"] / green, green)
    return tables


def _shading(tables: _Tables) -> dict[str, Any]:
    if not tables:
        return {}
    known = {cct: t for cct, t in tables.items() if cct > 0}
    entries: dict[str, Any] = {}
    for i, name in enumerate(("calibrations_Cr", "calibrations_Cb")):
        if known:
            entries[name] = [{"ct": cct, "table": _flat(t[i])} for cct, t in known.items()]
    green = np.mean([t[2] / t[2].min() for t in tables.values()], axis=0)
    return entries | {"luminance_lut": _flat(green)}


def _flat(table: FloatArray) -> list[float]:
    return [round(float(v), 3) for v in (table / table.min()).reshape(-1)]


def _ct_curve(profile: CameraProfile, tables: _Tables) -> list[float]:
    """White as it reads after the written tables, whose smallest gain is 1 wherever that is."""
    known = sorted(cct for cct in tables if cct > 0)
    flat: list[float] = []
    for light in lights(profile):
        red, green, blue = light.neutral
        gain_red, gain_blue = (
            float(np.interp(light.cct_k, known, [1 / tables[cct][i].min() for cct in known])) if known else 1.0
            for i in (0, 1)
        )
        flat += [float(round(light.cct_k)), round(red / green * gain_red, 4), round(blue / green * gain_blue, 4)]
    return flat
