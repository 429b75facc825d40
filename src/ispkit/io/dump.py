"""Headerless dumps: bare samples whose layout a `Geometry` tells; nothing is ever guessed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ispkit.core.errors import FileError, ParamError
from ispkit.core.frame import Domain, Frame
from ispkit.io.binary import Source, name_of, read_bytes, size_of
from ispkit.io.geometry import SAMPLE_BITS, Facts, Geometry
from ispkit.io.packing import PACKINGS, Samples

__all__ = ["Facts", "Geometry", "read_dump", "read_samples"]

_CONTAINERS = {b"II*\0": "TIFF or DNG", b"MM\0*": "TIFF or DNG", b"\xff\xd8\xff": "JPEG", b"FUJI": "Fuji RAW"}
_MAX_ADVICE = 4
_MAX_SAMPLES = 1 << 28


def read_dump(source: Source, geometry: Geometry) -> Frame:
    """The dump as a `Frame(RAW)` of one picture, in stored DN. Raises `FileError` if the layout does not fit."""
    if geometry.cfa is None:
        raise ParamError(f"{name_of(source)}: the CFA pattern is not known; give cfa=RGGB, BGGR, GRBG or GBRG")
    samples = read_samples(source, geometry)
    meta = geometry.camera_meta(samples.shape, float(2**geometry.sample_bits - 1))
    return Frame(torch.from_numpy(samples.astype(np.float32))[None, None], Domain.RAW, meta)


def read_samples(source: Source, geometry: Geometry) -> Samples:
    """The samples (H, W) uint16 of a dump. Raises `FileError` where size or values contradict the geometry."""
    g, size = geometry, size_of(source)
    unpadded = g.file_size - (g.row_stride - g.row_bytes)
    if size not in (g.file_size, unpadded):
        raise FileError(f"{name_of(source)}: {_mismatch(read_bytes(source, 16), size, g)}")
    if g.width * g.height > _MAX_SAMPLES:
        raise FileError(f"{name_of(source)}: {g.width}x{g.height} samples are more than {_MAX_SAMPLES:,}; cut it first")
    data = read_bytes(source)
    rows = np.ndarray((g.height, g.row_bytes), np.uint8, data, g.offset, (g.row_stride, 1))
    samples = g.rule.rows(rows, g.width, g.sample_bits, g.byte_order == "big")
    return _significant(samples, g, name_of(source))


def _significant(samples: Samples, g: Geometry, name: str) -> Samples:
    """Samples moved to the low bits; bits that should be empty must be."""
    empty = 16 - g.sample_bits
    if g.packing != "unpacked" or empty == 0 or g.sample_bits == 8:
        return samples
    if g.align == "msb":
        wrong = int(np.count_nonzero(samples & (2**empty - 1)))
        if wrong:
            raise FileError(
                f"{name}: align='msb' with {g.bits} bits leaves the low {empty} bits empty, but {wrong} samples "
                f"use them; check bits, align and byte_order"
            )
        return np.right_shift(samples, np.uint16(empty))
    largest = int(samples.max())
    if largest >= 2**g.sample_bits:
        raise FileError(
            f"{name}: the largest sample is {largest}, but {g.bits} bits hold at most {2**g.sample_bits - 1}; "
            f"check bits, byte_order, align and offset"
        )
    return samples


def _mismatch(head: bytes, size: int, g: Geometry) -> str:
    expected = f"{g.width}x{g.height} with {g.bits} bits {g.packing} is {g.file_size} bytes, the file has {size}"
    kind = next((kind for magic, kind in _CONTAINERS.items() if head.startswith(magic)), None)
    if kind is not None:
        return f"{expected}; it looks like a {kind} file, which needs no geometry"
    advice = alternatives(size, g)
    return f"{expected}; " + (f"it would fit {' or '.join(advice)}" if advice else "check width, height and bits")


def alternatives(size: int, g: Geometry) -> list[str]:
    """Changes of one field (or two) that make the geometry fit a file of `size` bytes, likeliest first."""
    found = [f"bits={bits} packing={packing}" for bits, packing in _other_packings(size, g)]
    payload = size - g.offset - g.trailing
    if payload > 0 and payload % g.row_stride == 0:
        found.append(f"height={payload // g.row_stride}")
    if payload > 0 and payload % g.height == 0:
        stride = payload // g.height
        if g.row_bytes < stride <= 2 * g.row_bytes and stride != g.row_stride:
            found.append(f"stride={stride}")
        width = stride * 8 * g.width // (g.row_bytes * 8)
        if g.stride is None and width >= 2 and replace(g, width=width).file_size == size:
            found.append(f"width={width}")
    extra = size - g.file_size
    if extra > 0:
        found.append(f"offset={g.offset + extra} (a header) or trailing={g.trailing + extra} (a footer)")
    return found[:_MAX_ADVICE]


def _other_packings(size: int, g: Geometry) -> list[tuple[int, str]]:
    fitting = []
    for packing, rule in PACKINGS.items():
        for bits in rule.bits:
            if bits not in SAMPLE_BITS or g.stride is not None:
                continue
            if g.offset + g.trailing + rule.row_bytes(g.width, bits) * g.height == size:
                fitting.append((bits, packing))
    return fitting
