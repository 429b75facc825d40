"""OpcodeList parsing: hand-packed lists, order, sizes, any bytes at all, and the GoPro's own list."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ispkit.core import opcodes as op
from ispkit.core.errors import FileError
from ispkit.io.dng_opcodes import parse_opcodes, to_active_area
from tiny_dng import opcode_list, region

AREA = (2, 3, 40, 60)
GRID = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
DISTORTION, FISHEYE, VIGNETTE = (0.5, 1.5, 2.5, 3.5, 4.5, 5.5), (1.0, 0.25, 0.5, 0.75), (1.0, 2.0, 3.0, 4.0, 5.0)
KNOWN = [
    (1, struct.pack(">I8d", 1, *DISTORTION, 0.5, 0.25), op.WarpRectilinear(2, (DISTORTION,), (0.5, 0.25))),
    (2, struct.pack(">I6d", 1, *FISHEYE, 0.5, 0.25), op.WarpFisheye(2, (FISHEYE,), (0.5, 0.25))),
    (3, struct.pack(">7d", *VIGNETTE, 0.5, 0.25), op.VignetteRadial(2, VIGNETTE, (0.5, 0.25))),
    (4, struct.pack(">II", 4095, 2), op.BadPixelsConstant(2, 4095, 2)),
    (5, struct.pack(">3I", 1, 2, 1) + struct.pack(">8I", 1, 2, 3, 4, 5, 6, 7, 8),
     op.BadPixelsList(2, 1, ((1, 2), (3, 4)), ((5, 6, 7, 8),))),
    (6, struct.pack(">4I", *AREA), op.TrimBounds(2, AREA)),
    (7, region(AREA) + struct.pack(">I3H", 3, 0, 5, 9),
     op.MapValues(2, "table", AREA, 0, 1, 1, 1, (0.0, 5.0, 9.0))),
    (8, region(AREA) + struct.pack(">I3d", 2, 0.0, 1.0, -0.5),
     op.MapValues(2, "polynomial", AREA, 0, 1, 1, 1, (0.0, 1.0, -0.5))),
    (9, region(AREA, row_pitch=2, col_pitch=2) + struct.pack(">II4dI", 2, 3, 1.0, 0.5, 0.0, 0.25, 2)
     + GRID.astype(">f4").tobytes(),
     op.GainMap(2, AREA, 0, 1, 2, 2, 1.0, 0.5, 0.0, 0.25, tuple(tuple(map(tuple, row)) for row in GRID.tolist()))),
    (10, region(AREA) + struct.pack(">I2f", 2, 0.5, 1.5),
     op.LineValues(2, "row", "delta", AREA, 0, 1, 1, 1, (0.5, 1.5))),
    (11, region(AREA) + struct.pack(">I1f", 1, 0.5), op.LineValues(2, "column", "delta", AREA, 0, 1, 1, 1, (0.5,))),
    (12, region(AREA) + struct.pack(">I1f", 1, 0.5), op.LineValues(2, "row", "scale", AREA, 0, 1, 1, 1, (0.5,))),
    (13, region(AREA) + struct.pack(">I1f", 1, 0.5), op.LineValues(2, "column", "scale", AREA, 0, 1, 1, 1, (0.5,))),
    (14, b"later version", op.UnknownOpcode(2, 14, True)),
]  # fmt: skip


def test_every_known_opcode_comes_back_as_packed_and_in_order():
    for shuffled in (KNOWN, KNOWN[::-1]):
        packed = opcode_list(*((code, block) for code, block, _ in shuffled))
        assert list(parse_opcodes(packed, 2)) == [expected for *_, expected in shuffled]


def test_the_optional_flag_of_an_unknown_opcode_is_kept():
    parsed = parse_opcodes(opcode_list((99, b"", 0), (99, b"", 3)), 3)
    assert parsed == (op.UnknownOpcode(3, 99, False), op.UnknownOpcode(3, 99, True))


@pytest.mark.parametrize(("code", "block", "_"), KNOWN[:-1], ids=[str(k[0]) for k in KNOWN[:-1]])
def test_a_wrong_length_is_refused(code, block, _):
    for wrong in (block[:-1], block + b"\0", b"", block[: len(block) // 2]):
        with pytest.raises(FileError, match="damaged"):
            parse_opcodes(opcode_list((code, wrong)), 2)


def test_an_absurd_count_costs_nothing():
    bad_list = struct.pack(">3I", 1, 0xFFFFFFFF, 0xFFFFFFFF)
    gain_map = region(AREA) + struct.pack(">II4dI", 0xFFFF, 0xFFFF, 1, 1, 0, 0, 0xFFFF)
    for packed in (b"\xff\xff\xff\xff", opcode_list((5, bad_list)), opcode_list((9, gain_map))):
        with pytest.raises(FileError):
            parse_opcodes(packed, 1)


@given(st.binary(max_size=200), st.integers(1, 14))
def test_any_bytes_give_opcodes_or_a_file_error(block, code):
    for data in (block, opcode_list((code, block))):
        try:
            parsed = parse_opcodes(data, 1)
        except FileError:
            continue
        assert all(isinstance(o, op.Opcode) and o.stage == 1 for o in parsed)


def test_the_first_list_moves_with_the_active_area():
    listed = op.BadPixelsList(1, 0, ((0, 0), (4, 7), (39, 59)), ((0, 0, 5, 8), (0, 0, 2, 2)))
    lines = op.LineValues(1, "row", "delta", (0, 0, 40, 60), 0, 1, 2, 1, tuple(map(float, range(20))))
    grid = op.GainMap(1, (0, 0, 40, 60), 0, 1, 1, 1, 1.0, 1.0, 0.0, 0.0, (((1.0,), (2.0,)),))
    moved = to_active_area((listed, lines, grid), (3, 5, 39, 59), (40, 60))
    assert moved[0] == op.BadPixelsList(1, 3, ((1, 2),), ((0, 0, 2, 3),))
    assert moved[1].area == (1, 0, 36, 54)
    assert moved[1].values[0] == 2.0  # stored row 4, the first of the pitch inside
    # the last stored row stood at 1.0 of the map: where is it seen from the active area?
    assert moved[2].origin_v == pytest.approx(-3 / 36)
    assert moved[2].origin_h + moved[2].spacing_h == pytest.approx((60 - 5) / 54)


@given(st.integers(0, 3), st.integers(0, 7), st.integers(0, 7))
def test_the_bayer_phase_of_defects_moves_as_the_pattern_does(phase, top, left):
    names = ("RGGB", "GRBG", "GBRG", "BGGR")
    (moved,) = to_active_area((op.BadPixelsConstant(1, 0, phase),), (top, left, 20, 20), (20, 20))
    tile = np.array(list(names[phase])).reshape(2, 2)
    assert names[moved.phase] == "".join(np.roll(tile, (-top, -left), (0, 1)).ravel())


def test_the_gain_maps_of_the_gopro(shared):
    from tifffile import TiffFile

    with TiffFile(shared / "raw_gopro_hero7" / "gopro_hero7_GOPR9231.dng") as file:
        block = file.pages[0].tags[51009].value
    maps = parse_opcodes(block, 2)
    assert [m.area[:2] for m in maps] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert {(m.row_pitch, m.col_pitch, len(m.gains), len(m.gains[0])) for m in maps} == {(2, 2, 23, 22)}
    last = np.frombuffer(block, ">f4", offset=len(block) - 4)[0]
    assert maps[3].gains[-1][-1] == (last,)
    center = np.array(maps[0].gains)[11, 11, 0]
    assert center < 1.1 < np.array(maps[0].gains)[0, 0, 0]
