"""OpcodeList1-3 of a DNG: from bytes to the dataclasses of `core.opcodes`, in file order.

Source: Adobe, Digital Negative Specification 1.7.1, chapter 7. Opcode lists are big-endian whatever
the file's byte order is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ispkit.core.errors import FileError
from ispkit.core.opcodes import (
    Area,
    BadPixelsConstant,
    BadPixelsList,
    GainMap,
    LineValues,
    MapValues,
    Opcode,
    TrimBounds,
    UnknownOpcode,
    VignetteRadial,
    WarpFisheye,
    WarpRectilinear,
)


class _Reader:
    """Takes big-endian numbers off the front of a block; a block that is too short raises `struct.error`."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, letter: str, count: int = 1) -> tuple[Any, ...]:
        size = struct.calcsize(f">{letter}") * count
        if self.at + size > len(self.data):
            raise struct.error("block too short")
        values = struct.unpack_from(f">{count}{letter}", self.data, self.at)
        self.at += size
        return values

    def number(self, letter: str = "I") -> Any:
        return self.take(letter)[0]

    def area(self) -> Area:
        top, left, bottom, right = self.take("I", 4)
        return top, left, bottom, right

    def region(self) -> dict[str, Any]:
        """The eight integers with which the per-area opcodes begin."""
        area = self.area()
        plane, planes, row_pitch, col_pitch = self.take("I", 4)
        if not row_pitch or not col_pitch:
            raise ValueError("a pitch of 0")
        return {"area": area, "plane": plane, "planes": planes, "row_pitch": row_pitch, "col_pitch": col_pitch}


def parse_opcodes(data: bytes, stage: int) -> tuple[Opcode, ...]:
    """The opcodes of one list, in order; `stage` 1, 2 or 3 says which list `data` is.

    Opcodes of unknown number come as `UnknownOpcode`. Raises `FileError` if a length or count does not fit.

    >>> parse_opcodes(bytes(4), 2)
    ()
    """
    if not data:
        return ()
    place = f"OpcodeList{stage}"
    if len(data) < 4:
        raise FileError(f"{place} has {len(data)} bytes, its count alone takes 4: damaged")
    (count,) = struct.unpack_from(">I", data)
    if 16 * count > len(data) - 4:
        raise FileError(f"{place} claims {count} opcodes in {len(data)} bytes: damaged")
    found, at = [], 4
    for index in range(count):
        if at + 16 > len(data):
            raise FileError(f"{place}[{index}] begins past the end of its list: damaged")
        code, _, flags, size = struct.unpack_from(">IIII", data, at)
        if at + 16 + size > len(data):
            raise FileError(f"{place}[{index}] claims {size} bytes, {len(data) - at - 16} are left: damaged")
        block = data[at + 16 : at + 16 + size]
        found.append(_parse_one(code, bool(flags & 1), block, stage, f"{place}[{index}]"))
        at += 16 + size
    return tuple(found)


def _parse_one(code: int, optional: bool, block: bytes, stage: int, place: str) -> Opcode:
    parser = _PARSERS.get(code)
    if parser is None:
        return UnknownOpcode(stage, code=code, optional=optional)
    reader = _Reader(block)
    try:
        opcode = parser(reader, stage)
    except (struct.error, ValueError) as error:
        raise FileError(f"{place} (opcode {code}) does not hold what its kind needs ({error}): damaged") from None
    if reader.at != len(block):
        raise FileError(f"{place} (opcode {code}) has {len(block)} bytes, its contents take {reader.at}: damaged")
    return opcode


def _warp_rectilinear(r: _Reader, stage: int) -> Opcode:
    planes = tuple(r.take("d", 6) for _ in range(_plane_count(r)))
    return WarpRectilinear(stage, planes=planes, center=r.take("d", 2))


def _warp_fisheye(r: _Reader, stage: int) -> Opcode:
    planes = tuple(r.take("d", 4) for _ in range(_plane_count(r)))
    return WarpFisheye(stage, planes=planes, center=r.take("d", 2))


def _plane_count(r: _Reader) -> int:
    count = int(r.number())
    if not 1 <= count <= 4:
        raise ValueError(f"{count} planes")
    return count


def _vignette(r: _Reader, stage: int) -> Opcode:
    return VignetteRadial(stage, k=r.take("d", 5), center=r.take("d", 2))


def _bad_constant(r: _Reader, stage: int) -> Opcode:
    return BadPixelsConstant(stage, value=r.number(), phase=r.number())


def _bad_list(r: _Reader, stage: int) -> Opcode:
    phase, points, rectangles = r.take("I", 3)
    flat, corners = r.take("I", 2 * points), r.take("I", 4 * rectangles)
    return BadPixelsList(
        stage,
        phase=phase,
        points=tuple(zip(flat[0::2], flat[1::2], strict=True)),
        rectangles=tuple(zip(*(corners[i::4] for i in range(4)), strict=True)),
    )


def _trim(r: _Reader, stage: int) -> Opcode:
    return TrimBounds(stage, area=r.area())


