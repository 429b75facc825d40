"""`CameraProfile` -> libcamera YAML for the rkisp1 hardware and for the software ISP.

Format: git.libcamera.org, src/ipa/rkisp1, src/ipa/softisp and src/ipa/libipa at commit 94d17442: black
levels of 16 bits; shading in units of 1/1024 from 1 to 3.999 at 17 x 17 nodes whose spacing x-size and
y-size give for one half; `ccm` row by row, white-balanced sensor RGB -> linear sRGB; `gains` of red and
blue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from ispkit.core.errors import FileError
from ispkit.core.profile import CameraProfile
from ispkit.io.tuning.base import FloatArray, black_levels, lights, require_something, sample, shadings
from ispkit.io.tuning.yaml_text import YamlText, is_empty, member, parse_yaml

_HEAD = "%YAML 1.1\n---\nversion: 1\nalgorithms:\n"
_HALF, _UNIT, _LARGEST_GAIN, _LARGEST_LEVEL = 8, 1024, 4095, 32767
_WIDTHS = {"ccm": 3, **dict.fromkeys(("r", "gr", "gb", "b"), 2 * _HALF + 1)}


@dataclass(frozen=True)
class _Platform:
    """How one ISP names its algorithms and in which order they stand."""

    name: str
    order: tuple[str, ...]
    always: tuple[str, ...]
    black: str
    has_shading: bool


_RKISP1 = _Platform(
    "libcamera-rkisp1",
    ("Agc", "Awb", "BlackLevelCorrection", "LensShadingCorrection", "Ccm"),
    ("Agc", "Awb", "BlackLevelCorrection"),
    "BlackLevelCorrection",
    True,
)
_SOFTISP = _Platform(
    "libcamera-softisp",
    ("BlackLevel", "Awb", "Ccm", "Adjust", "Agc"),
    ("BlackLevel", "Awb", "Adjust", "Agc"),
    "BlackLevel",
    False,
)


def export_rkisp1(profile: CameraProfile, template: str | None = None) -> str:
    """Text of a tuning for rkisp1: black level, shading, color gains and matrices. Raises `FileError`."""
    return _export(profile, _RKISP1, template)


def export_softisp(profile: CameraProfile, template: str | None = None) -> str:
    """Text of a tuning for the software ISP: black level, color gains and matrices. Raises `FileError`."""
    return _export(profile, _SOFTISP, template)


def _export(profile: CameraProfile, platform: _Platform, template: str | None) -> str:
    shaded = platform.has_shading and any(shadings(profile))
    holds = "black level, " + ("lens shading " if platform.has_shading else "") + "or colors"
    require_something(profile, platform.name, holds, bool(profile.black or lights(profile) or shaded))
    head = _HEAD + "".join(f"  - {name}:\n" for name in platform.always)
    document = parse_yaml(head if template is None else template, "template")
    if template is not None and document.value.get("version") != 1:
        raise FileError(f"template: version {document.value.get('version')!r} is not known; libcamera tunings have 1")
    entries: dict[str, dict[str, Any]] = {platform.black: _black(profile, platform)}
    if lights(profile):
        entries["Awb"] = {"colourGains": _gains(profile)}
        entries["Ccm"] = {"ccms": _ccms(profile)}
    if shaded:
        entries["LensShadingCorrection"] = _shading(profile, document)
    for algorithm in platform.order:
        if entries.get(algorithm):
            document = _with_entries(document, platform, algorithm, entries[algorithm])
    return document.text


def _black(profile: CameraProfile, platform: _Platform) -> dict[str, Any]:
    levels = black_levels(profile)
    if levels is None:
        return {}
    if max(levels.values()) > _LARGEST_LEVEL:
        raise FileError(
            f"{profile.name}: a black level of {max(levels.values()):.0f} of 65535 exceeds libcamera's 32767"
        )
    if platform is _SOFTISP:
        return {"blackLevel": round(sum(levels.values()) / 4)}
    return {name: round(levels[name]) for name in ("R", "Gr", "Gb", "B")}


def _gains(profile: CameraProfile) -> list[dict[str, Any]]:
    rows = [(round(c.cct_k), c.neutral) for c in lights(profile)]
    return [{"ct": cct, "gains": [round(n[1] / n[0], 5), round(n[1] / n[2], 5)]} for cct, n in rows]


def _ccms(profile: CameraProfile) -> list[dict[str, Any]]:
    return [
        {"ct": round(c.cct_k), "ccm": [round(v, 5) for row in c.ccm for v in row], "offsets": [0, 0, 0]}
        for c in lights(profile)
    ]


def _shading(profile: CameraProfile, document: YamlText) -> dict[str, Any]:
    node = _algorithm(document, "LensShadingCorrection")
    old = node if isinstance(node, yaml.MappingNode) else None
    sizes = [_sizes(document, old, key) for key in ("x-size", "y-size")]
    columns, rows = (_positions(size) for size in sizes)
    sets = []
    known = {cct: planes for cct, planes in shadings(profile).items() if cct > 0} or shadings(profile)
    for cct, planes in known.items():
        tables = {name.lower(): _units(sample(planes[name], rows, columns)) for name in ("R", "Gr", "Gb", "B")}
        sets.append({"ct": cct or 5000, **tables})
    kind = {"type": "table"} if old is not None and member(old, "type") is not None else {}
    return {**kind, "x-size": sizes[0], "y-size": sizes[1], "sets": sets}


def _units(gains: FloatArray) -> list[int]:
    return [int(v) for v in np.clip(np.round(gains * _UNIT), _UNIT, _LARGEST_GAIN).reshape(-1)]


def _sizes(document: YamlText, old: yaml.MappingNode | None, key: str) -> list[float]:
    """The template's spacing of one half of the grid, which sums to 0.5; even without one."""
    node = None if old is None else member(old, key)
    if node is None:
        return [0.5 / _HALF] * _HALF
    words = [child.value for child in node.value] if isinstance(node, yaml.SequenceNode) else []
    try:
        sizes = [float(w) for w in words]
    except (TypeError, ValueError):
        sizes = []
    if len(sizes) != _HALF or min(sizes) <= 0 or abs(sum(sizes) - 0.5) > 0.005:
        law = f"must be {_HALF} positive numbers that sum to 0.5"
        raise FileError(f"{document.source}: LensShadingCorrection.{key}={words} {law}")
    return sizes


