"""The configs.yml of Infinite-ISP (github.com/10x-Engineers): sensor, black level, gains and color matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ispkit.core.errors import FileError, nearest
from ispkit.core.meta import XYZ_TO_SRGB
from ispkit.ops.color_spaces import linear_srgb_to

_FIXED_POINT = 1024  # the reference model writes its color matrix in units of 1/1024, the algorithm model in 1
_LARGEST_COEFFICIENT = 64


def infinite_isp_facts(path: Any, content: Mapping[str, Any], stored_bytes: int | None) -> dict[str, Any]:
    """The fields of a `Geometry` from the parsed file `path`. Raises `FileError`.

    Samples are one byte or one little-endian word, told by `stored_bytes`, the size of the dump; levels
    are rescaled to what is stored. The color matrix maps white-balanced sensor RGB to linear sRGB; it
    becomes a forward matrix, and a color matrix for which the file's gains mean D65.
    """
    section = _Section(path, content, "sensor_info")
    width, height, depth = (section.integer(name) for name in ("width", "height", "bit_depth"))
    if not 8 <= depth <= 16:
        raise FileError(f"{path}: sensor_info.bit_depth={depth} must be 8 to 16")
    cfa = str(section.value("bayer_pattern")).upper()
    bits = 8 if stored_bytes == width * height else depth
    facts: dict[str, Any] = {"width": width, "height": height, "bits": bits, "cfa": cfa}
    if "black_level_correction" in content:
        facts |= _levels(_Section(path, content, "black_level_correction"), cfa, (bits, depth))
    return facts | _colors(path, content)


def _levels(section: _Section, cfa: str, bits: tuple[int, int]) -> dict[str, Any]:
    stored, described = (2**n - 1 for n in bits)
    # Gr stands in the row of red, Gb in that of blue
    red_row = 0 if "R" in cfa[:2] else 1
    names = {"R": "r", "B": "b"}
    sites = [names.get(color, "gr" if i // 2 == red_row else "gb") for i, color in enumerate(cfa)]
    fields = {"black_level": "offset", "white_level": "sat"}
    return {
        field: tuple(section.number(f"{site}_{suffix}") * stored / described for site in sites)
        for field, suffix in fields.items()
    }


def _colors(path: Any, content: Mapping[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    gains = np.ones(3)
    if "white_balance" in content:
        section = _Section(path, content, "white_balance")
        gains = np.array([section.number("r_gain"), 1.0, section.number("b_gain")])
        if not gains.min() > 0:
            raise FileError(f"{path}: white_balance gains must be positive, got {gains[0]:g} and {gains[2]:g}")
        facts["neutral"] = tuple((1 / gains).tolist())
    if "color_correction_matrix" in content:
        section = _Section(path, content, "color_correction_matrix")
        matrix = np.array([section.row(f"corrected_{color}") for color in ("red", "green", "blue")])
        if abs(matrix).max() > _LARGEST_COEFFICIENT:
            matrix /= _FIXED_POINT
        if not abs(np.linalg.det(matrix)) > 1e-6:
            raise FileError(f"{path}: color_correction_matrix has no inverse; check its rows")
        facts["forward_matrix"] = _rows(linear_srgb_to("xyz").numpy() @ matrix)
        facts["color_matrix"] = _rows(np.diag(1 / gains) @ np.linalg.inv(matrix) @ np.array(XYZ_TO_SRGB))
        facts["illuminant_cct_k"] = 6504.0
    return facts


def _rows(matrix: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in matrix)


class _Section:
    """One block of an Infinite-ISP file; a missing or odd value is an error with its full name."""

    def __init__(self, path: Any, content: Mapping[str, Any], name: str) -> None:
        self.path, self.name = path, name
        self.values = content[name]
        if not isinstance(self.values, dict):
            raise FileError(f"{path}: {name} must hold 'name: value' lines")

    def value(self, key: str) -> Any:
        if key not in self.values:
            raise FileError(f"{self.path}: {self.name} needs {key!r}; {nearest(key, map(str, self.values))}")
        return self.values[key]

    def number(self, key: str) -> float:
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FileError(f"{self.path}: {self.name}.{key}={value!r} must be a number")
        return float(value)

    def integer(self, key: str) -> int:
        value = self.number(key)
        if not value.is_integer():
            raise FileError(f"{self.path}: {self.name}.{key}={value:g} must be a whole number")
        return int(value)

    def row(self, key: str) -> list[float]:
        value = self.value(key)
        if not isinstance(value, list) or len(value) != 3 or not all(type(v) in (int, float) for v in value):
            raise FileError(f"{self.path}: {self.name}.{key}={value!r} must be three numbers")
        return [float(v) for v in value]
