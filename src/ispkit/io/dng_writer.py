"""Write a RAW frame as DNG: one uncompressed 16-bit strip, which LibRaw, RawTherapee and darktable open.

Source: Adobe, Digital Negative Specification 1.7.1, chapter 4.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ispkit.core.errors import FileError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta, View
from ispkit.core.opcodes import Opcode, VignetteRadial, WarpFisheye, WarpRectilinear
from ispkit.io.atomic import atomic_write
from ispkit.io.dng_opcodes import to_active_area
from ispkit.io.exif import exif_tag, main_tags, meta_facts
from ispkit.io.opcode_writer import encode_opcodes
from ispkit.io.tiff_write import HEADER, Tag, directory

Margins = tuple[int, int, int, int]
"""masked photosites above, left of, below and right of the picture"""

_CFA_PHOTOMETRIC = 32803
_OPCODE_TAGS = {1: 51008, 2: 51009, 3: 51022}
_COLOR_BYTE = {"R": 0, "G": 1, "B": 2}
_ALIGNMENT = 16
# EXIF LightSource codes that name one temperature
_LIGHT_SOURCES = {17: 2856.0, 24: 3200.0, 14: 4150.0, 23: 5003.0, 20: 5503.0, 21: 6504.0, 22: 7504.0}
_OTHER_LIGHT = 255
_SAME_LIGHT = 0.02


def write_dng(
    path: str | os.PathLike[str], frame: Frame, *, opcodes: bool = True, margins: Margins = (0, 0, 0, 0)
) -> None:
    """Write one `Frame(RAW)`; what a reader gets back equals it: samples, levels, colors, noise, opcodes.

    Samples are rounded to whole DN of 16 bits. `opcodes=False` leaves the corrections out; `margins`
    surround the picture with masked photosites that hold the black level. LibRaw opens pictures of 22
    pixels a side and more. Raises `FileError` where DNG cannot say what the frame is (another domain,
    several frames, a white level that differs by site).
    """
    if frame.domain is not Domain.RAW or frame.batch != 1:
        raise FileError(f"{path}: a DNG holds one raw frame, got {frame.batch} of {frame.domain.value}")
    samples = _samples(path, frame, margins)
    meta = frame.meta
    corrections = _opcodes(path, frame, margins) if opcodes else ()
    facts = meta_facts(meta)
    tags = [*_layout_tags(samples, meta, margins, frame.size), *_level_tags(path, meta), *_color_tags(meta)]
    tags += [*_opcode_tags(corrections), *main_tags(facts), exif_tag(facts), _model(facts)]
    head = _head(tags, samples.nbytes)
    with atomic_write(path) as file:
        file.write(head)
        file.write(samples.data)


def _samples(path: Any, frame: Frame, margins: Margins) -> NDArray[np.uint16]:
    data = frame.data[0, 0].detach().cpu()
    low, high = (float(v) for v in torch.aminmax(data))
    if not (low > -0.5 and high < 65535.5):  # also false for nan
        raise FileError(f"{path}: samples from {low:g} to {high:g} do not fit 16 bits; scale them to 0..65535")
    rounded = data.round().numpy().astype("<u2")
    if not any(margins):
        return np.ascontiguousarray(rounded)
    top, left, bottom, right = margins
    if min(margins) < 0:
        raise ShapeError(f"margins={margins} must not be negative")
    black = round(float(frame.meta.black_level.mean()))
    return np.pad(rounded, ((top, bottom), (left, right)), constant_values=black)


def _head(tags: list[Tag], strip_bytes: int) -> bytes:
    """Header and directory, padded so that the strip follows aligned."""
    size = len(directory([*tags, Tag(273, "LONG", [0])], len(HEADER)))
    strip_at = -(-(len(HEADER) + size) // _ALIGNMENT) * _ALIGNMENT
    if strip_at + strip_bytes > 2**32 - 1:
        raise FileError(f"a DNG holds at most 4 GiB, these samples take {strip_bytes} bytes; crop the frame")
    return (HEADER + directory([*tags, Tag(273, "LONG", [strip_at])], len(HEADER))).ljust(strip_at, b"\0")


def _layout_tags(samples: NDArray[Any], meta: CameraMeta, margins: Margins, size: tuple[int, int]) -> list[Tag]:
    height, width = samples.shape
    area = [margins[0], margins[1], margins[0] + size[0], margins[1] + size[1]]
    return [
        Tag(254, "LONG", [0]),
        Tag(256, "LONG", [width]),
        Tag(257, "LONG", [height]),
        Tag(258, "SHORT", [16]),
        Tag(259, "SHORT", [1]),
        Tag(262, "SHORT", [_CFA_PHOTOMETRIC]),
        Tag(274, "SHORT", [meta.orientation[0]]),
        Tag(277, "SHORT", [1]),
        Tag(278, "LONG", [height]),
        Tag(279, "LONG", [samples.nbytes]),
        Tag(284, "SHORT", [1]),
        Tag(33421, "SHORT", [2, 2]),
        # seen from the active area's top-left, as the DNG SDK and LibRaw read it
        Tag(33422, "BYTE", bytes(_COLOR_BYTE[c] for c in meta.cfa)),
        Tag(50706, "BYTE", bytes([1, 4, 0, 0])),
        Tag(50707, "BYTE", bytes([1, 3, 0, 0])),
        Tag(50710, "BYTE", bytes([0, 1, 2])),
        Tag(50711, "SHORT", [1]),
        Tag(50829, "LONG", area),
        Tag(50719, "LONG", [0, 0]),
        Tag(50720, "LONG", [size[1], size[0]]),
    ]


def _level_tags(path: Any, meta: CameraMeta) -> list[Tag]:
    black, white = _plain(meta.black_level[0]), _plain(meta.white_level[0])
    if len(set(white)) != 1:
        raise FileError(f"{path}: a DNG has one white level, the frame has {white} by site; make them equal first")
    if min(black) < 0:
        raise FileError(f"{path}: a DNG has no negative black level, the frame has {black}; add an offset to samples")
    tags = [
        Tag(50713, "SHORT", [2, 2]),
        Tag(50714, "RATIONAL", black),
        Tag(50717, "LONG", [round(white[0])]),
        Tag(50730, "SRATIONAL", _plain(meta.baseline_exposure[0])),
    ]
    if bool(meta.noise_profile.any()):
        tags.append(Tag(51041, "DOUBLE", _plain(meta.noise_profile[0])))
    return tags


def _color_tags(meta: CameraMeta) -> list[Tag]:
    tags = [Tag(50728, "RATIONAL", _plain(meta.neutral[0]))]
    cct = _plain(meta.illuminant_cct_k[0])
    pair, forward = meta.color_matrices[0], meta.forward_matrices[0]
    one = cct[0] == cct[1] and torch.equal(pair[0], pair[1])
    for i in range(1 if one else 2):
        tags += _light_tags(cct[i], i)
        tags.append(Tag(50721 + i, "SRATIONAL", _plain(pair[i])))
        if bool(forward[i].any()):
            tags.append(Tag(50964 + i, "SRATIONAL", _plain(forward[i])))
    return tags


def _light_tags(cct_k: float, index: int) -> list[Tag]:
    """CalibrationIlluminant1 or 2: the named light within 2 %, else "other"."""
    code = min(_LIGHT_SOURCES, key=lambda c: abs(_LIGHT_SOURCES[c] / cct_k - 1))
    close = abs(_LIGHT_SOURCES[code] / cct_k - 1) <= _SAME_LIGHT
    return [Tag(50778 + index, "SHORT", [code if close else _OTHER_LIGHT])]


def _opcodes(path: Any, frame: Frame, margins: Margins) -> tuple[Opcode, ...]:
    """The corrections in coordinates of what is written: the frame may be a crop, or gain margins."""
    found, view, (height, width) = frame.meta.opcodes[0], frame.meta.view[0], frame.size
    if not found:
        return ()
    if view.step != (1, 1):
        raise FileError(f"{path}: the corrections of a mirrored frame cannot be written; set opcodes=False")
    if view != View((height, width)):
        lens = [type(op).__name__ for op in found if isinstance(op, WarpRectilinear | WarpFisheye | VignetteRadial)]
        if lens:
            raise FileError(f"{path}: {lens[0]} speaks of the whole picture, this is a crop; set opcodes=False")
        y, x = view.origin
        found = to_active_area(found, (y, x, y + height, x + width), view.full_size)
    top, left, bottom, right = margins
    first = [op for op in found if op.stage == 1]
    # the first list counts from the stored top-left pixel
    shifted = to_active_area(first, (-top, -left, height + bottom, width + right), (height, width))
    return (*shifted, *(op for op in found if op.stage != 1))


def _opcode_tags(opcodes: tuple[Opcode, ...]) -> list[Tag]:
    lists = {code: encode_opcodes(opcodes, stage) for stage, code in _OPCODE_TAGS.items()}
    return [Tag(code, "UNDEFINED", content) for code, content in lists.items() if content]


def _model(facts: dict[str, Any]) -> Tag:
    own = str(facts.get("UniqueCameraModel", "")).strip()
    words = [own] if own else [str(facts.get(name, "")).strip() for name in ("Make", "Model")]
    if len(words) == 2 and words[1].startswith(words[0]):
        words = words[1:]
    return Tag(50708, "ASCII", " ".join(w for w in words if w) or "ispkit")


def _plain(tensor: torch.Tensor) -> list[float]:
    return [float(v) for v in tensor.detach().cpu().reshape(-1)]