def _table(r: _Reader, stage: int) -> Opcode:
    region = r.region()
    values = r.take("H", r.number())
    return MapValues(stage, kind="table", coefficients=tuple(map(float, values)), **region)


def _polynomial(r: _Reader, stage: int) -> Opcode:
    region = r.region()
    return MapValues(stage, kind="polynomial", coefficients=r.take("d", r.number() + 1), **region)


def _gain_map(r: _Reader, stage: int) -> Opcode:
    region = r.region()
    rows, columns = r.take("I", 2)
    spacing_v, spacing_h, origin_v, origin_h = r.take("d", 4)
    depth = r.number()
    if not rows or not columns or not depth:
        raise ValueError(f"a gain map of {rows}x{columns}x{depth}")
    grid = np.array(r.take("f", rows * columns * depth)).reshape(rows, columns, depth)
    gains = tuple(tuple(tuple(point) for point in row) for row in grid.tolist())
    where = {"spacing_v": spacing_v, "spacing_h": spacing_h, "origin_v": origin_v, "origin_h": origin_h}
    return GainMap(stage, gains=gains, **where, **region)


def _lines(axis: str, action: str) -> Callable[[_Reader, int], Opcode]:
    def parse(r: _Reader, stage: int) -> Opcode:
        region = r.region()
        return LineValues(stage, axis=axis, action=action, values=r.take("f", r.number()), **region)

    return parse


_PARSERS: dict[int, Callable[[_Reader, int], Opcode]] = {
    1: _warp_rectilinear,
    2: _warp_fisheye,
    3: _vignette,
    4: _bad_constant,
    5: _bad_list,
    6: _trim,
    7: _table,
    8: _polynomial,
    9: _gain_map,
    10: _lines("row", "delta"),
    11: _lines("column", "delta"),
    12: _lines("row", "scale"),
    13: _lines("column", "scale"),
}


def to_active_area(opcodes: Sequence[Opcode], active: Area, stored: tuple[int, int]) -> tuple[Opcode, ...]:
    """OpcodeList1 moved from the stored picture (`stored` = height, width) to its `active` area.

    The first list counts from the stored top-left pixel, the toolkit from the active area's. Points and
    areas outside are dropped.
    """
    moved = [_move(op, active, stored) for op in opcodes]
    return tuple(op for op in moved if op is not None)


def _move(op: Opcode, active: Area, stored: tuple[int, int]) -> Opcode | None:
    top, left, bottom, right = active
    height, width = bottom - top, right - left
    if isinstance(op, BadPixelsConstant):
        return replace(op, phase=_phase(op.phase, top, left))
    if isinstance(op, BadPixelsList):
        shifted = ((y - top, x - left) for y, x in op.points)
        points = tuple((y, x) for y, x in shifted if 0 <= y < height and 0 <= x < width)
        areas = (_clip(a, active) for a in op.rectangles)
        rectangles = tuple(a for a in areas if a is not None)
        return replace(op, phase=_phase(op.phase, top, left), points=points, rectangles=rectangles)
    if isinstance(op, TrimBounds):
        area = _clip(op.area, active)
        return None if area is None else replace(op, area=area)
    if isinstance(op, MapValues | LineValues | GainMap):
        return _move_region(op, active, stored)
    return op


def _move_region(op: MapValues | LineValues | GainMap, active: Area, stored: tuple[int, int]) -> Opcode | None:
    area = _clip(op.area, active, (op.row_pitch, op.col_pitch))
    if area is None:
        return None
    if isinstance(op, LineValues):
        row = op.axis == "row"
        skipped = (area[0] + active[0] - op.area[0]) if row else (area[1] + active[1] - op.area[1])
        return replace(op, area=area, values=op.values[skipped // (op.row_pitch if row else op.col_pitch) :])
    if isinstance(op, GainMap):
        scale_v, scale_h = stored[0] / (active[2] - active[0]), stored[1] / (active[3] - active[1])
        return replace(
            op,
            area=area,
            origin_v=op.origin_v * scale_v - active[0] / (active[2] - active[0]),
            origin_h=op.origin_h * scale_h - active[1] / (active[3] - active[1]),
            spacing_v=op.spacing_v * scale_v,
            spacing_h=op.spacing_h * scale_h,
        )
    return replace(op, area=area)


def _clip(area: Area, active: Area, pitch: tuple[int, int] = (1, 1)) -> Area | None:
    """`area` in coordinates of `active`; its top-left stays on the grid of `pitch`. None if nothing is left."""
    y0, x0 = (_first(area[i] - active[i], pitch[i]) for i in range(2))
    y1, x1 = (min(area[i], active[i]) - active[i - 2] for i in (2, 3))
    return (y0, x0, y1, x1) if y0 < y1 and x0 < x1 else None


def _first(start: int, pitch: int) -> int:
    return start if start >= 0 else start % pitch


def _phase(phase: int, top: int, left: int) -> int:
    """BayerPhase (0 RGGB, 1 GRBG, 2 GBRG, 3 BGGR) seen from another top-left pixel."""
    return phase ^ (left & 1) ^ ((top & 1) << 1)
