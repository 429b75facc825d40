"""Bare mosaics in files that know their own size: NumPy arrays and gray PNG pictures."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray

from ispkit.core.errors import FileError, ParamError
from ispkit.core.frame import Domain, Frame
from ispkit.io.binary import Source, name_of, read_bytes
from ispkit.io.geometry import Facts, Geometry
from ispkit.io.png import SIGNATURE as PNG_SIGNATURE
from ispkit.io.png import read_png

NPY_SIGNATURE = b"\x93NUMPY"
_MAX_SAMPLES = 1 << 28


def read_npy_mosaic(source: Source, facts: Facts) -> Frame:
    """A NumPy file of shape (H, W), numbers in DN, as `Frame(RAW)`. Raises `FileError`, `ParamError`."""
    return _mosaic(name_of(source), _npy_array(source), facts)


def read_png_mosaic(source: Source, facts: Facts) -> Frame:
    """A gray PNG of 8 or 16 bits as `Frame(RAW)`. Raises `FileError`, `ParamError`."""
    picture = read_png(source)
    if picture.samples.ndim != 2:
        raise FileError(
            f"{name_of(source)}: a PNG with {picture.samples.shape[2]} channels is a finished picture, not a mosaic; "
            f"a mosaic is gray"
        )
    return _mosaic(name_of(source), picture.samples, facts)


def is_mosaic_file(head: bytes) -> bool:
    """Whether a file that begins with `head` is read by this module."""
    return head.startswith((NPY_SIGNATURE, PNG_SIGNATURE))


def read_mosaic(source: Source, facts: Facts) -> Frame:
    """Either kind, told by content."""
    if read_bytes(source, len(NPY_SIGNATURE)) == NPY_SIGNATURE:
        return read_npy_mosaic(source, facts)
    return read_png_mosaic(source, facts)


def _mosaic(name: str, samples: NDArray[Any], facts: Facts) -> Frame:
    height, width = samples.shape
    if facts.cfa is None:
        raise ParamError(f"{name}: a bare mosaic does not say its CFA pattern; give cfa=RGGB, BGGR, GRBG or GBRG")
    if isinstance(facts, Geometry) and (facts.height, facts.width) != (height, width):
        raise FileError(f"{name}: holds {width}x{height} samples, the geometry says {facts.width}x{facts.height}")
    bits = facts.bits or (8 if samples.dtype == np.uint8 else None)
    if bits is None and facts.white_level is None:
        raise ParamError(f"{name}: {samples.dtype} samples do not say where white is; give bits or white_level")
    largest = float(samples.max())
    if not np.isfinite(largest) or not np.isfinite(float(samples.min())):
        raise FileError(f"{name}: holds samples that are no finite numbers")
    if bits is not None and largest > 2**bits - 1:
        raise FileError(f"{name}: the largest sample is {largest:g}, but {bits} bits hold at most {2**bits - 1}")
    meta = facts.camera_meta((height, width), float(2 ** (bits or 16) - 1))
    return Frame(torch.from_numpy(samples.astype(np.float32))[None, None], Domain.RAW, meta)


def _npy_array(source: Source) -> NDArray[Any]:
    """The array of a .npy file; the header is checked against the size before anything is allocated."""
    data, name = read_bytes(source), name_of(source)
    stream = BytesIO(data)
    try:
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
    except (ValueError, SyntaxError, EOFError) as error:
        raise FileError(f"{name}: a damaged NumPy file ({error})") from error
    if len(shape) != 2 or dtype.kind not in "uif":
        raise FileError(f"{name}: holds {dtype} of shape {shape}; a mosaic has shape (height, width) and real numbers")
    if min(shape) < 2 or shape[0] * shape[1] > _MAX_SAMPLES:
        raise FileError(f"{name}: a mosaic of shape {shape} is not usable; it needs at least 2x2 samples")
    found, expected = len(data) - stream.tell(), shape[0] * shape[1] * dtype.itemsize
    if found != expected:
        raise FileError(f"{name}: shape {shape} of {dtype} takes {expected} bytes, the file has {found}: truncated")
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
