"""Directories of TIFF tags as bytes (little-endian): for DNG, for TIFF pictures and for EXIF blocks.

Source: Adobe, TIFF Revision 6.0 (1992), section 2; sub-directories as in EXIF 2.32.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

HEADER = b"II*\0\x08\0\0\0"

Kind = Literal[
    "BYTE", "ASCII", "SHORT", "LONG", "RATIONAL", "UNDEFINED", "SRATIONAL", "FLOAT", "DOUBLE", "DIRECTORY"
]  # fmt: skip
_CODES = {"BYTE": 1, "ASCII": 2, "SHORT": 3, "LONG": 4, "RATIONAL": 5, "UNDEFINED": 7, "SRATIONAL": 10}
_CODES |= {"FLOAT": 11, "DOUBLE": 12, "DIRECTORY": 4}
_LETTERS = {"SHORT": "H", "LONG": "I", "FLOAT": "f", "DOUBLE": "d", "RATIONAL": "I", "SRATIONAL": "i"}

_DENOMINATORS = (1, 10, 100, 1000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class Tag:
    """One tag. `values`: text for ASCII, bytes for BYTE and UNDEFINED, tags for DIRECTORY, else numbers."""

    code: int
    kind: Kind
    values: Any


def directory(tags: Sequence[Tag], at: int) -> bytes:
    """The directory that stands at byte `at` of the file, with all it points to; even in length."""
    ordered = sorted(tags, key=lambda tag: tag.code)
    size = 2 + 12 * len(ordered) + 4
    entries, beyond = struct.pack("<H", len(ordered)), b""
    for tag in ordered:
        position = at + size + len(beyond)
        if tag.kind == "DIRECTORY":
            beyond += directory(tag.values, position)
            entries += struct.pack("<HHII", tag.code, 4, 1, position)
            continue
        count, content = _coded(tag)
        entries += struct.pack("<HHI", tag.code, _CODES[tag.kind], count)
        if len(content) <= 4:
            entries += content.ljust(4, b"\0")
            continue
        entries += struct.pack("<I", position)
        beyond += content + b"\0" * (len(content) % 2)
    return entries + bytes(4) + beyond


def _coded(tag: Tag) -> tuple[int, bytes]:
    if tag.kind == "ASCII":
        text = tag.values.encode("utf-8", "replace").replace(b"\0", b"") + b"\0"
        return len(text), text
    if tag.kind in ("BYTE", "UNDEFINED"):
        return len(tag.values), bytes(tag.values)
    numbers = list(tag.values)
    if tag.kind in ("RATIONAL", "SRATIONAL"):
        pairs = [n for value in numbers for n in rational(value, signed=tag.kind == "SRATIONAL")]
        return len(numbers), struct.pack(f"<{len(pairs)}{_LETTERS[tag.kind]}", *pairs)
    return len(numbers), struct.pack(f"<{len(numbers)}{_LETTERS[tag.kind]}", *numbers)


def rational(value: float | Fraction, *, signed: bool) -> tuple[int, int]:
    """Numerator and denominator of 32 bits: the simplest fraction that is the same float32.

    >>> rational(0.75, signed=False), rational(0.004, signed=False)
    ((3, 4), (1, 250))
    """
    top = 2**31 - 1 if signed else 2**32 - 1
    if not math.isfinite(value):
        raise ValueError(f"{value} is no rational")
    exact = Fraction(value)
    if not (-top if signed else 0) <= exact <= top:
        raise ValueError(f"{value} is no {'signed' if signed else 'unsigned'} rational of 32 bits")
    finest = top // max(1, math.ceil(abs(exact)))
    for denominators in (d for d in _DENOMINATORS if d < finest):
        near = exact.limit_denominator(denominators)
        if struct.pack("f", near) == struct.pack("f", exact):
            return near.numerator, near.denominator
    near = exact.limit_denominator(finest)
    return near.numerator, near.denominator
