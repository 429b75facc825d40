"""The dataclasses of `core.opcodes` as bytes of a DNG's OpcodeList1-3 (big-endian whatever the file is).

Source: Adobe, Digital Negative Specification 1.7.1, chapter 7.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from ispkit.core.errors import FileError
from ispkit.core.opcodes import (
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

_VERSION = 0x01030000  # the DNG version that brought the opcodes
_OPTIONAL = 1
_LINE_CODES = {("row", "delta"): 10, ("column", "delta"): 11, ("row", "scale"): 12, ("column", "scale"): 13}


def encode_opcodes(opcodes: Sequence[Opcode], stage: int) -> bytes:
    """The list of one `stage` (1, 2 or 3), in order; empty bytes if it has none. Raises `FileError`.

    An unknown opcode has no contents to be written: left out where it is optional, refused else.
    """
    chosen = [op for op in opcodes if op.stage == stage and not (isinstance(op, UnknownOpcode) and op.optional)]
    if not chosen:
        return b""
    return struct.pack(">I", len(chosen)) + b"".join(map(_encode_one, chosen))


def _encode_one(op: Opcode) -> bytes:
    encoder = _ENCODERS.get(type(op))
    if encoder is None:
        number = f" {op.code}" if isinstance(op, UnknownOpcode) else ""
        raise FileError(f"opcode{number} ({type(op).__name__}) cannot be written; leave it out or set opcodes=False")
    code, content = encoder(op)
    # a reader that does not know an opcode may skip corrections of the lens, but not what the samples mean
    flags = _OPTIONAL if code in (1, 2, 3) else 0
    return struct.pack(">IIII", code, _VERSION, flags, len(content)) + content


def _warp(op: WarpRectilinear | WarpFisheye) -> tuple[int, bytes]:
    code = 1 if isinstance(op, WarpRectilinear) else 2
    flat = [c for plane in op.planes for c in plane]
    return code, struct.pack(f">I{len(flat) + 2}d", len(op.planes), *flat, *op.center)


def _vignette(op: VignetteRadial) -> tuple[int, bytes]:
    return 3, struct.pack(">7d", *op.k, *op.center)


def _bad_constant(op: BadPixelsConstant) -> tuple[int, bytes]:
    return 4, struct.pack(">II", op.value, op.phase)


def _bad_list(op: BadPixelsList) -> tuple[int, bytes]:
    flat = [n for item in (*op.points, *op.rectangles) for n in item]
    return 5, struct.pack(f">{3 + len(flat)}I", op.phase, len(op.points), len(op.rectangles), *flat)


def _trim(op: TrimBounds) -> tuple[int, bytes]:
    return 6, struct.pack(">4I", *op.area)


def _map_values(op: MapValues) -> tuple[int, bytes]:
    values = op.coefficients
    if op.kind == "table":
        return 7, _region(op) + struct.pack(f">I{len(values)}H", len(values), *map(round, values))
    return 8, _region(op) + struct.pack(f">I{len(values)}d", len(values) - 1, *values)


def _gain_map(op: GainMap) -> tuple[int, bytes]:
    rows, columns, depth = len(op.gains), len(op.gains[0]), len(op.gains[0][0])
    flat = [gain for row in op.gains for point in row for gain in point]
    place = struct.pack(">II4d", rows, columns, op.spacing_v, op.spacing_h, op.origin_v, op.origin_h)
    return 9, _region(op) + place + struct.pack(f">I{len(flat)}f", depth, *flat)


def _lines(op: LineValues) -> tuple[int, bytes]:
    code = _LINE_CODES.get((op.axis, op.action))
    if code is None:
        raise FileError(f"LineValues of axis {op.axis!r} and action {op.action!r}; known: row, column; delta, scale")
    return code, _region(op) + struct.pack(f">I{len(op.values)}f", len(op.values), *op.values)


def _region(op: MapValues | GainMap | LineValues) -> bytes:
    return struct.pack(">8I", *op.area, op.plane, op.planes, op.row_pitch, op.col_pitch)


_ENCODERS: dict[type[Opcode], Callable[[Any], tuple[int, bytes]]] = {
    WarpRectilinear: _warp,
    WarpFisheye: _warp,
    VignetteRadial: _vignette,
    BadPixelsConstant: _bad_constant,
    BadPixelsList: _bad_list,
    TrimBounds: _trim,
    MapValues: _map_values,
    GainMap: _gain_map,
    LineValues: _lines,
}
