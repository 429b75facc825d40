"""What the tags of a DNG say about its RAW picture, with the meaning the specification gives them.

Source: Adobe, Digital Negative Specification 1.7.1 (chapters 2, 4, 6, 7); EXIF 2.32, LightSource.
Of a third calibration illuminant (DNG 1.6) nothing is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ispkit.core.cfa import CfaPattern, is_cfa
from ispkit.core.errors import FileError
from ispkit.core.opcodes import Area, Opcode
from ispkit.io.dng_opcodes import parse_opcodes, to_active_area
from ispkit.io.tiff_tree import Directory, TiffTree
from ispkit.ops.camera_color import xy_to_neutral

CFA, LINEAR_RAW = 32803, 34892
_NAMES = {
    "BlackLevel": 50714,
    "BlackLevelDeltaH": 50715,
    "BlackLevelDeltaV": 50716,
    "WhiteLevel": 50717,
    "DefaultCropOrigin": 50719,
    "DefaultCropSize": 50720,
    "ColorMatrix1": 50721,
    "ColorMatrix2": 50722,
    "CameraCalibration1": 50723,
    "CameraCalibration2": 50724,
    "AnalogBalance": 50727,
    "AsShotNeutral": 50728,
    "AsShotWhiteXY": 50729,
    "BaselineExposure": 50730,
    "ActiveArea": 50829,
    "ForwardMatrix1": 50964,
    "ForwardMatrix2": 50965,
    "NoiseProfile": 51041,
}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES = 256, 257, 258, 259, 262, 277
_SUB_FILE_TYPE, _ORIENTATION, _SAMPLE_FORMAT = 254, 274, 339
_CFA_DIM, _CFA_PATTERN, _LINEARIZATION, _BLACK_REPEAT = 33421, 33422, 50712, 50713
_ILLUMINANTS = (50778, 50779)
_SIGNATURES = (50931, 50932)  # of CameraCalibration, and of the profile that may use it
_OPCODE_LISTS = (51008, 51009, 51022)
_CFA_PLANE_COLOR, _CFA_LAYOUT = 50710, 50711

# EXIF LightSource -> CCT in kelvin: CIE's figure for a standard illuminant, the middle of a fluorescent lamp's
# range (EXIF 2.32), what the DNG SDK takes for the rest.
LIGHT_SOURCE_CCT = {
    1: 5503.0, 2: 4150.0, 3: 2850.0, 4: 5500.0, 9: 5503.0, 10: 6504.0, 11: 7504.0, 12: 6400.0, 13: 5050.0,
    14: 4150.0, 15: 3525.0, 16: 2925.0, 17: 2856.0, 18: 4874.0, 19: 6774.0, 20: 5503.0, 21: 6504.0,
    22: 7504.0, 23: 5003.0, 24: 3200.0,
}  # fmt: skip
_UNKNOWN_CCT = 5000.0


@dataclass(frozen=True)
class DngColor:
    """Color facts as `CameraMeta.make` takes them: one or two matrices, illuminants rising in CCT."""

    color_matrices: tuple[NDArray[np.float64], ...]
    forward_matrices: tuple[NDArray[np.float64], ...]
    illuminant_cct_k: tuple[float, ...]
    neutral: tuple[float, ...] | None


class DngTags:
    """The tags of the RAW picture of a DNG: read from its own directory, else from the first one."""

    def __init__(self, tree: TiffTree, stored: tuple[int, int] | None = None) -> None:
        self.tree = tree
        self.raw = choose_raw(tree, stored)

    def numbers(self, name: str) -> list[float]:
        """The values of a tag; empty if absent. Raises `FileError` if one is no finite number."""
        code = _NAMES[name]
        values = self._home(code).numbers(code).tolist()
        if not all(map(math.isfinite, values)):
            raise FileError(f"{name} holds {values}, which are no finite numbers: damaged")
        return [float(v) for v in values]

    def _home(self, code: int) -> Directory:
        return self.raw if code in self.raw else self.tree.main

    @property
    def size(self) -> tuple[int, int]:
        """Stored height and width, before the active area is cut out."""
        return self.raw.integer(_HEIGHT), self.raw.integer(_WIDTH)

    @property
    def bits(self) -> int:
        """Bits of a stored sample."""
        return self.raw.integer(_BITS, 1)

    @property
    def samples(self) -> int:
        """Samples of a pixel: 1 for a mosaic."""
        return self.raw.integer(_SAMPLES, 1)

    @property
    def compression(self) -> int:
        """TIFF compression code: 1 none, 7 JPEG, 8 deflate, 34892 lossy JPEG, 52546 JPEG XL."""
        return self.raw.integer(_COMPRESSION, 1)

    @property
    def is_float(self) -> bool:
        """Whether samples are floating point (LibRaw turns them into integers by its own scale)."""
        return self.raw.integer(_SAMPLE_FORMAT, 1) == 3

    @property
    def is_mosaic(self) -> bool:
        """Whether the picture is a color filter array."""
        return self.raw.integer(_PHOTOMETRIC) == CFA

    @property
    def has_linearization_table(self) -> bool:
        """Whether stored values go through a table; levels speak of values after it."""
        return _LINEARIZATION in self.raw

    @property
    def orientation(self) -> int:
        """EXIF orientation 1..8; 1 where the file holds nonsense."""
        value = self.tree.main.integer(_ORIENTATION, self.raw.integer(_ORIENTATION, 1))
        return value if 1 <= value <= 8 else 1

    @property
    def active_area(self) -> Area:
        """`(top, left, bottom, right)` in stored pixels. Raises `FileError` if it leaves the picture."""
        height, width = self.size
        values = [int(v) for v in self.numbers("ActiveArea")] or [0, 0, height, width]
        if len(values) != 4 or not (0 <= values[0] < values[2] <= height and 0 <= values[1] < values[3] <= width):
            raise FileError(f"ActiveArea {values} does not lie in the {height}x{width} picture: damaged")
        return values[0], values[1], values[2], values[3]

    @property
    def default_crop(self) -> Area | None:
        """DefaultCrop as `(top, left, bottom, right)` of the active area, rounded; None if absent or nonsense."""
        origin, extent = self.numbers("DefaultCropOrigin") or [0.0, 0.0], self.numbers("DefaultCropSize")
        top, left, bottom, right = self.active_area
        if len(origin) != 2 or len(extent) != 2:
            return None
        x, y, w, h = (round(v) for v in (*origin, *extent))
        inside = 0 <= y < y + h <= bottom - top and 0 <= x < x + w <= right - left
        return (y, x, y + h, x + w) if inside else None

    @property
    def cfa(self) -> CfaPattern | None:
        """The 2x2 pattern at the *active area's* top-left; None if the file names none.

        Raises `FileError` for a pattern that is not Bayer (X-Trans has its own door).
        """
        rows, columns = self.cfa_shape
        pattern = self.raw.blob(_CFA_PATTERN)
        if not pattern:
            return None
        letters = np.array(["RGB"[b] if b < 3 else "?" for b in pattern])
        if rows * columns != len(letters):
            raise FileError(f"CFAPattern has {len(letters)} entries for {rows}x{columns} sites: damaged")
        grid = letters.reshape(rows, columns)
        tile = grid[np.ix_(np.arange(2) % rows, np.arange(2) % columns)]
        word = "".join(tile.ravel())
        repeated = np.tile(tile, ((rows + 1) // 2, (columns + 1) // 2))[:rows, :columns]
        if not is_cfa(word) or not (repeated == grid).all():
            raise FileError(f"its {rows}x{columns} color filter array {'/'.join(map(''.join, grid))} is not Bayer")
        return word

    @property
    def cfa_shape(self) -> tuple[int, int]:
        """Rows and columns after which the color filter array repeats."""
        shape = self.raw.integers(_CFA_DIM)
        return (shape[0], shape[1]) if len(shape) == 2 and min(shape) > 0 else (2, 2)

    def check_layout(self) -> None:
        """Raise `FileError` for a CFALayout (staggered rows or columns) that no 2x2 pattern describes."""
        layout = self.raw.integer(_CFA_LAYOUT, 1)
        if self.is_mosaic and layout != 1:
            raise FileError(f"its color filter array has layout {layout} (staggered), only rectangular ones can enter")

    def check_extent(self) -> None:
        """Raise `FileError` if the pixels reach past the end of the file, or the active area past the picture."""
        _ = self.active_area
        total = len(self.raw.data)
        for offsets, counts in ((273, 279), (324, 325)):
            starts, sizes = self.raw.integers(offsets), self.raw.integers(counts)
            if not starts or len(starts) != len(sizes):
                continue
            end = max(map(sum, zip(starts, sizes, strict=True)))
            if end > total:
                raise FileError(f"its pixels should end at byte {end}, the file at {total}: truncated or damaged")

    def black_map(self) -> NDArray[np.float64]:
        """Black level per plane over the smallest block that repeats: (rows, columns, planes), rows/columns >= 1.

        Without the per-row and per-column deltas, see `black_deltas`.
        """
        shape = self.raw.integers(_BLACK_REPEAT) or [1, 1]
        values = self.numbers("BlackLevel")
        if not values:
            return np.zeros((1, 1, self.samples))
        if len(shape) != 2 or min(shape) < 1 or len(values) != shape[0] * shape[1] * self.samples:
            raise FileError(f"BlackLevel has {len(values)} values for {shape} sites and {self.samples} planes: damaged")
        return np.array(values).reshape(shape[0], shape[1], self.samples)

    def black_deltas(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """BlackLevelDeltaV per row and BlackLevelDeltaH per column of the active area; zeros if absent."""
        top, left, bottom, right = self.active_area
        return self._delta("BlackLevelDeltaV", bottom - top), self._delta("BlackLevelDeltaH", right - left)

    def _delta(self, name: str, count: int) -> NDArray[np.float64]:
        values = self.numbers(name)
        if values and len(values) != count:
            raise FileError(f"{name} has {len(values)} values for {count} lines of the active area: damaged")
        return np.array(values) if values else np.zeros(count)

    def white_level(self) -> list[float]:
        """White level per plane; the largest stored number where the file names none."""
        top = 1.0 if self.is_float else float(2 ** min(self.bits, 32) - 1)
        values = self.numbers("WhiteLevel") or [top]
        if len(values) not in (1, self.samples):
            raise FileError(f"WhiteLevel has {len(values)} values for {self.samples} planes: damaged")
        return values if len(values) == self.samples else values * self.samples

    def noise_profile(self) -> list[tuple[float, float]]:
        """One `(S, O)`, or one per R, G, B; empty if absent or for planes that are not R, G, B."""
        values = self.numbers("NoiseProfile")
        pairs = list(zip(values[0::2], values[1::2], strict=False))
        order = list(self._home(_CFA_PLANE_COLOR).blob(_CFA_PLANE_COLOR)) or [0, 1, 2]
        if len(pairs) == 3 and sorted(order) == [0, 1, 2]:
            pairs = [pairs[order.index(color)] for color in range(3)]
        return pairs if len(pairs) in (1, 3) and all(s >= 0 for s, _ in pairs) else []

    def opcodes(self) -> tuple[Opcode, ...]:
        """OpcodeList1, 2, 3 in this order, in coordinates of the active area."""
        lists = [parse_opcodes(self._home(code).blob(code), stage) for stage, code in enumerate(_OPCODE_LISTS, 1)]
        return to_active_area(lists[0], self.active_area, self.size) + lists[1] + lists[2]

    def color(self) -> DngColor | None:
        """Matrices (AnalogBalance and CameraCalibration folded in), illuminants, neutral; None without a matrix."""
        matrices = [self._matrix(f"ColorMatrix{i}") for i in (1, 2)]
        if matrices[0] is None:
            return None
        gains = [self._device(i) for i in (1, 2)]
        pairs = [(cct, i) for cct, i in self._illuminants(matrices[1] is not None)]
        colors = tuple(gains[i] @ m for _, i in pairs if (m := matrices[i]) is not None)
        cct = tuple(c for c, _ in pairs)
        neutral = self._neutral(colors, cct)
        forward = [(self._matrix(f"ForwardMatrix{i + 1}"), gains[i]) for _, i in pairs]
        folded = tuple(_fold(f, device, neutral) for f, device in forward if f is not None)
        return DngColor(colors, folded, cct, neutral)

    def _illuminants(self, two: bool) -> list[tuple[float, int]]:
        """(CCT, index) of the matrices to use, rising; one at 5000 K where the two cannot be told apart."""
        cct = [LIGHT_SOURCE_CCT.get(self.tree.main.integer(code), 0.0) for code in _ILLUMINANTS]
        if two and cct[0] and cct[1] and cct[0] != cct[1]:
            return sorted(zip(cct, (0, 1), strict=True))
        return [(cct[0] or _UNKNOWN_CCT, 0)]

    def _device(self, index: int) -> NDArray[np.float64]:
        """AnalogBalance x CameraCalibration (the latter only where the profile carries its signature)."""
        balance = self.numbers("AnalogBalance")
        device = np.diag(balance) if len(balance) == 3 else np.eye(3)
        calibration = self._matrix(f"CameraCalibration{index}")
        signatures = {self.tree.main.text(code) for code in _SIGNATURES}
        return device if calibration is None or len(signatures) > 1 else device @ calibration

    def _matrix(self, name: str) -> NDArray[np.float64] | None:
        """A 3x3 tag; None if it is absent or all zero. Raises `FileError` if it cannot be inverted."""
        values = self.numbers(name)
        if not values or not any(values):
            return None
        if len(values) != 9:
            raise FileError(f"{name} has {len(values)} values; only cameras of three colors (9 values) can enter")
        matrix = np.array(values).reshape(3, 3)
        if not np.linalg.cond(matrix) < 1e6:
            raise FileError(f"{name} {values} cannot be inverted: damaged")
        return matrix

    def _neutral(self, colors: Sequence[Any], cct: Sequence[float]) -> tuple[float, ...] | None:
        values = self.numbers("AsShotNeutral")
        xy = self.numbers("AsShotWhiteXY")
        if not values and len(xy) == 2 and min(xy) > 0:
            white = torch.tensor([xy], dtype=torch.float64)
            pair = torch.tensor(np.array([[colors[0], colors[-1]]]))
            values = xy_to_neutral(white, pair, torch.tensor([[cct[0], cct[-1]]], dtype=torch.float64))[0].tolist()
        if not values:
            return None
        if len(values) != 3 or min(values) <= 0:
            raise FileError(f"AsShotNeutral {values} must be three numbers above 0: damaged")
        return tuple(values)


def _fold(
    forward: NDArray[np.float64], device: NDArray[np.float64], neutral: tuple[float, ...] | None
) -> NDArray[np.float64]:
    """FM D (AB CC)^-1 diag(neutral): the forward matrix that takes RGB balanced by the neutral itself.

    Equals the tag wherever AB CC is diagonal; else it is exact for the as-shot neutral (DNG chapter 6).
    """
    if np.count_nonzero(device - np.diag(np.diag(device))) == 0 or neutral is None:
        return forward
    inverse, white = np.linalg.inv(device), np.array(neutral)
    return forward @ np.diag(1 / (inverse @ white)) @ inverse @ np.diag(white)


def choose_raw(tree: TiffTree, stored: tuple[int, int] | None = None) -> Directory:
    """The directory of the main RAW picture: a CFA or LinearRaw one, largest first, `stored` size preferred.

    Raises `FileError` if there is none.
    """
    found = [d for d in tree.directories if d.integer(_PHOTOMETRIC) in (CFA, LINEAR_RAW)]
    if not found:
        raise FileError("it is a DNG without a RAW picture (no directory of CFA or LinearRaw pixels)")
    return max(found, key=lambda d: _rank(d, stored))


def _rank(directory: Directory, stored: tuple[int, int] | None) -> tuple[bool, bool, bool, int]:
    size = (directory.integer(_HEIGHT), directory.integer(_WIDTH))
    main = directory.integer(_SUB_FILE_TYPE) == 0
    return size == stored, main, directory.integer(_PHOTOMETRIC) == CFA, size[0] * size[1]
