"""Finished pictures: PNG (8, 16 bits), TIFF (8, 16, 32 bits float), JPEG; with ICC profile and EXIF."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ispkit.core.errors import FileError, nearest
from ispkit.core.frame import Domain, Frame
from ispkit.io import exif as exif_tags
from ispkit.io import icc
from ispkit.io.atomic import atomic_write
from ispkit.io.png import encode_png
from ispkit.io.read_pictures import Picture, read_picture
from ispkit.io.tiff_write import HEADER, Tag, directory

__all__ = ["FORMATS", "Look", "Picture", "read_picture", "write_picture"]

Format = Literal["PNG", "TIFF", "JPEG"]
FORMATS: dict[str, Format] = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".jpg": "JPEG", ".jpeg": "JPEG"}
_BITS: dict[Format, tuple[int, ...]] = {"PNG": (8, 16), "TIFF": (16, 8, 32), "JPEG": (8,)}
_JPEG_SIDE = 65500
_FINE_QUALITY = 90
_STRIP_BYTES = 1 << 20


@dataclass(frozen=True)
class Look:
    """What the numbers of a picture mean, for its ICC profile, and the facts to carry over."""

    color_space: str | None = "srgb"
    """None: no profile"""
    linear: bool = False
    """not encoded by the space's own curve"""
    exif: Mapping[str, Any] | None = None


def write_picture(
    path: str | os.PathLike[str],
    picture: Frame | NDArray[Any],
    *,
    bits: int | None = None,
    quality: int = 95,
    look: Look | None = None,
) -> None:
    """Write one picture in the format that the file's ending names, whole or not at all.

    `picture` is a DISPLAY_RGB or LINEAR_RGB frame, turned upright here, or an array (H, W, 3) or (H, W):
    floating point in [0, 1], rounded and clipped, or uint8/uint16 as it is. `bits` is 8 or 16 (PNG, TIFF)
    or 32 (TIFF, floating point, not clipped); without it 8 for PNG and 16 for TIFF, 16 for linear data.
    `look` tells color space, curve and EXIF of an array (encoded sRGB if None); a frame knows its own.
    `quality` 1..100 is for JPEG; from 90 on colors keep full resolution. Raises `FileError`.
    """
    kind = _format(path)
    pixels, look = _pixels(path, picture, look)
    if kind == "JPEG" and look.linear:
        raise FileError(f"{path}: 8 bits are too few for linear data; encode it first, or write PNG or TIFF")
    samples = _quantized(path, pixels, _depth(path, kind, pixels, bits, look))
    tagged = look.color_space is not None and samples.ndim == 3
    profile = icc.profile(look.color_space, linear=look.linear) if tagged and look.color_space else None
    facts = look.exif or {}
    if kind == "TIFF":
        _write_tiff(path, samples, profile, facts)
        return
    block = exif_tags.exif_block(facts, srgb=look.color_space == "srgb" and not look.linear)
    jpeg = kind == "JPEG"
    parts = [_jpeg(path, samples, quality, (profile, block))] if jpeg else encode_png(samples, profile, block)
    with atomic_write(path) as file:
        for part in parts:
            file.write(part)


def _format(path: str | os.PathLike[str]) -> Format:
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise FileError(f"{path}: no picture format ends in {ending!r}; {nearest(ending, FORMATS)}")
    return FORMATS[ending]


def _pixels(path: Any, picture: Frame | NDArray[Any], look: Look | None) -> tuple[NDArray[Any], Look]:
    if not isinstance(picture, Frame):
        array = np.asarray(picture)
        if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)) or 0 in array.shape:
            raise FileError(f"{path}: a picture has shape (H, W, 3) or (H, W), got {array.shape}")
        return array, look or Look()
    if picture.domain not in (Domain.DISPLAY_RGB, Domain.LINEAR_RGB) or picture.batch != 1:
        raise FileError(
            f"{path}: one display_rgb or linear_rgb frame makes a picture, got {picture.batch} of "
            f"{picture.domain.value}; develop it first, or pass an array"
        )
    upright = picture.upright()
    array = upright.data[0].detach().permute(1, 2, 0).cpu().float().numpy()
    space, linear = upright.meta.color_space[0], picture.domain is Domain.LINEAR_RGB
    own = Look(space, linear or space in ("xyz", "linear-srgb"), exif_tags.meta_facts(upright.meta))
    return array, look or own


