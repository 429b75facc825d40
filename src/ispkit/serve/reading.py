"""A body to a frame: RAW file, dump with its geometry, or picture; its size is checked before it is decoded."""

from __future__ import annotations

import struct
import warnings
from io import BytesIO

import torch
from torch import Tensor

from ispkit.core.errors import FileError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.io.containers import identify
from ispkit.io.geometry import Facts, Geometry
from ispkit.io.libraw import declared_size
from ispkit.io.load import load
from ispkit.io.mosaic_files import NPY_SIGNATURE
from ispkit.io.png import SIGNATURE as PNG_SIGNATURE
from ispkit.report.load import load_srgb
from ispkit.serve.limits import Limits, check_pixels

_JPEG_SIGNATURE = b"\xff\xd8\xff"
_RAW_IN_JPEG = b"BRCM"
_PNG_HEAD = 24


def read_frame(data: bytes, facts: Facts | None, limits: Limits) -> Frame:
    """One frame: RAW or CAMERA_RGB of a RAW file or a dump, DISPLAY_RGB of a JPEG or PNG.

    A PNG with facts of a camera (`cfa`) is a mosaic. Raises `RefusedError` for too many pixels, `FileError`,
    `ParamError`.
    """
    if isinstance(facts, Geometry):
        check_pixels(facts.height, facts.width, limits)
    if data.startswith(PNG_SIGNATURE):
        check_pixels(*_png_size(data), limits)
        return load(data, geometry=facts) if facts is not None else _finished(data)
    if data.startswith(_JPEG_SIGNATURE) and _RAW_IN_JPEG not in data:
        check_pixels(*_jpeg_size(data), limits)
        return _finished(data)
    if not isinstance(facts, Geometry) and not data.startswith(NPY_SIGNATURE):
        identify(data)
        check_pixels(*declared_size(data), limits)
    frame = load(data, geometry=facts)
    check_pixels(*frame.size, limits)
    return frame


def display_frame(picture: Tensor) -> Frame:
    """A finished picture (1, 3, H, W), encoded sRGB in [0, 1], as a frame."""
    return Frame(picture, Domain.DISPLAY_RGB, CameraMeta.make("RGGB", picture.shape[-2:]))


def _finished(data: bytes) -> Frame:
    """A picture of a known color space as encoded sRGB; colors outside it are clipped."""
    return display_frame(torch.from_numpy(load_srgb(data)).permute(2, 0, 1)[None].contiguous())


def _png_size(data: bytes) -> tuple[int, int]:
    if len(data) < _PNG_HEAD:
        raise FileError("a truncated PNG; its header is missing")
    width, height = struct.unpack(">II", data[16:24])
    return height, width


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Height and width out of the headers alone."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data), formats=["JPEG", "MPO"]) as picture:
                return picture.height, picture.width
    except (OSError, SyntaxError, ValueError, KeyError, struct.error, Image.DecompressionBombError) as error:
        raise FileError(f"a damaged JPEG ({type(error).__name__})") from error