def _positions(sizes: Sequence[float]) -> FloatArray:
    """Node positions from 0 to 1: the spacing and its mirror image."""
    steps = np.concatenate([sizes, sizes[::-1]])
    nodes = np.concatenate([[0.0], np.cumsum(steps)])
    return np.asarray(nodes / nodes[-1])


def _algorithm(document: YamlText, name: str) -> yaml.Node | None:
    """The parameters of an algorithm; None if the list does not name it."""
    for item in document.sequence("algorithms").value:
        if isinstance(item, yaml.MappingNode) and member(item, name) is not None:
            return member(item, name)
    return None


def _with_entries(document: YamlText, platform: _Platform, name: str, entries: dict[str, Any]) -> YamlText:
    node = _algorithm(document, name)
    if node is None:
        document = _with_algorithm(document, platform.order, name)
        node = _algorithm(document, name)
    if is_empty(node):
        item = next(i for i in document.sequence("algorithms").value if member(i, name) is not None)
        return document.filled(item, name, entries, _WIDTHS)
    if not isinstance(node, yaml.MappingNode):
        raise FileError(f"{document.source}: {name} must hold 'key: value' lines")
    return document.replaced(node, entries, _WIDTHS)


def _with_algorithm(document: YamlText, order: Sequence[str], name: str) -> YamlText:
    """A new entry behind the last of those that come before it, else as the first."""
    items = document.sequence("algorithms").value
    names = [item.value[0][0].value if isinstance(item, yaml.MappingNode) else "" for item in items]
    before = [i for i, n in enumerate(names) if n in order[: order.index(name)]]
    return document.with_item("algorithms", max(before, default=-1) + 1, name)
