"""What a file that holds bare samples cannot say about itself: `Facts` of the camera, `Geometry` of a dump."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from ispkit.core.cfa import check_cfa
from ispkit.core.errors import ParamError, nearest
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.io.packing import PACKINGS, PackingRule

Level = float | tuple[float, float, float, float]
Triple = tuple[float, float, float]
Matrix = tuple[Triple, Triple, Triple]

SAMPLE_BITS = (8, 10, 12, 14, 16)
_MAX_SIDE = 1 << 17
_SINGULAR = 1e-9


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts of the camera; None means not known. Lists are taken for tuples. Raises `ParamError`.

    >>> Facts(cfa="GRBG", black_level=[64, 64, 65, 64]).black_level
    (64.0, 64.0, 65.0, 64.0)
    """

    cfa: str | None = None
    """the top-left 2x2 read row by row: RGGB, BGGR, GRBG or GBRG"""
    bits: int | None = None
    """significant bits of a sample: 8, 10, 12, 14 or 16"""
    black_level: Level | None = None
    """DN, one value or one per site of the top-left 2x2, row by row"""
    white_level: Level | None = None
    """DN, likewise; the largest code of `bits` if None"""
    neutral: Triple | None = None
    """the scene's white in sensor RGB (only the ratios count)"""
    color_matrix: Matrix | None = None
    """XYZ -> sensor RGB, as DNG's ColorMatrix1"""
    forward_matrix: Matrix | None = None
    """white-balanced sensor RGB -> XYZ D50, as DNG's ForwardMatrix1"""
    illuminant_cct_k: float | None = None
    """temperature of the light that the matrices are for"""
    iso: float | None = None
    exposure_time_s: float | None = None
    orientation: int | None = None
    """EXIF orientation 1..8"""

    def __post_init__(self) -> None:
        if self.cfa is not None:
            check_cfa(self.cfa)
        if self.bits is not None and (self.bits not in SAMPLE_BITS or isinstance(self.bits, bool)):
            raise ParamError(f"bits={self.bits!r} is not a sample size; use one of {_words(SAMPLE_BITS)}")
        for name in ("black_level", "white_level"):
            self._set(name, _level(name, getattr(self, name)))
        self._check_levels()
        self._set("neutral", _row("neutral", self.neutral, positive=True))
        for name in ("color_matrix", "forward_matrix"):
            self._set(name, _matrix(name, getattr(self, name)))
        for name, low in (("illuminant_cct_k", 500.0), ("iso", 0.0), ("exposure_time_s", 0.0)):
            value = getattr(self, name)
            if value is not None:
                self._set(name, _number(name, value, low))
        if self.orientation is not None and (isinstance(self.orientation, bool) or self.orientation not in range(1, 9)):
            raise ParamError(f"orientation={self.orientation!r} is not an EXIF orientation; use 1 to 8")

    def override(self, frame: Frame) -> Frame:
        """`frame` with these facts in place of its own; levels and CFA only fit a RAW frame."""
        changed = self._meta_facts()
        clash = sorted({"cfa", "black_level", "white_level"} & set(changed))
        if frame.domain is not Domain.RAW and clash:
            raise ParamError(f"{', '.join(clash)} fit a RAW frame, not a {frame.domain.value} one; leave them")
        if not changed:
            return frame
        made = CameraMeta.make(**({"cfa": frame.meta.cfa_pattern, "size": frame.size} | changed))
        taken = {"cfa_pattern" if name == "cfa" else name for name in changed}
        if "color_matrices" in changed:  # the file's other matrices describe another camera then
            taken |= {"forward_matrices", "illuminant_cct_k"}
        meta = replace(frame.meta, **{name: getattr(made, name) for name in taken})
        if bool((meta.black_level >= meta.white_level).any()):
            levels = f"black_level={meta.black_level.max():g}, white_level={meta.white_level.min():g}"
            raise ParamError(f"{levels}: black must be below white; give both")
        return Frame(frame.data, frame.domain, meta)

    def camera_meta(self, size: tuple[int, int], white_level: float) -> CameraMeta:
        """Facts as a `CameraMeta` of one frame; `white_level` stands in where none is given."""
        if self.cfa is None:
            raise ParamError("the CFA pattern is not known; give cfa=RGGB, BGGR, GRBG or GBRG")
        levels = {"black_level": 0.0, "white_level": white_level}
        return CameraMeta.make(size=size, **(levels | self._meta_facts()))

    def _meta_facts(self) -> dict[str, Any]:
        """The known facts under the names of `CameraMeta.make`."""
        facts = {name: getattr(self, name) for name in _DIRECT}
        for name, plural in _PLURAL.items():
            value = getattr(self, name)
            facts[plural] = None if value is None else (value,)
        return {name: value for name, value in facts.items() if value is not None}

    def stated(self) -> dict[str, Any]:
        """The fields that differ from their default, in order: what a sidecar has to say."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}

    def _check_levels(self) -> None:
        top = None if self.bits is None else float(2**self.bits - 1)
        white = _four(self.white_level if self.white_level is not None else top)
        if top is not None and white is not None and max(white) > top:
            raise ParamError(f"white_level={max(white):g} is more than {self.bits} bits hold ({top:g})")
        black = _four(self.black_level)
        if black is not None and white is not None and any(b >= w for b, w in zip(black, white, strict=True)):
            raise ParamError(f"black_level={max(black):g} must be below white_level={min(white):g}")

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


_DIRECT = ("cfa", "black_level", "white_level", "neutral", "iso", "exposure_time_s", "orientation")
_PLURAL = {
    "color_matrix": "color_matrices",
    "forward_matrix": "forward_matrices",
    "illuminant_cct_k": "illuminant_cct_k",
}


@dataclass(frozen=True, kw_only=True)
class Geometry(Facts):
    """Where the samples of a headerless dump lie, and the facts of the camera. Raises `ParamError`.

    >>> Geometry(width=4, height=2, bits=10, packing="mipi10", cfa="RGGB").file_size
    10
    """

    width: int
    """pixels in a row"""
    height: int
    """rows"""
    packing: str = "unpacked"
    """how samples lie in bytes: a name of `ispkit.io.packing.PACKINGS`"""
    byte_order: str = "little"
    """of 16-bit words, and of bit streams ("packed10/12/14": little = first pixel in the low bits)"""
    align: str = "lsb"
    """where the significant bits of an unpacked 16-bit word sit: "lsb" or "msb\""""
    stride: int | None = None
    """bytes from one row to the next; without padding if None"""
    offset: int = 0
    """bytes before the first row"""
    trailing: int = 0
    """bytes after the last row that are not samples"""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low, high in (("width", 2, _MAX_SIDE), ("height", 2, _MAX_SIDE)):
            _integer(name, getattr(self, name), low, high)
        if self.packing not in PACKINGS:
            raise ParamError(f"packing={self.packing!r} is not known; {nearest(str(self.packing), PACKINGS)}")
        if self.bits is None:
            raise ParamError(f"bits is missing; packing={self.packing!r} takes bits={_words(self.rule.bits)}")
        if self.bits not in self.rule.bits:
            raise ParamError(f"bits={self.bits} does not fit packing={self.packing!r}; use {_words(self.rule.bits)}")
        self._option("byte_order", ("little", "big"), self.rule.ordered and self.sample_bytes != 1)
        self._option("align", ("lsb", "msb"), self.packing == "unpacked" and self.bits not in (8, 16))
        for name in ("offset", "trailing"):
            _integer(name, getattr(self, name), 0, 1 << 40)
        if self.stride is not None:
            _integer("stride", self.stride, 1, 1 << 24)
            if self.stride < self.row_bytes:
                raise ParamError(f"stride={self.stride} is less than the {self.row_bytes} bytes that a row needs")

    @property
    def rule(self) -> PackingRule:
        """How the samples are packed."""
        return PACKINGS[self.packing]

    @property
    def sample_bits(self) -> int:
        """`bits`, which a dump always has."""
        return int(self.bits or 0)

    @property
    def sample_bytes(self) -> int | None:
        """Bytes of one sample, None where samples share bytes."""
        return None if self.packing != "unpacked" else (1 if self.bits == 8 else 2)

    @property
    def row_bytes(self) -> int:
        """Bytes that the samples of one row fill."""
        return self.rule.row_bytes(self.width, self.sample_bits)

    @property
    def row_stride(self) -> int:
        """Bytes from one row to the next."""
        return self.stride or self.row_bytes

    @property
    def file_size(self) -> int:
        """Bytes of the whole file, the last row padded like the others."""
        return self.offset + self.row_stride * self.height + self.trailing

    def _option(self, name: str, options: tuple[str, str], used: bool) -> None:
        value = getattr(self, name)
        if value not in options:
            raise ParamError(f"{name}={value!r} is not an option; {nearest(str(value), options)}")
        if value != options[0] and not used:
            raise ParamError(
                f"{name}={value!r} means nothing for {self.bits} bits with packing={self.packing!r}; leave it"
            )


