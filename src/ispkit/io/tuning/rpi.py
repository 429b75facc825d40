"""Raspberry Pi tuning files (libcamera, JSON): read, looked into by name, changed block by block.

Format: github.com/raspberrypi/libcamera, src/ipa/rpi/controller, commit 26bfadc6: version 1.0 is one
object of algorithms, version 2.0 a list of them; levels are those of 16 bits; tables are row by row.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ispkit.core.errors import FileError
from ispkit.core.profile import Matrix
from ispkit.io.tuning.base import FloatArray, matrix
from ispkit.io.tuning.json_text import JsonText, parse_json
from ispkit.io.tuning.json_text import Path as Keys

GRIDS = {"bcm2835": (12, 16), "pisp": (32, 32)}
"""rows and columns of the shading tables by target"""
WIDTHS = {"ct_curve": 3, "ccm": 3, "gamma_curve": 2, "prior": 2, "y_target": 2, "tonemap": 2, "weights": 15}
_LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True)
class RpiNoise:
    """Standard deviation = constant + slope sqrt(mean), 16-bit levels above black, at gain 1."""

    constant: float
    slope: float


@dataclass(frozen=True)
class RpiShading:
    """Lens shading; values stand at the centers of equal cells, first row at the top."""

    cr: tuple[tuple[float, FloatArray], ...]
    """(temperature in K, gain of red over green), ascending"""
    cb: tuple[tuple[float, FloatArray], ...]
    luminance: FloatArray | None
    """gain of green, for all lights"""
    strength: float
    """share of (luminance - 1) that is applied"""


@dataclass(frozen=True)
class RpiTuning:
    """One file: `document` keeps its text, the properties tell what it says; a missing block is None.

    A value of the wrong shape raises `FileError` when it is asked for, with place, value and law.
    """

    document: JsonText

    @property
    def text(self) -> str:
        """The file's text, byte for byte as read where nothing was replaced."""
        return self.document.text

    @property
    def source(self) -> str:
        """The file's name, for messages."""
        return self.document.source

    @property
    def version(self) -> float:
        """1.0 or 2.0; a file without one has version 1.0."""
        return float(self.document.value.get("version", 1.0))

    @property
    def target(self) -> str:
        """The chip: "bcm2835" (Raspberry Pi 4 and before) or "pisp" (Raspberry Pi 5)."""
        return str(self.document.value.get("target", "bcm2835"))

    @cached_property
    def places(self) -> dict[str, tuple[str | int, ...]]:
        """Where each algorithm's parameters stand, in order."""
        value = self.document.value
        if self.version < 2:
            return {k: (k,) for k in value if k not in ("version", "target")}
        entries = [(i, k) for i, entry in enumerate(value["algorithms"]) for k in entry]
        names = [k for _, k in entries]
        twice = next((k for k in names if names.count(k) > 1), None)
        if twice is not None:
            raise FileError(f"{self.source}: the algorithm {twice} comes twice; keep one of them")
        return {k: ("algorithms", i, k) for i, k in entries}

    def block(self, name: str) -> dict[str, Any] | None:
        """The parameters of an algorithm such as "rpi.ccm"; None where there are none or it is disabled."""
        path = self.places.get(name)
        node = self.document.node(path) if path is not None else None
        if node is None:
            return None
        if not isinstance(node.value, dict):
            raise FileError(f"{self.source}: {name}={node.value!r} must be an object of parameters")
        return None if node.value.get("enabled", True) is False else dict(node.value)

    def with_entry(self, name: str, key: str, value: Any) -> RpiTuning:
        """The tuning with one parameter replaced or added; a missing algorithm is added as the last."""
        if name in self.places:
            return RpiTuning(self.document.replaced((*self.places[name], key), value))
        if self.version < 2:
            return RpiTuning(self.document.replaced((name,), {key: value}))
        count = len(self.document.value["algorithms"])
        return RpiTuning(self.document.replaced(("algorithms", count), {name: {key: value}}))

    def without_entry(self, name: str, key: str) -> RpiTuning:
        """The tuning without one parameter; unchanged if it is not there."""
        return RpiTuning(self.document.removed((*self.places[name], key))) if name in self.places else self

    @property
    def black_level(self) -> tuple[float, float, float] | None:
        """R, G, B of 16 bits; libcamera takes 4096 where the block says nothing."""
        params = self.block("rpi.black_level")
        if params is None:
            return None
        common = self._number("rpi.black_level", "black_level", 4096.0)
        r, g, b = (self._number("rpi.black_level", f"black_level_{c}", common) for c in "rgb")
        return r, g, b

    @property
    def noise(self) -> RpiNoise | None:
        """The noise model."""
        if self.block("rpi.noise") is None:
            return None
        names = ("reference_constant", "reference_slope")
        return RpiNoise(*(self._number("rpi.noise", name) for name in names))

    @property
    def ct_curve(self) -> tuple[tuple[float, float, float], ...] | None:
        """(temperature in K, R/G, B/G of white after shading correction), ascending."""
        if "ct_curve" not in (self.block("rpi.awb") or {}):
            return None
        where, flat = "rpi.awb.ct_curve", self._list("rpi.awb", "ct_curve")
        if len(flat) % 3 or not len(flat):
            raise self._wrong(where, f"has {len(flat)} numbers; it needs temperature, R/G, B/G again and again")
        rows = flat.reshape(-1, 3)
        self._ascending(where, rows[:, 0])
        if not (rows > 0).all():
            raise self._wrong(where, f"holds {rows.min():g}; all its numbers must be positive")
        return tuple((float(t), float(r), float(b)) for t, r, b in rows)

    @property
    def ccms(self) -> tuple[tuple[float, Matrix], ...] | None:
        """(temperature in K, white-balanced sensor RGB -> linear sRGB), ascending."""
        entries = self._entries("rpi.ccm", "ccms", "ccm", 9)
        return None if entries is None else tuple((t, matrix(m.reshape(3, 3))) for t, m in entries)

    @property
    def shading(self) -> RpiShading | None:
        """The shading tables."""
        params = self.block("rpi.alsc")
        if params is None:
            return None
        rows, columns = GRIDS[self.target]
        tables = {}
        for name in ("calibrations_Cr", "calibrations_Cb"):
            entries = self._entries("rpi.alsc", name, "table", rows * columns) or []
            tables[name] = tuple((t, table.reshape(rows, columns)) for t, table in entries)
        lut = None
        if "luminance_lut" in params:
            flat = self._list("rpi.alsc", "luminance_lut", rows * columns)
            lut = flat.reshape(rows, columns)
        strength = self._number("rpi.alsc", "luminance_strength", 1.0)
        return RpiShading(tables["calibrations_Cr"], tables["calibrations_Cb"], lut, strength)

    @property
    def gamma_curve(self) -> tuple[tuple[float, float], ...] | None:
        """(linear, display) pairs of 16 bits, ascending."""
        if "gamma_curve" not in (self.block("rpi.contrast") or {}):
            return None
        where, flat = "rpi.contrast.gamma_curve", self._list("rpi.contrast", "gamma_curve")
        if len(flat) % 2 or len(flat) < 4:
            raise self._wrong(where, f"has {len(flat)} numbers; it needs two or more pairs")
        pairs = flat.reshape(-1, 2)
        self._ascending(where, pairs[:, 0])
        return tuple((float(x), float(y)) for x, y in pairs)

    @property
    def sharpen(self) -> dict[str, float] | None:
        """Threshold, strength and limit, factors of the hardware's defaults."""
        names = ("threshold", "strength", "limit")
        return None if self.block("rpi.sharpen") is None else {n: self._number("rpi.sharpen", n, 1.0) for n in names}

    @property
    def geq(self) -> dict[str, float] | None:
        """Offset and slope of the green equalization."""
        names = ("offset", "slope")
        return None if self.block("rpi.geq") is None else {n: self._number("rpi.geq", n, 0.0) for n in names}

    @property
    def lux(self) -> dict[str, float] | None:
        """The reference exposure that ties brightness to lux."""
        names = ("reference_shutter_speed", "reference_gain", "reference_Y", "reference_lux")
        return None if self.block("rpi.lux") is None else {n: self._number("rpi.lux", n) for n in names}

    def _wrong(self, where: str, law: str) -> FileError:
        return FileError(f"{self.source}: {where} {law}")

    def _number(self, name: str, key: str, default: float | None = None) -> float:
        value = (self.block(name) or {}).get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(f"{name}.{key}", "is missing" if value is None else f"is {value!r}, it must be a number")
        return float(value)

    def _list(self, name: str, key: str, count: int | None = None) -> FloatArray:
        return self._numbers((*self.places[name], key), count)

    def _numbers(self, path: Keys, count: int | None) -> FloatArray:
        node = self.document.node(path)
        where, values = _spelled(path), None if node is None else node.value
        if not isinstance(values, list) or not all(type(v) in (int, float) for v in values):
            raise self._wrong(where, "must be a list of numbers")
        if count is not None and len(values) != count:
            raise self._wrong(where, f"has {len(values)} numbers; target {self.target} needs {count}")
        return np.array(values, dtype=np.float64)

    def _entries(self, name: str, key: str, values: str, count: int) -> list[tuple[float, FloatArray]] | None:
        """A list of {ct, values}, ascending in temperature."""
        found = (self.block(name) or {}).get(key)
        if found is None:
            return None
        where, path = f"{name}.{key}", (*self.places[name], key)
        if not isinstance(found, list) or not all(isinstance(e, dict) for e in found):
            raise self._wrong(where, "must be a list of objects with a ct each")
        numbers = [self._numbers((*path, i, values), count) for i in range(len(found))]
        ccts = [e.get("ct") for e in found]
        if not all(type(t) in (int, float) and t > 0 for t in ccts):
            raise self._wrong(where, f"has the temperatures {ccts}; each ct must be a positive number")
        self._ascending(where, ccts)
        return [(float(t), n) for t, n in zip(ccts, numbers, strict=True)]

    def _ascending(self, where: str, values: Sequence[float] | FloatArray) -> None:
        steps = np.diff(np.asarray(values, dtype=np.float64))
        if (steps <= 0).any():
            i = int((steps <= 0).argmax())
            raise self._wrong(where, f"goes from {values[i]:g} to {values[i + 1]:g}; it must ascend")


