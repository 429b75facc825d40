"""Sensors by name: the calibrated ones that ship with the toolkit, and YAML files; and the light they see.

```yaml
version: 1
name: my camera
bits: 12
black_level: 256
noise: [{iso: 100, shot: 1.0e-4, read: 2.0e-8}, {iso: 1600, shot: [1.6e-3, 1.5e-3, 1.6e-3], read: 5.0e-6}]
```
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import torch
import yaml
from torch import Tensor

from ispkit.core.cfa import check_cfa
from ispkit.core.errors import FileError, ParamError, nearest
from ispkit.core.profile import BlackPoint, NoisePoint
from ispkit.sensor.model import Defect, DefectKind, Sensor

VERSION = 1
DEFAULT = "default"
"""the invented sensor of ordinary character"""
_LIGHT = "light_levels"
_NUMBERS = ("black_level", "shot_at_iso100", "read_at_iso100", "blur_px", "white_dn", "column_pattern", "prnu",
            "dark_current_e_s")  # fmt: skip
_WHOLE = ("bits", "serial")
_WORDS = ("name", "source")
_LISTS = {"vignetting": 5, "black_offsets": 4}
_TABLES = ("noise", "black", "row_noise", "defects", "color_matrices")
KEYS = ("version", "doc", "cfa", *_NUMBERS, *_WHOLE, *_WORDS, *_LISTS, *_TABLES)


def sensor_names() -> tuple[str, ...]:
    """The sensors that ship with the toolkit, in alphabetical order, the default one first."""
    found = (p.name.removesuffix(".yaml") for p in files("ispkit.sensor").joinpath("profiles").iterdir())
    return (DEFAULT, *sorted(name for name in found if name != _LIGHT and not name.startswith(".")))


def load_sensor(name_or_path: str | Path) -> Sensor:
    """A sensor by its name, or from a YAML file. Raises `ParamError` for a name, `FileError` for a file.

    >>> load_sensor("Nexus_6P_rear").noise[0].shot[0]
    0.00018724
    """
    text = str(name_or_path)
    if text.lower().endswith((".yaml", ".yml")):
        return _parsed(text, _read(Path(text)))
    name = text.lower().replace("_", "-").replace(" ", "-")
    if name == DEFAULT:
        return Sensor()
    if name not in sensor_names():
        raise ParamError(f"no sensor {text!r}; {nearest(name, sensor_names())}")
    return _parsed(name, _shipped(name))


def sensor_doc(name: str) -> str:
    """What a shipped sensor's file says of itself: source and remarks."""
    if name == DEFAULT:
        return "invented, of ordinary character"
    content = _shipped(name)
    return f"{content.get('source', '')}. {content.get('doc', '')}".strip()