def plain_value(text: str) -> Any:
    """What a word of a command line or an address means: a number, a word, or a list of them with colons.

    >>> plain_value("64:64:65:64"), plain_value("RGGB")
    ([64, 64, 65, 64], 'RGGB')
    """
    if ":" in text:
        return [plain_value(part) for part in text.split(":")]
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _words(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _integer(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ParamError(f"{name}={value!r} must be a whole number in [{low}, {high}]")


def _number(name: str, value: Any, low: float = -math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < low:
        law = "a finite number" + ("" if low == -math.inf else f" of at least {low:g}")
        raise ParamError(f"{name}={value!r} must be {law}")
    return float(value)


def _level(name: str, value: Any) -> Level | None:
    if value is None:
        return None
    if isinstance(value, list | tuple):
        if len(value) != 4:
            raise ParamError(f"{name} has {len(value)} values; give 1, or 4 (the top-left 2x2, row by row)")
        a, b, c, d = (_number(name, v, 0.0) for v in value)
        return a, b, c, d
    return _number(name, value, 0.0)


def _four(level: Level | None) -> tuple[float, ...] | None:
    return level if level is None or isinstance(level, tuple) else (level,) * 4


def _row(name: str, value: Any, *, positive: bool = False) -> Triple | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise ParamError(f"{name}={value!r} must be three numbers (R, G, B)")
    r, g, b = (_number(name, v) for v in value)
    if positive and min(r, g, b) <= 0:
        raise ParamError(f"{name}={value!r} must be three positive numbers")
    return r, g, b


def _matrix(name: str, value: Any) -> Matrix | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise ParamError(f"{name} must be three rows of three numbers, got {value!r}")
    rows = [_row(name, row) for row in value]
    determinant = torch.linalg.det(torch.tensor(rows, dtype=torch.float64))
    if abs(float(determinant)) < _SINGULAR:
        raise ParamError(f"{name} has no inverse; check its rows")
    return rows[0], rows[1], rows[2]  # type: ignore[return-value]