def _spelled(path: Keys) -> str:
    words = [f"[{p}]" if isinstance(p, int) else f".{p}" for p in path]
    text = "".join(words).lstrip(".")
    return text.split("].", 1)[1] if text.startswith("algorithms[") else text


def parse_tuning(text: str, source: str = "tuning") -> RpiTuning:
    """A tuning from text. Raises `FileError` with line and column where it is not JSON."""
    value = parse_json(text, source).value
    if not isinstance(value, dict):
        raise FileError(f"{source}: a Raspberry Pi tuning is a JSON object, this is a {type(value).__name__}")
    version, target = value.get("version", 1.0), value.get("target", "bcm2835")
    if type(version) not in (int, float) or not 1 <= version < 3:
        raise FileError(f"{source}: version {version!r} is not known; Raspberry Pi tunings have 1.0 or 2.0")
    if version < 2 and not any(str(key).startswith("rpi.") for key in value):
        raise FileError(
            f"{source}: this JSON is no Raspberry Pi tuning, for it has neither version 2 nor a block 'rpi.*'"
        )
    if target not in GRIDS:
        raise FileError(f"{source}: target {target!r} is not known; it must be 'bcm2835' or 'pisp'")
    entries = value.get("algorithms")
    if version >= 2 and (not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries)):
        raise FileError(f"{source}: version {version:g} needs 'algorithms', a list of objects")
    columns = GRIDS[target][1]
    widths = {**WIDTHS, "table": columns, "luminance_lut": columns}
    tuning = RpiTuning(parse_json(text, source, widths))
    _ = tuning.places
    return tuning


def read_tuning(path: str | os.PathLike[str]) -> RpiTuning:
    """A tuning from a file. Raises `FileError`."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FileError(f"{path}: cannot be read, {error.strerror}") from error
    if len(data) > _LARGEST:
        raise FileError(f"{path}: {len(data)} bytes are too many for a tuning file; is it one?")
    try:
        return parse_tuning(data.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: byte {error.start} is not UTF-8 text; a tuning file is") from error