@dataclass(frozen=True)
class LightLevel:
    """A range of light that pictures are taken in, as in Dirty Pixels; the gain makes up for what is missing.

    A light level of 1 fills the sensor at ISO 100.
    """

    name: str
    low: float
    high: float

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` light levels (count,), log-uniform in [low, high]."""
        share = torch.rand(count, generator=generator, device=generator.device, dtype=torch.float64)
        return (math.log(self.low) + share * math.log(self.high / self.low)).exp()


def iso_of(level: float | Tensor) -> float | Tensor:
    """The ISO at which a light level fills the sensor: 100 / level."""
    return 100.0 / level


def lux_to_iso(lux: float) -> float:
    """The ISO that Dirty Pixels takes pictures of `lux` with.

    >>> round(lux_to_iso(6.0))
    33333
    """
    if not lux > 0 or math.isinf(lux):
        raise ParamError(f"lux={lux:g} is not a brightness; give a number above 0")
    return 100.0 * LUX_PER_LIGHT_LEVEL / lux


def light_level(name: str) -> LightLevel:
    """One of `LIGHT_LEVELS`, or "LUX lux", or "LOW-HIGH lux" of your own. Raises `ParamError`.

    >>> light_level("2-20 lux")
    LightLevel(name='2-20 lux', low=0.001, high=0.01)
    """
    if name in LIGHT_LEVELS:
        return LIGHT_LEVELS[name]
    low, _, high = name.removesuffix("lux").strip().partition("-")
    try:
        span = float(low), float(high or low)
    except ValueError:
        raise ParamError(f"no light level {name!r}; {nearest(name, LIGHT_LEVELS)}, or give one as '5-50 lux'") from None
    if not 0 < span[0] <= span[1] < math.inf:
        raise ParamError(f"light level {name!r} is not a range of brightness above 0")
    return LightLevel(name, span[0] / LUX_PER_LIGHT_LEVEL, span[1] / LUX_PER_LIGHT_LEVEL)


def _shipped(name: str) -> Mapping[str, Any]:
    text = files("ispkit.sensor").joinpath("profiles", f"{name}.yaml").read_text(encoding="utf-8")
    content: Mapping[str, Any] = yaml.safe_load(text)
    return content


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise FileError(f"{path}: no such file; `ispkit simulate --list` names the sensors that need none")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FileError(f"{path}: cannot be read as a YAML sensor ({' '.join(str(error).split())})") from error
    if not isinstance(content, Mapping) or content.get("version") != VERSION:
        raise FileError(f"{path}: a sensor is a mapping with 'version: {VERSION}'")
    return content


def _parsed(where: str, content: Mapping[str, Any]) -> Sensor:
    for key in content:
        if key not in KEYS:
            raise FileError(f"{where}: unknown key {key!r}; {nearest(str(key), KEYS)}")
    facts: dict[str, Any] = {}
    for key in (f.name for f in fields(Sensor) if content.get(f.name) is not None):
        try:
            facts[key] = _value(key, content[key])
        except (TypeError, ValueError, KeyError) as error:  # among them `ParamError`
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise FileError(f"{where}: {key}: {reason}") from error
    sensor = Sensor(**facts)
    _check(where, sensor)
    return sensor


def _value(key: str, value: Any) -> Any:
    if key == "cfa":
        return check_cfa(str(value))
    if key in _WORDS:
        return str(value)
    if key in _WHOLE:
        return _whole(value)
    if key in _NUMBERS:
        return _number(value)
    if key in _LISTS:
        return _numbers(value, _LISTS[key])
    if key == "color_matrices":
        return tuple(tuple(_numbers(row, 3) for row in _rows(matrix, 3)) for matrix in _rows(value, 2))
    return tuple(_ROW[key](row) for row in _rows(value))


def _check(where: str, sensor: Sensor) -> None:
    if not 1 <= sensor.bits <= 16:
        raise FileError(f"{where}: bits={sensor.bits} is outside 1..16")
    if not 0 <= sensor.black_level < sensor.white_level <= 2**sensor.bits - 1:
        raise FileError(
            f"{where}: black_level={sensor.black_level:g} and white={sensor.white_level:g} must be in order and fit "
            f"{sensor.bits} bits"
        )
    laws = [v for p in sensor.noise for v in (*p.shot, *p.read)] + [s for _, s in sensor.row_noise]
    if min([sensor.shot_at_iso100, sensor.read_at_iso100, sensor.prnu, sensor.dark_current_e_s, *laws]) < 0:
        raise FileError(f"{where}: noise must not be negative")
    if any(not p.iso > 0 for p in sensor.noise) or any(not iso > 0 for iso, _ in sensor.row_noise):
        raise FileError(f"{where}: an ISO must be above 0")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number (YAML wants 1.0e-4, not 1e-4)")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _rows(value: Any, count: int | None = None) -> list[Any]:
    if not isinstance(value, list) or (count is not None and len(value) != count):
        raise ValueError(f"{value!r} is not a list{f' of {count}' if count else ''}")
    return value


def _numbers(value: Any, count: int) -> tuple[float, ...]:
    return tuple(_number(v) for v in _rows(value, count))


def _spread(value: Any, count: int) -> Any:
    return (_number(value),) * count if not isinstance(value, list) else _numbers(value, count)


def _defect(row: Any, column: Any, kind: str = "stuck", value: Any = 1.0) -> Defect:
    for known in get_args(DefectKind):
        if kind == known:
            return Defect(_whole(row), _whole(column), known, _number(value))
    raise ValueError(f"kind {kind!r} is not one of {', '.join(get_args(DefectKind))}")


_ROW: dict[str, Any] = {
    "noise": lambda row: NoisePoint(
        _number(row["iso"]), _spread(row["shot"], 3), _spread(row["read"], 3), str(row.get("method", "table"))
    ),
    "black": lambda row: BlackPoint(
        _number(row["iso"]), _number(row.get("exposure_time_s", 0.01)), _spread(row["level_dn"], 4), (0.0,) * 4
    ),
    "row_noise": lambda row: _numbers(row, 2),
    "defects": lambda row: _defect(*_rows(row)),
}


def _light_levels() -> tuple[dict[str, LightLevel], float]:
    content = _shipped(_LIGHT)
    levels = {name: LightLevel(name, low, high) for name, (low, high) in content["levels"].items()}
    return levels, float(content["lux_per_light_level"])


LIGHT_LEVELS, LUX_PER_LIGHT_LEVEL = _light_levels()
