"""The color filter array as a word: the top-left 2x2 read row by row, and how geometry changes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeGuard

from ispkit.core.errors import ParamError, nearest

CfaPattern = Literal["RGGB", "BGGR", "GRBG", "GBRG"]
CFA_PATTERNS: tuple[CfaPattern, ...] = ("RGGB", "BGGR", "GRBG", "GBRG")
TRANSPOSED = (0, 2, 1, 3)
"""where each site comes from, as `site_order` says it, when rows and columns are swapped"""


@dataclass(frozen=True)
class Cell:
    """How many photosites a side share one filter, and how many of the first rows and columns were cut off.

    1 is a Bayer array; 2 a Quad Bayer array, whose pattern of filters has 4x4 photosites. Raises `ParamError`.
    """

    size: int = 1
    y: int = 0
    x: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or not (0 <= self.y < self.size and 0 <= self.x < self.size):
            raise ParamError(f"{self}: size must be at least 1, y and x within 0..size - 1")


def is_cfa(word: str) -> TypeGuard[CfaPattern]:
    """Whether `word` is one of the four Bayer patterns."""
    return word in CFA_PATTERNS


def check_cfa(word: str) -> CfaPattern:
    """Return `word` as a pattern, or raise `ParamError`.

    >>> check_cfa("RGGB")
    'RGGB'
    """
    if not is_cfa(word):
        hint = nearest(str(word).upper(), CFA_PATTERNS)
        raise ParamError(f"cfa={word!r} is not a Bayer pattern; {hint}")
    return word


def site_order(dy: int, dx: int, mirror_y: bool = False, mirror_x: bool = False) -> tuple[int, int, int, int]:
    """Where each site of a moved 2x2 comes from: new[i] = old[order[i]], sites counted row by row.

    `dy`, `dx` are the coordinates of the new top-left pixel in the old picture; `mirror_*` says that
    the new picture runs backwards from there.

    >>> site_order(0, 1)
    (1, 0, 3, 2)
    """
    y0, y1 = dy % 2, (dy + (-1 if mirror_y else 1)) % 2
    x0, x1 = dx % 2, (dx + (-1 if mirror_x else 1)) % 2
    return (2 * y0 + x0, 2 * y0 + x1, 2 * y1 + x0, 2 * y1 + x1)


def moved(cfa: CfaPattern, order: tuple[int, int, int, int]) -> CfaPattern:
    """The pattern after its sites were reordered.

    >>> moved("RGGB", site_order(1, 0))
    'GBRG'
    """
    return check_cfa("".join(cfa[i] for i in order))


def moved_cells(
    cfa: CfaPattern, cell: Cell, at: tuple[int, int], mirrored: tuple[bool, bool] = (False, False)
) -> tuple[CfaPattern, Cell]:
    """The pattern of filters and their cell where a picture begins at `at`; `mirrored` as in `site_order`.

    >>> moved_cells("RGGB", Cell(2), (0, 3))
    ('GRBG', Cell(size=2, y=0, x=1))
    """
    places = [divmod(start + cut, cell.size) for start, cut in zip(at, (cell.y, cell.x), strict=True)]
    y, x = (cell.size - 1 - rest if back else rest for (_, rest), back in zip(places, mirrored, strict=True))
    order = site_order(places[0][0], places[1][0], *mirrored)
    return moved(cfa, order), Cell(cell.size, y, x)
