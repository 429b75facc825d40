"""Finished pictures in: PNG, TIFF and JPEG as float32, with bit depth and color space."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ispkit.core.errors import FileError
from ispkit.core.frame import UPRIGHT
from ispkit.io import icc
from ispkit.io.binary import Source, name_of, read_bytes
from ispkit.io.containers import describe_other
from ispkit.io.png import SIGNATURE as PNG_SIGNATURE
from ispkit.io.png import read_png
from ispkit.io.tiff_tree import read_tree

_ORIENTATION, _ICC_TAG = 274, 34675
_MAX_SAMPLES = 3 << 27
_MAX_RATIO = 1100  # deflate, the densest codec in use, cannot expand by more
_GRAY, _RGB = (0, 1), 2


@dataclass(frozen=True)
class Picture:
    """A picture as read: `pixels` (H, W, 3) float32, integers scaled to [0, 1], upright, gray repeated."""

    pixels: NDArray[np.float32]
    bits: int
    """of a stored sample; 32 is floating point"""
    color_space: str | None
    """one of the toolkit's color spaces, by the ICC profile's content; None without a known profile"""
    linear: bool
    """whether the profile's curve is linear"""
    profile_name: str | None
    """what the ICC profile calls itself"""


def read_picture(source: Source) -> Picture:
    """A PNG, TIFF or JPEG file; orientation is applied. Raises `FileError` that says what else a file is."""
    head = read_bytes(source, 64)
    if head.startswith(PNG_SIGNATURE):
        png = read_png(source)
        tree = read_tree(png.exif) if png.exif else None
        turn = tree.main.integer(_ORIENTATION, 1) if tree is not None else 1
        return _picture(name_of(source), png.samples, png.icc, turn)
    if head[:4] in (b"II*\0", b"MM\0*"):
        return _read_tiff(source)
    if head.startswith(b"\xff\xd8\xff"):
        return _read_jpeg(source)
    what = describe_other(head) if head else "empty"
    raise FileError(f"{name_of(source)}: this is {what}; a picture is PNG, TIFF or JPEG")


def _picture(name: str, samples: NDArray[Any], profile: bytes | None, orientation: int) -> Picture:
    if samples.dtype not in (np.uint8, np.uint16, np.float32):
        raise FileError(f"{name}: samples of {samples.dtype} are not read; use 8 or 16 bits, or 32-bit floats")
    colors = _opaque(name, samples) if samples.ndim == 3 else samples[..., None]
    top = 1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max)
    pixels = colors.astype(np.float32)
    pixels /= np.float32(top)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    known = icc.identify(profile) if profile else None
    return Picture(
        _upright(pixels, orientation),
        8 * samples.dtype.itemsize,
        known[0] if known else None,
        known[1] if known else False,
        icc.description(profile) if profile else None,
    )


def _opaque(name: str, samples: NDArray[Any]) -> NDArray[Any]:
    """Colors without alpha; a picture that is partly transparent has no one meaning."""
    channels = samples.shape[2]
    if channels not in (1, 2, 3, 4):
        raise FileError(f"{name}: a picture has 1 to 4 channels, this has {channels}")
    if channels in (1, 3):
        return samples
    top = 1.0 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max
    if (samples[..., -1] != top).any():
        raise FileError(f"{name}: parts of the picture are transparent; flatten it on a background first")
    return samples[..., :-1]


def _upright(pixels: NDArray[np.float32], orientation: int) -> NDArray[np.float32]:
    transpose, rows, columns = UPRIGHT.get(orientation, (False, False, False))
    turned = pixels.transpose(1, 0, 2) if transpose else pixels
    turned = turned[:: -1 if rows else 1, :: -1 if columns else 1]
    return np.ascontiguousarray(turned)


def _read_jpeg(source: Source) -> Picture:
    from PIL import Image

    name = name_of(source)
    try:
        with warnings.catch_warnings():
            # of large pictures and odd metadata; Pillow's hard limit of pixels stays an error
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(read_bytes(source)), formats=["JPEG", "MPO"]) as picture:
                if picture.mode not in ("RGB", "L"):
                    raise FileError(f"{name}: a JPEG in {picture.mode} is not read; convert it to RGB")
                samples = np.asarray(picture)
                profile = picture.info.get("icc_profile")
                turn = picture.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, KeyError, Image.DecompressionBombError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{name}: a damaged JPEG ({error})") from error
    return _picture(name, samples, profile, turn if isinstance(turn, int) else 1)


def _read_tiff(source: Source) -> Picture:
    import tifffile

    # without a handler Python would print what tifffile logs about damaged tags
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    name, data = name_of(source), read_bytes(source)
    try:
        with warnings.catch_warnings(), tifffile.TiffFile(BytesIO(data)) as file:
            warnings.simplefilter("ignore")
            page = file.pages[0]
            kind = getattr(page.photometric, "value", page.photometric)
            if page.size > _MAX_SAMPLES or page.nbytes > _MAX_RATIO * len(data):
                raise FileError(f"{name}: a TIFF that claims {page.shape} samples in {len(data)} bytes; refused")
            if kind not in (*_GRAY, _RGB) or page.planarconfig != 1:
                raise FileError(f"{name}: a TIFF of photometric kind {kind} is not a finished RGB or gray picture")
            samples = page.asarray()
            profile = page.tags.valueof(_ICC_TAG)
            turn = page.tags.valueof(_ORIENTATION, default=1)
    except FileError:
        raise
    except Exception as error:  # tifffile raises many kinds on damaged files, and for codecs that are missing
        raise FileError(f"{name}: a TIFF that cannot be decoded ({error})") from error
    if samples.ndim not in (2, 3):
        raise FileError(f"{name}: a TIFF of shape {samples.shape} is not one picture")
    if kind == 0:
        samples = np.iinfo(samples.dtype).max - samples if samples.dtype.kind == "u" else 1 - samples  # 0 is white
    return _picture(name, samples, bytes(profile) if profile is not None else None, int(turn))
