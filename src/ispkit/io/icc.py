"""Small ICC profiles (version 4, matrix and curves) of the toolkit's color spaces, and whose a profile is.

Source: ICC.1:2022 (profile version 4.4); the connection space is XYZ relative to D50, other whites are
adapted by Bradford as the profile's `chad` tag says.
"""

from __future__ import annotations

import struct
from functools import cache

import torch
from torch import Tensor

from ispkit.core.errors import FileError, nearest
from ispkit.ops.color_spaces import COLOR_SPACES, D50_XY, D65_XY, adaptation, rgb_to_xyz
from ispkit.ops.encode import encode_for

_D50 = (0.9642, 1.0, 0.8249)
_TITLES = {
    "srgb": "sRGB", "display-p3": "Display P3", "adobe-rgb": "Adobe RGB (1998) compatible",
    "prophoto-rgb": "ProPhoto RGB (ROMM)", "xyz": "CIE XYZ (D50)", "linear-srgb": "Linear sRGB",
}  # fmt: skip
_LINEAR_SPACES = ("xyz", "linear-srgb")
_D50_SPACES = ("prophoto-rgb", "xyz")
# parametricCurveType 3: encoded e >= d -> (a e + b)^g, else c e; (g, a, b, c, d)
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_CURVES = {
    "srgb": _SRGB_CURVE,
    "display-p3": _SRGB_CURVE,
    "adobe-rgb": (563 / 256,),
    "prophoto-rgb": (1.8, 1.0, 0.0, 1 / 16, 16 / 512),
}
_MATRIX_TOLERANCE = 2e-3
_CURVE_TOLERANCE = 4e-3
_PROBES = (0.05, 0.2, 0.5, 0.8)


@cache
def profile(space: str, *, linear: bool = False) -> bytes:
    """The profile of `space`, with its own transfer curve or, if `linear`, none. Raises `FileError`.

    The bytes are the same on every call, so that a written picture is reproducible.
    """
    if space not in COLOR_SPACES:
        raise FileError(f"no ICC profile for color space {space!r}; {nearest(space, COLOR_SPACES)}")
    base = "srgb" if space == "linear-srgb" else space
    curve = (1.0,) if linear or space in _LINEAR_SPACES else _CURVES[base]
    title = f"ispkit {'Linear ' if linear and space not in _LINEAR_SPACES else ''}{_TITLES[space]}"
    columns = _colorants(base)
    tags = {
        b"desc": _text(title),
        b"cprt": _text("No copyright, use freely"),
        b"wtpt": _xyz(_D50),
        b"chad": b"sf32" + bytes(4) + _fixed(*_adaptation(base).flatten().tolist()),
    }
    tags |= {c + b"XYZ": _xyz(columns[:, i].tolist()) for i, c in enumerate((b"r", b"g", b"b"))}
    tags |= {c + b"TRC": _parametric(curve) for c in (b"r", b"g", b"b")}
    return _file(tags)


def identify(content: bytes) -> tuple[str, bool] | None:
    """Which of the toolkit's spaces a profile describes, and whether its curve is linear; None if none.

    Goes by primaries and curve, not by name, so that profiles of other makers are recognised.
    """
    try:
        tags = _tags(content)
        columns = torch.tensor([_numbers(tags[c + b"XYZ"]) for c in (b"r", b"g", b"b")], dtype=torch.float64).T
        curve = torch.tensor([_evaluate(tags[b"gTRC"], e) for e in _PROBES], dtype=torch.float64)
    except (KeyError, struct.error, IndexError, ValueError, OverflowError, ZeroDivisionError):
        return None
    for space in (s for s in COLOR_SPACES if s != "linear-srgb"):
        if columns.shape != (3, 3) or (columns - _colorants(space)).abs().max() > _MATRIX_TOLERANCE:
            continue
        encoded = torch.tensor(_PROBES, dtype=torch.float64)
        if (curve - encoded).abs().max() < _CURVE_TOLERANCE:
            return ("linear-srgb" if space == "srgb" else space), True
        if (encode_for(curve, space) - encoded).abs().max() < _CURVE_TOLERANCE:
            return space, False
    return None


