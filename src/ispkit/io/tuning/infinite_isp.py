"""`CameraProfile` -> configs.yml of Infinite-ISP: black level, white level, gains and color matrix.

Format: github.com/10x-Engineers/Infinite-ISP: levels at the sensor's depth, gains of red and blue, the
matrix row by row in units of 1/1024 (or of 1, as the template has it), for one light.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import yaml

from ispkit.core.errors import FileError
from ispkit.core.profile import CameraProfile, LightColor
from ispkit.io.tuning.base import D65_CCT_K, black_levels, depth_scale, nearest_light, require_something
from ispkit.io.tuning.yaml_text import YamlText, is_empty, member, parse_yaml

_UNIT, _LARGEST_COEFFICIENT = 1024, 64
_ROWS = ("corrected_red", "corrected_green", "corrected_blue")


def export_infinite_isp(profile: CameraProfile, template: str | None = None, cct_k: float | None = None) -> str:
    """Text of a configs.yml: the values replaced in the template, or a file of these blocks alone.

    The light nearest to `cct_k` (6504 K) is written. `is_auto` and the like stay as they are. Raises
    `FileError`, also where the template is of another filter array.
    """
    light = nearest_light(profile, cct_k or D65_CCT_K)
    require_something(profile, "infinite-isp", "black level or colors", bool(profile.black or light))
    document = parse_yaml(template if template is not None else _skeleton(profile), "template")
    depth = _depth(document, profile)
    values = {"black_level_correction": _levels(profile, depth)}
    if light is not None:
        values |= _colors(light, document)
    for section, entries in values.items():
        if entries:
            document = _with_values(document, section, entries)
    return document.text


def _skeleton(profile: CameraProfile) -> str:
    depth = int(profile.white_level).bit_length()
    height, width = profile.size
    facts = {"bayer_pattern": profile.cfa.lower(), "range": 2**depth - 1, "bit_depth": depth}
    lines = [f"  {k}: {v}" for k, v in {**facts, "width": width, "height": height}.items()]
    return "\n".join(["sensor_info:", *lines]) + "\n"


def _depth(document: YamlText, profile: CameraProfile) -> int:
    info = document.value.get("sensor_info")
    if not isinstance(info, dict) or type(info.get("bit_depth")) is not int or not 8 <= info["bit_depth"] <= 16:
        raise FileError(f"{document.source}: sensor_info.bit_depth must be a whole number from 8 to 16")
    pattern = str(info.get("bayer_pattern", profile.cfa)).upper()
    if pattern != profile.cfa:
        raise FileError(
            f"{document.source}: sensor_info.bayer_pattern is {pattern}, the profile {profile.name} has "
            f"{profile.cfa}; take the configs.yml of this camera"
        )
    return int(info["bit_depth"])


def _levels(profile: CameraProfile, depth: int) -> dict[str, Any]:
    levels = black_levels(profile)
    if levels is None:
        return {}
    step = 2.0 ** (16 - depth)
    white = round((profile.white_level + 1) * depth_scale(profile.white_level) / step) - 1
    sites = ("R", "Gr", "Gb", "B")
    offsets = {f"{s.lower()}_offset": round(levels[s] / step) for s in sites}
    return offsets | {f"{s.lower()}_sat": white for s in sites}


def _colors(light: LightColor, document: YamlText) -> dict[str, dict[str, Any]]:
    red, green, blue = light.neutral
    old = document.value.get("color_correction_matrix")
    rows = [old.get(name) for name in _ROWS] if isinstance(old, dict) else []
    numbers = [abs(v) for row in rows if isinstance(row, list) for v in row if type(v) in (int, float)]
    fixed_point = not numbers or max(numbers) > _LARGEST_COEFFICIENT
    matrix = [_fixed(row) if fixed_point else [round(v, 5) for v in row] for row in light.ccm]
    return {
        "white_balance": {"r_gain": round(green / red, 6), "b_gain": round(green / blue, 6)},
        "color_correction_matrix": dict(zip(_ROWS, matrix, strict=True)),
    }


def _fixed(row: tuple[float, float, float]) -> list[int]:
    """In units of 1/1024; the largest takes up the rounding, so that gray stays gray."""
    units = np.round(np.array(row) * _UNIT).astype(int)
    units[int(np.abs(units).argmax())] += round(sum(row) * _UNIT) - int(units.sum())
    return [int(v) for v in units]


def _with_values(document: YamlText, section: str, entries: dict[str, Any]) -> YamlText:
    node = member(document.root, section)
    if node is None:
        document = document.with_section(section)
        node = member(document.root, section)
    if is_empty(node):
        return document.filled(document.root, section, entries, {})
    if not isinstance(node, yaml.MappingNode):
        raise FileError(f"{document.source}: {section} must hold 'key: value' lines")
    return document.replaced(node, entries, {})
