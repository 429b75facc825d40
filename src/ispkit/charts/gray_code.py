"""Gray-code pictures for a display: which pixel of the screen each pixel of a camera sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ispkit.charts.canvas import check_number, check_size
from ispkit.core.errors import ParamError

Axis = Literal["column", "row"]
_MOST_BITS = 15


@dataclass(frozen=True)
class Pattern:
    """What one picture of the sequence shows."""

    kind: Literal["white", "black", "bit"]
    axis: Axis | None = None
    """whose number is coded: `column` (stripes stand) or `row` (stripes lie)"""
    bit: int = 0
    """of the Gray code, 0 the least significant (the finest stripes)"""
    inverse: bool = False
    """lit where the bit is 0"""

    @property
    def name(self) -> str:
        """E.g. `white`, `column-07`, `column-07-inverse`."""
        if self.kind != "bit":
            return self.kind
        return f"{self.axis}-{self.bit:02d}" + ("-inverse" if self.inverse else "")


@dataclass(frozen=True)
class GrayCode:
    """The sequence for a display of height x width pixels: `patterns` in the order to show, and their pictures.

    First all lit ("white", in the color of the stripes) and all black, then the columns, then the rows, from
    the coarsest bit to the finest, each bit followed by its inverse. A pixel reads a bit as 1 where the
    picture is brighter than its inverse.
    """

    height: int
    width: int
    color: tuple[float, float, float]
    """linear sRGB of what is lit"""
    patterns: tuple[Pattern, ...]

    def bits(self, axis: Axis) -> int:
        """How many bits number the columns or rows."""
        return bits_for(self.width if axis == "column" else self.height)

    def picture(self, pattern: Pattern) -> Tensor:
        """Linear sRGB (3, height, width), `color` or black."""
        lit = self._lit(pattern).expand(self.height, self.width)
        return lit[None] * torch.tensor(self.color)[:, None, None]

    def pictures(self) -> Iterator[Tensor]:
        """The pictures in the order of `patterns`, made one by one."""
        return (self.picture(pattern) for pattern in self.patterns)

    def truth(self) -> dict[str, Any]:
        """Everything but the pixels, JSON-able; `gray_code_sequence(**parameters)` makes it again."""
        own = {"height": self.height, "width": self.width, "color": list(self.color)}
        patterns = [{"name": p.name} | asdict(p) for p in self.patterns]
        return {"version": 1, "chart": "gray_code", "parameters": own, "patterns": patterns}

    def _lit(self, pattern: Pattern) -> Tensor:
        if pattern.kind != "bit" or pattern.axis is None:
            return torch.full((1, 1), pattern.kind == "white")
        column = pattern.axis == "column"
        code = to_gray(torch.arange(self.width if column else self.height))
        lit = ((code >> pattern.bit) & 1).bool() != pattern.inverse
        return lit[None] if column else lit[:, None]


def gray_code_sequence(height: int, width: int, *, color: tuple[float, float, float] = (0.0, 1.0, 0.0)) -> GrayCode:
    """Green and black stripe pictures, each with its inverse, that number every column and row of a display.

    Green, because it has the most sites of a Bayer mosaic. Sizes up to 16384. Raises `ParamError`, `ShapeError`.

    >>> [p.name for p in gray_code_sequence(2, 4).patterns][:4]
    ['white', 'black', 'column-01', 'column-01-inverse']
    """
    check_size("gray_code", height, width, (2, 2))
    if not isinstance(color, list | tuple) or len(color) != 3 or not any(color):
        raise ParamError(f"gray_code.color={color} must be three numbers, red, green and blue, not all 0")
    for part in color:
        check_number("gray_code.color", part, 0.0, 1.0)
    axes: tuple[tuple[Axis, int], ...] = (("column", width), ("row", height))
    bits = [
        Pattern("bit", axis, bit, inverse)
        for axis, extent in axes
        for bit in reversed(range(bits_for(extent)))
        for inverse in (False, True)
    ]
    red, green, blue = (float(part) for part in color)
    return GrayCode(height, width, (red, green, blue), (Pattern("white"), Pattern("black"), *bits))


def bits_for(extent: int) -> int:
    """Bits that number 0 ... extent - 1.

    >>> bits_for(1080), bits_for(1024)
    (11, 10)
    """
    return max(1, (extent - 1).bit_length())


def to_gray(number: Tensor) -> Tensor:
    """Numbers -> Gray code: neighbors differ in one bit. Integers of any shape."""
    return number ^ (number >> 1)


def from_gray(code: Tensor) -> Tensor:
    """Gray code -> numbers.

    >>> from_gray(to_gray(torch.arange(5))).tolist()
    [0, 1, 2, 3, 4]
    """
    number, shifted = code.clone(), code >> 1
    for _ in range(_MOST_BITS):
        number ^= shifted
        shifted = shifted >> 1
    return number