def description(content: bytes) -> str | None:
    """The name that a profile gives itself; None if it cannot be read."""
    try:
        tag = _tags(content)[b"desc"]
        if tag[:4] == b"desc":
            (size,) = struct.unpack_from(">I", tag, 8)
            return tag[12 : 12 + size].split(b"\0")[0].decode("ascii", "replace")
        size, offset = struct.unpack_from(">II", tag, 20)
        return tag[offset : offset + size].decode("utf-16-be", "replace").rstrip("\0")
    except (KeyError, struct.error, ValueError):
        return None


def _colorants(space: str) -> Tensor:
    """Columns: XYZ of red, green, blue relative to D50; they sum to the connection space's own D50."""
    columns = _adaptation(space) @ rgb_to_xyz(space)
    if space == "xyz":
        return columns
    return columns * (torch.tensor(_D50, dtype=torch.float64) / columns.sum(1))[:, None]


def _adaptation(space: str) -> Tensor:
    white = torch.tensor(D50_XY if space in _D50_SPACES else D65_XY, dtype=torch.float64)
    return adaptation(white, torch.tensor(D50_XY, dtype=torch.float64))


def _file(tags: dict[bytes, bytes]) -> bytes:
    """Header, table of tags, contents; equal contents are stored once."""
    start = 128 + 4 + 12 * len(tags)
    table, body, placed = struct.pack(">I", len(tags)), b"", dict[bytes, int]()
    for name, content in tags.items():
        if content not in placed:
            placed[content] = start + len(body)
            body += content + bytes(-len(content) % 4)
        table += name + struct.pack(">II", placed[content], len(content))
    created = struct.pack(">6H", 2024, 1, 1, 0, 0, 0)
    header = struct.pack(">I4sI4s4s4s12s4s", start + len(body), bytes(4), 0x04400000, b"mntr", b"RGB ", b"XYZ ",
                         created, b"acsp")  # fmt: skip
    header += bytes(28) + _fixed(*_D50)
    return header.ljust(128, b"\0") + table + body


def _fixed(*values: float) -> bytes:
    """s15Fixed16 numbers."""
    return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))


def _xyz(values: tuple[float, ...] | list[float]) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(*values)


def _text(words: str) -> bytes:
    coded = words.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(coded), 28) + coded


def _parametric(curve: tuple[float, ...]) -> bytes:
    kind = 0 if len(curve) == 1 else 3
    return b"para" + bytes(4) + struct.pack(">HH", kind, 0) + _fixed(*curve)


def _tags(content: bytes) -> dict[bytes, bytes]:
    if content[36:40] != b"acsp":
        raise ValueError("not an ICC profile")
    (count,) = struct.unpack_from(">I", content, 128)
    entries = [struct.unpack_from(">4sII", content, 132 + 12 * i) for i in range(min(count, 100))]
    return {name: content[offset : offset + size] for name, offset, size in entries}


def _numbers(tag: bytes) -> list[float]:
    x, y, z = struct.unpack_from(">3i", tag, 8)
    return [x / 65536, y / 65536, z / 65536]


def _evaluate(tag: bytes, encoded: float) -> float:
    """Linear light of one encoded value, by a parametric curve or a table."""
    if tag[:4] == b"para":
        (kind,) = struct.unpack_from(">H", tag, 8)
        counts = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}
        g, *rest = (n / 65536 for n in struct.unpack_from(f">{counts[kind]}i", tag, 12))
        a, b, c, d, e, f = [*rest, *[0.0] * 6][:6] if rest else [1.0, *[0.0] * 5]
        if kind in (1, 2):
            d, c, e, f = -b / a, 0.0, (c if kind == 2 else 0.0), (c if kind == 2 else 0.0)
        return float((a * encoded + b) ** g + e if encoded >= d else c * encoded + f)
    (count,) = struct.unpack_from(">I", tag, 8)
    if count == 0:
        return encoded
    table = struct.unpack_from(f">{count}H", tag, 12)
    if count == 1:
        return float(encoded ** (table[0] / 256))
    position = encoded * (count - 1)
    low = min(int(position), count - 2)
    return float(table[low] + (position - low) * (table[low + 1] - table[low])) / 65535