def _depth(path: Any, kind: Format, pixels: NDArray[Any], bits: int | None, look: Look) -> int:
    own = {np.dtype(np.uint8): 8, np.dtype(np.uint16): 16}.get(pixels.dtype)
    if own is None and pixels.dtype.kind != "f":
        raise FileError(f"{path}: samples are uint8, uint16 or floating point in [0, 1], got {pixels.dtype}")
    if bits is None:
        bits = own or (16 if look.linear else _BITS[kind][0])
    if bits not in _BITS[kind] or (own is not None and own != bits):
        held = f" of {own}-bit samples" if own is not None else ""
        raise FileError(f"{path}: {bits} bits do not fit {kind}{held}; use {' or '.join(map(str, _BITS[kind]))}")
    return bits


def _quantized(path: Any, pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    if pixels.dtype.kind != "f":
        return np.ascontiguousarray(pixels)
    if not np.isfinite(pixels).all():
        raise FileError(f"{path}: the picture holds values that are no finite numbers; find the stage that made them")
    if bits == 32:
        return np.ascontiguousarray(pixels, dtype="<f4")
    top = 2**bits - 1
    scaled = np.clip(pixels, 0.0, 1.0)
    scaled *= top
    scaled += 0.5  # then truncated: as rounding, without a pass of its own
    return np.ascontiguousarray(scaled).astype(np.uint8 if bits == 8 else np.uint16)


def _jpeg(path: Any, samples: NDArray[Any], quality: int, extras: tuple[bytes | None, bytes]) -> bytes:
    from PIL import Image

    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise FileError(f"{path}: quality={quality!r} must be a whole number in [1, 100]")
    if max(samples.shape[:2]) > _JPEG_SIDE:
        size = f"{samples.shape[1]}x{samples.shape[0]}"
        raise FileError(f"{path}: JPEG holds at most {_JPEG_SIDE} pixels a side, this is {size}; write PNG or TIFF")
    profile, block = extras
    stream = BytesIO()
    options = {"icc_profile": profile} if profile is not None else {}
    subsampling = 0 if quality >= _FINE_QUALITY else 2  # 4:4:4, 4:2:0
    Image.fromarray(samples).save(
        stream, "JPEG", quality=quality, subsampling=subsampling, exif=b"Exif\0\0" + block, **options
    )
    return stream.getvalue()


def _write_tiff(path: Any, samples: NDArray[Any], profile: bytes | None, facts: Mapping[str, Any]) -> None:
    """Uncompressed strips of about 1 MiB, little-endian."""
    samples = samples.astype(samples.dtype.newbyteorder("<"), copy=False)
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else 3
    row = samples.nbytes // height
    rows = min(height, max(1, _STRIP_BYTES // row))
    counts = [min(rows, height - y) * row for y in range(0, height, rows)]
    tags = [
        Tag(256, "LONG", [width]), Tag(257, "LONG", [height]), Tag(258, "SHORT", [8 * samples.itemsize] * channels),
        Tag(259, "SHORT", [1]), Tag(262, "SHORT", [2 if channels == 3 else 1]), Tag(274, "SHORT", [1]),
        Tag(277, "SHORT", [channels]), Tag(278, "LONG", [rows]), Tag(279, "LONG", counts),
        Tag(282, "RATIONAL", [72]), Tag(283, "RATIONAL", [72]), Tag(284, "SHORT", [1]), Tag(296, "SHORT", [2]),
        Tag(339, "SHORT", [3 if samples.dtype.kind == "f" else 1] * channels),
        *exif_tags.main_tags(facts), exif_tags.exif_tag(facts),
    ]  # fmt: skip
    if profile is not None:
        tags.append(Tag(34675, "UNDEFINED", profile))
    head = len(HEADER) + len(directory([*tags, Tag(273, "LONG", counts)], len(HEADER)))
    starts = [head + sum(counts[:1]) * i for i in range(len(counts))]
    if head + samples.nbytes > 2**32 - 1:
        raise FileError(f"{path}: TIFF holds at most 4 GiB; write PNG, or fewer bits")
    with atomic_write(path) as file:
        file.write(HEADER + directory([*tags, Tag(273, "LONG", starts)], len(HEADER)))
        file.write(samples.data)
