"""`CameraProfile` <-> YAML: a calibrated camera as a file that one can read, diff and edit.

```yaml
ispkit_profile: 1
name: Example Camera
cfa: RGGB
size: [3000, 4000]
white_level: 4095.0
black:
- iso: 100.0
  exposure_time_s: 0.01
  level_dn: [64.0, 64.0, 64.0, 64.0]
  noise_dn: [1.9, 1.9, 1.9, 1.9]
```
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import yaml

from ispkit.core.cfa import check_cfa
from ispkit.core.errors import FileError, IspkitError, nearest
from ispkit.core.profile import BlackPoint, CameraProfile, LightColor, NoisePoint, PsfGrid, ShadingMap
from ispkit.io.atomic import write_bytes
from ispkit.io.binary import read_bytes

VERSION = 1
VERSION_KEY = "ispkit_profile"
_MAX_BYTES = 64 << 20
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_ONE_LINE = 2**31 - 1

Check = Callable[[str, Any], Any]
"""place and parsed value -> value of the field; raises `FileError` that begins with the place"""


def write_profile(path: str | os.PathLike[str], profile: CameraProfile) -> None:
    """Write the profile whole or not at all; lists of numbers stand on one line. Raises `FileError`."""
    write_bytes(path, dump_profile(profile).encode())


def read_profile(path: str | os.PathLike[str]) -> CameraProfile:
    """The profile of a YAML file, exactly as it was written. Raises `FileError` naming file, place and value."""
    data = read_bytes(path, _MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise FileError(f"{path}: a camera profile has at most {_MAX_BYTES >> 20} MB; this is another kind of file")
    return parse_profile(data, where=str(path))


def dump_profile(profile: CameraProfile) -> str:
    """The profile as YAML text; floats keep every digit. Raises `FileError` for what `parse_profile` would refuse."""
    content = {VERSION_KEY: VERSION, **_plain(profile)}
    _profile("profile", dict(content))
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=_ONE_LINE))


def parse_profile(text: str | bytes, *, where: str = "profile") -> CameraProfile:
    """The profile that YAML text describes. Raises `FileError` whose message begins with `where`."""
    try:
        content = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        raise FileError(f"{where}{place}: not YAML ({getattr(error, 'problem', None) or error})") from error
    if not isinstance(content, dict) or VERSION_KEY not in content:
        raise FileError(f"{where}: not a camera profile; it must begin with '{VERSION_KEY}: {VERSION}'")
    return _profile(where, content)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if value is None or isinstance(value, bool | str):
        return value
    return int(value) if isinstance(value, int) else float(value)


def _profile(where: str, content: dict[str, Any]) -> CameraProfile:
    version = content.pop(VERSION_KEY, None)
    if version != VERSION or isinstance(version, bool):
        raise FileError(f"{where}: {VERSION_KEY}={version!r} is not supported; this version reads {VERSION}")
    profile: CameraProfile = _part(CameraProfile, where, content, separator=": ")
    height, width = profile.size
    for i, (row, column) in enumerate(profile.defects):
        if not (0 <= row < height and 0 <= column < width):
            raise FileError(f"{where}: defects[{i}]=[{row}, {column}] lies outside the {height}x{width} active area")
    return profile


def _part(kind: type, where: str, content: Any, *, separator: str = ".") -> Any:
    """One dataclass from its mapping, every field checked."""
    checks = _FIELDS[kind]
    if not isinstance(content, Mapping):
        raise FileError(f"{where}: {_shown(content)} must be a mapping of {', '.join(checks)}")
    for key in content:
        if key not in checks:
            raise FileError(f"{where}: no key {key!r}; {nearest(str(key), checks)}")
    needed = {name for name in checks if name not in _OPTIONAL}
    missing = [name for name in checks if name in needed and name not in content]
    if missing:
        raise FileError(f"{where}: {missing[0]!r} is missing; it needs {', '.join(sorted(needed))}")
    return kind(**{name: check(f"{where}{separator}{name}", content[name]) for name, check in checks.items()
                   if name in content})  # fmt: skip


def _number(low: float = -math.inf, high: float = math.inf) -> Check:
    def check(where: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FileError(f"{where}={_shown(value)} must be a number")
        if not (math.isfinite(value) and low <= value <= high):
            raise FileError(f"{where}={value!r} is outside [{low:g}, {high:g}]; give a finite number in it")
        return float(value)

    return check


def _whole(low: int) -> Check:
    def check(where: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise FileError(f"{where}={_shown(value)} must be a whole number of at least {low}")
        return value

    return check


def _list(entry: Check, length: int | None = None) -> Check:
    def check(where: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise FileError(f"{where}={_shown(value)} must be a list")
        if length is not None and len(value) != length:
            raise FileError(f"{where} has {len(value)} entries, it needs {length}")
        return tuple(entry(f"{where}[{i}]", v) for i, v in enumerate(value))

    return check


def _parts(kind: type) -> Check:
    return _list(lambda where, value: _part(kind, where, value))


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise FileError(f"{where}={_shown(value)} must be text; put it in quotes")
    return value


def _cfa(where: str, value: Any) -> str:
    try:
        return check_cfa(value)
    except IspkitError as error:
        raise FileError(f"{where}: {error}") from error


def _grid(entry: Check) -> Check:
    """A list of rows of one length, at least 1 x 1."""
    rows = _list(_list(entry))

    def check(where: str, value: Any) -> tuple[tuple[Any, ...], ...]:
        grid: tuple[tuple[Any, ...], ...] = rows(where, value)
        if not grid or not grid[0] or len({len(row) for row in grid}) != 1:
            raise FileError(f"{where} must be rows of one length, got lengths {[len(row) for row in grid][:8]}")
        return grid

    return check


def _gains(where: str, value: Any) -> tuple[Any, ...]:
    planes: tuple[Any, ...] = _list(_grid(_number(1e-6)), 4)(where, value)
    shapes = {(len(plane), len(plane[0])) for plane in planes}
    if len(shapes) != 1:
        raise FileError(f"{where}: the four planes must have one shape, got {sorted(shapes)}")
    return planes


def _kernel(where: str, value: Any) -> tuple[tuple[float, ...], ...]:
    kernel: tuple[tuple[float, ...], ...] = _grid(_number())(where, value)
    if len(kernel) != len(kernel[0]) or len(kernel) % 2 == 0:
        raise FileError(f"{where}: a kernel is square with an odd side, got {len(kernel)}x{len(kernel[0])}")
    return kernel


def _psf(where: str, value: Any) -> PsfGrid | None:
    return None if value is None else _part(PsfGrid, where, value)


def _kernels(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value or not set(value) <= {"R", "G", "B"}:
        raise FileError(f"{where}={_shown(value)} must map R, G, B to grids of kernels")
    return {color: _grid(_kernel)(f"{where}.{color}", grid) for color, grid in value.items()}


def _mapping(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise FileError(f"{where}={_shown(value)} must be a mapping")
    return dict(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


_RGB = _list(_number(), 3)
_POSITIVE_RGB = _list(_number(0.0), 3)
_SITES = _list(_number(), 4)
_MATRIX = _list(_RGB, 3)
_OPTIONAL = ("black", "noise", "defects", "shading", "colors", "psf", "made")
_FIELDS: dict[type, dict[str, Check]] = {
    BlackPoint: {"iso": _number(0), "exposure_time_s": _number(0), "level_dn": _SITES, "noise_dn": _SITES},
    NoisePoint: {"iso": _number(0), "shot": _POSITIVE_RGB, "read": _POSITIVE_RGB, "method": _text},
    ShadingMap: {"cct_k": _number(0), "gains": _gains, "radial": _list(_number(), 5), "center": _list(_number(), 2)},
    LightColor: {
        "name": _text, "cct_k": _number(0), "neutral": _POSITIVE_RGB, "forward_matrix": _MATRIX,
        "color_matrix": _MATRIX, "ccm": _MATRIX, "delta_e00_mean": _number(0), "delta_e00_max": _number(0),
    },
    PsfGrid: {"kernels": _kernels},
    CameraProfile: {
        "name": _text, "cfa": _cfa, "size": _list(_whole(1), 2), "white_level": _number(1e-6),
        "black": _parts(BlackPoint), "noise": _parts(NoisePoint), "defects": _list(_list(_whole(0), 2)),
        "shading": _parts(ShadingMap), "colors": _parts(LightColor), "psf": _psf, "made": _mapping,
    },
}  # fmt: skip
