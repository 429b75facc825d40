"""Small DNG files with any tags, for tests of the reader. Written with tifffile, not with the project's writer."""

from __future__ import annotations

import io
import struct

import numpy as np
import tifffile

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL, DOUBLE = 1, 2, 3, 4, 5, 7, 10, 12
CODES = {"RGGB": (0, 1, 1, 2), "BGGR": (2, 1, 1, 0), "GRBG": (1, 0, 2, 1), "GBRG": (1, 2, 0, 1)}
# XYZ D65 -> camera of a plausible sensor, and its cousin under illuminant A
D65_MATRIX = (0.69, -0.25, -0.05, -0.39, 1.20, 0.16, -0.09, 0.20, 0.58)
A_MATRIX = (0.95, -0.45, 0.03, -0.36, 1.32, 0.20, -0.05, 0.15, 0.73)


def rational(values, scale=10000):
    """Flat numerator, denominator pairs."""
    return tuple(n for v in values for n in (round(v * scale), scale))


def default_tags(cfa="RGGB"):
    return [
        (50706, BYTE, 4, bytes((1, 4, 0, 0)), True),
        (50708, ASCII, 0, "ispkit test camera", True),
        (33421, SHORT, 2, (2, 2), True),
        (33422, BYTE, 4, bytes(CODES[cfa]), True),
        (50721, SRATIONAL, 9, rational(D65_MATRIX), True),
        (50778, SHORT, 1, 21, True),
        (50728, RATIONAL, 3, rational((0.5, 1.0, 0.625)), True),
        (50714, SHORT, 1, 64, True),
        (50717, LONG, 1, 4095, True),
    ]


def scene(height=48, width=64, seed=0):
    """Twelve-bit samples in a 16-bit mosaic, none of them beyond the levels of `default_tags`."""
    return np.random.default_rng(seed).integers(64, 4095, (height, width), dtype=np.uint16)


def tiny_dng(samples=None, *tags, without=(), cfa="RGGB", **how) -> bytes:
    """A DNG of `samples`; `tags` replace the default ones of the same code, `without` drops codes."""
    samples = scene() if samples is None else samples
    replaced = {t[0] for t in tags} | set(without)
    extratags = [t for t in default_tags(cfa) if t[0] not in replaced] + list(tags)
    how = {"photometric": 32803} | how
    file = io.BytesIO()
    tifffile.imwrite(file, samples, metadata=None, software=False, extratags=extratags, **how)
    return file.getvalue()


def sub_ifd_dng(samples) -> bytes:
    """A DNG as Adobe lays it out: IFD0 is an RGB preview with the color tags, the RAW stands in a SubIFD."""
    raw_codes = {33421, 33422, 50714, 50717}
    tags = default_tags()
    preview = np.full((24, 32, 3), 128, np.uint8)
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as tiff:
        common = {"metadata": None, "software": False}
        colors = [t for t in tags if t[0] not in raw_codes]
        tiff.write(preview, photometric="rgb", subifds=1, subfiletype=1, extratags=colors, **common)
        raws = [t for t in tags if t[0] in raw_codes]
        tiff.write(samples, photometric=32803, subfiletype=0, extratags=raws, **common)
    return file.getvalue()


def opcode_list(*opcodes) -> bytes:
    """An opcode list from (code, parameter bytes) pairs or (code, bytes, flags)."""
    blocks = [struct.pack(">IIII", o[0], 0x01030000, o[2] if len(o) > 2 else 1, len(o[1])) + o[1] for o in opcodes]
    return struct.pack(">I", len(opcodes)) + b"".join(blocks)


def region(area, plane=0, planes=1, row_pitch=1, col_pitch=1) -> bytes:
    return struct.pack(">8I", *area, plane, planes, row_pitch, col_pitch)
