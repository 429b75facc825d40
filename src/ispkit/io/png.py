"""PNG files of 8 and 16 bits with their ICC profile and EXIF block, checked before they are decoded.

OpenCV codes the samples exactly but neither reads nor writes the iCCP and eXIf chunks, so these are
handled here. Source: W3C, Portable Network Graphics (PNG) Specification, third edition.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ispkit.core.errors import FileError
from ispkit.io.binary import Source, name_of, read_bytes

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_MAX_PIXELS = 1 << 27  # three float32 colors of each are 1.6 GB
_MAX_DEFLATE = 1032  # deflate cannot expand by more
_MAX_PROFILE = 4 << 20


@dataclass(frozen=True)
class PngFile:
    """Samples uint8 or uint16, (H, W) gray or (H, W, 3|4) in the order R, G, B, alpha; profile and EXIF as bytes."""

    samples: NDArray[Any]
    icc: bytes | None
    exif: bytes | None


def read_png(source: Source) -> PngFile:
    """Decode a PNG. Raises `FileError` where it is truncated, damaged or absurdly large."""
    data, name = read_bytes(source), name_of(source)
    if not data.startswith(SIGNATURE):
        raise FileError(f"{name}: not a PNG file")
    found = dict[bytes, bytes]()
    for kind, body in _chunks(data, name):
        found.setdefault(kind, body)
    _check_size(name, found, len(data))
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None:
        raise FileError(f"{name}: a damaged PNG; its pixels cannot be decoded")
    if samples.ndim == 3:
        samples = cv2.cvtColor(samples, cv2.COLOR_BGRA2RGBA if samples.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return PngFile(samples, _profile(found.get(b"iCCP")), found.get(b"eXIf"))


def encode_png(samples: NDArray[Any], icc: bytes | None, exif: bytes | None) -> list[bytes]:
    """A PNG file, in parts to be written one after the other; `samples` as in `PngFile`, without alpha.

    Only runs are compressed: on photographs both smaller and faster than zlib's usual strategy of its level.
    """
    bgr = cv2.cvtColor(samples, cv2.COLOR_RGB2BGR) if samples.ndim == 3 else samples
    fast = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    done, coded = cv2.imencode(".png", bgr, fast)
    if not done:
        raise FileError(f"the picture of shape {samples.shape} cannot be coded as PNG")
    header_end = len(SIGNATURE) + 25
    extra = b""
    if icc is not None:
        extra += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc, 9))
    if exif is not None:
        extra += _chunk(b"eXIf", exif)
    content = coded.tobytes()
    return [content[:header_end], extra, content[header_end:]]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _chunks(data: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of every chunk; a wrong checksum or a missing end is an error."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 8 + size
        if end + 4 > len(data):
            break
        if zlib.crc32(memoryview(data)[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise FileError(f"{name}: a damaged PNG; the checksum of its {kind!r} chunk is wrong")
        yield kind, b"" if kind == b"IDAT" else data[at + 8 : end]
        if kind == b"IEND":
            return
        at = end + 4
    raise FileError(f"{name}: a truncated PNG; its end is missing")


def _check_size(name: str, found: dict[bytes, bytes], size: int) -> None:
    header = found.get(b"IHDR", b"")
    if len(header) != 13 or header[9] not in _CHANNELS:
        raise FileError(f"{name}: a damaged PNG; its header is not readable")
    width, height = struct.unpack(">II", header[:8])
    bits = _CHANNELS[header[9]] * header[8]
    if width * height > _MAX_PIXELS or width * height * bits > 8 * _MAX_DEFLATE * size:
        raise FileError(f"{name}: a PNG that claims {width}x{height} pixels in {size} bytes; refused as damaged")


def _profile(chunk: bytes | None) -> bytes | None:
    """The ICC profile of an iCCP chunk: a name, a zero, a method byte, deflated bytes."""
    if chunk is None or b"\0" not in chunk[:80]:
        return None
    packed = chunk[chunk.index(b"\0") + 2 :]
    try:
        return zlib.decompressobj().decompress(packed, _MAX_PROFILE)
    except zlib.error:
        return None
