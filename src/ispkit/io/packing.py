"""How samples of 8 to 16 bits lie in bytes, and how to get them out.

| name | layout | source |
|---|---|---|
| unpacked | one byte (8 bits) or one 16-bit word a sample | |
| mipi10, mipi12, mipi14 | high 8 bits of 4 (2, 4) pixels, then their low bits | MIPI CSI-2, RAW10/12/14 |
| packed10, packed12, packed14 | a bit stream; little: first pixel in the low bits (GenICam `10p`, `12p`, \
PFNC 2.4); big: in the high bits (TIFF 6.0) | |
| gige10, gige12 | 2 pixels in 3 bytes: high 8, both low parts in the nibbles, high 8 | GigE Vision `Packed` |

Every row starts on a byte of its own; where a row ends inside a group of pixels the group is padded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Samples = NDArray[np.uint16]
Unpack = Callable[[Bytes, int, bool], Samples]
"""(groups of bytes (H, groups, bytes), bits, big endian) -> (H, groups, pixels)"""


@dataclass(frozen=True)
class PackingRule:
    """One layout: the `bits` it can hold, the pixels of a group, and whether byte order has a meaning."""

    bits: tuple[int, ...]
    pixels: int
    ordered: bool
    unpack: Unpack
    padded: bool = False
    """whether a row always ends with a whole group"""
    slot_bits: int | None = None
    """bits that a sample occupies, where these are not its own"""

    def group_bytes(self, bits: int) -> int:
        """Bytes of one group of pixels."""
        return self.pixels * self._slot(bits) // 8

    def row_bytes(self, width: int, bits: int) -> int:
        """Bytes of a row of `width` samples."""
        if self.padded:
            return -(-width // self.pixels) * self.group_bytes(bits)
        return -(-width * self._slot(bits) // 8)

    def rows(self, stored: Bytes, width: int, bits: int, big: bool) -> Samples:
        """Samples (H, width) from the bytes of the rows (H, row_bytes)."""
        size = self.group_bytes(bits)
        missing = -stored.shape[1] % size
        if missing:
            stored = np.pad(stored, ((0, 0), (0, missing)))
        groups = stored.reshape(len(stored), -1, size)
        return self.unpack(groups, bits, big).reshape(len(stored), -1)[:, :width]

    def _slot(self, bits: int) -> int:
        if self.slot_bits is not None:
            return self.slot_bits
        return bits if self.pixels > 1 else (8 if bits == 8 else 16)


def _unpacked(groups: Bytes, bits: int, big: bool) -> Samples:
    if bits == 8:
        return groups.astype(np.uint16)
    return np.ascontiguousarray(groups).view(">u2" if big else "<u2").astype(np.uint16)


def _stream(groups: Bytes, bits: int, big: bool) -> Samples:
    """A sample spans at most three bytes; they are read as one number and shifted."""
    pixels = groups.shape[-1] * 8 // bits
    wide = np.concatenate([groups, np.zeros_like(groups[..., :2])], axis=-1).astype(np.uint32)
    out = np.empty((*groups.shape[:2], pixels), np.uint16)
    for k in range(pixels):
        first, shift = divmod(k * bits, 8)
        three = [wide[..., first + i] for i in range(3)]
        if big:
            number = (three[0] << 16 | three[1] << 8 | three[2]) >> (24 - shift - bits)
        else:
            number = (three[2] << 16 | three[1] << 8 | three[0]) >> shift
        out[..., k] = number & (2**bits - 1)
    return out


def _mipi(groups: Bytes, bits: int, big: bool) -> Samples:
    """High bytes of all pixels first; the low bits follow as one little-endian number."""
    low_bits = bits - 8
    pixels = groups.shape[-1] * 8 // bits
    high = groups[..., :pixels].astype(np.uint16)
    low = np.zeros(groups.shape[:2], np.uint32)
    for i in range(groups.shape[-1] - pixels):
        low |= groups[..., pixels + i].astype(np.uint32) << 8 * i
    out = np.left_shift(high, np.uint16(low_bits))
    for k in range(pixels):
        out[..., k] |= (low >> low_bits * k & (2**low_bits - 1)).astype(np.uint16)
    return out


def _gige(groups: Bytes, bits: int, big: bool) -> Samples:
    low_bits = bits - 8
    out = np.left_shift(groups[..., [0, 2]].astype(np.uint16), np.uint16(low_bits))
    for k in range(2):
        out[..., k] |= (groups[..., 1] >> 4 * k & (2**low_bits - 1)).astype(np.uint16)
    return out


PACKINGS: dict[str, PackingRule] = {
    "unpacked": PackingRule((8, 10, 12, 14, 16), 1, True, _unpacked),
    "mipi10": PackingRule((10,), 4, False, _mipi, padded=True),
    "mipi12": PackingRule((12,), 2, False, _mipi, padded=True),
    "mipi14": PackingRule((14,), 4, False, _mipi, padded=True),
    "packed10": PackingRule((10,), 4, True, _stream),
    "packed12": PackingRule((12,), 2, True, _stream),
    "packed14": PackingRule((14,), 4, True, _stream),
    "gige10": PackingRule((10,), 2, False, _gige, padded=True, slot_bits=12),
    "gige12": PackingRule((12,), 2, False, _gige, padded=True, slot_bits=12),
}
