"""`Display` and `Camera`: what a screen and a camera must do to stand in the loop, and nothing more.

Positions on a picture are (x, y) in pixels with the origin at its top-left corner: pixel (0, 0) covers
[0, 1) x [0, 1), its center is (0.5, 0.5), and the border between columns k - 1 and k lies at x = k.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import DomainError, IspkitError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.io.read_pictures import read_picture
from ispkit.ops.cfa import cfa_masks, spread_sites
from ispkit.ops.encode import srgb_decode

Codes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Encoded = Tensor | NDArray[Any] | str | PathLike[str]
"""(3, H, W) code values in [0, 1], (H, W, 3) uint8, or a picture file"""
_BINOMIAL = np.outer((1, 2, 1), (1, 2, 1)).astype(np.float32) / 8  # green sites are every other one


class DeviceError(IspkitError, RuntimeError):
    """A screen or a camera does not do what it should; the message says which, what it did, and what helps."""


class Display(Protocol):
    """A screen, a printer, or something that stands for one."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels that the camera may see."""

    def show(self, encoded: Encoded) -> None:
        """Show a picture of at most `size`, unscaled and centered; return only when it can be seen.

        Raises `DeviceError` if that cannot be said, `ShapeError` for a picture of the wrong size.
        """


class Camera(Protocol):
    """Anything that takes a picture when it is told to."""

    def capture(self) -> Frame:
        """One picture of what is there now: RAW, or finished (DISPLAY_RGB). Raises `DeviceError`."""


def as_codes(encoded: Encoded) -> Codes:
    """A picture as (H, W, 3) uint8. Raises `ShapeError`, `FileError`."""
    if isinstance(encoded, str | PathLike):
        pixels: NDArray[Any] = read_picture(Path(encoded)).pixels
    elif isinstance(encoded, Tensor):
        pixels = encoded.detach().cpu().numpy()
        pixels = pixels.transpose(1, 2, 0) if pixels.ndim == 3 and pixels.shape[0] == 3 else pixels
    else:
        pixels = encoded
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ShapeError(f"a screen shows one picture (3, H, W) or (H, W, 3), got {tuple(pixels.shape)}")
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    return np.ascontiguousarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def centered_on(codes: Codes, size: tuple[int, int], who: str) -> Codes:
    """The picture in the middle of a black screen of `size`. Raises `ShapeError` if it does not fit."""
    (height, width), (h, w) = size, codes.shape[:2]
    if h > height or w > width:
        raise ShapeError(f"the picture has {h}x{w} pixels, {who} shows {height}x{width}; make it smaller")
    if (h, w) == (height, width):
        return codes
    top, left = (height - h) // 2, (width - w) // 2
    screen = np.zeros((height, width, 3), np.uint8)
    screen[top : top + h, left : left + w] = codes
    return screen


def green_light(frame: Frame) -> Floats:
    """Linear green (H, W) of a capture in any domain, black near 0: what Gray codes are read from.

    Of a mosaic every pixel is a binomial mean of the green sites around it, which has the same width along
    rows and columns on all sites, so that edges do not jump from site to site.
    Raises `DomainError` for a batch.
    """
    if frame.batch != 1:
        raise DomainError(f"a capture is one frame, got a batch of {frame.batch}")
    data = frame.data
    if frame.domain is Domain.RAW:
        black, white = (spread_sites(level.to(data), frame.size) for level in _levels(frame))
        data = (data - black) / (white - black)
    if frame.domain.channels == 1:
        greens = (data * cfa_masks(frame.size, frame.meta.cfa, data)[1])[0, 0].float().cpu().numpy()
        return np.asarray(cv2.filter2D(greens, -1, _BINOMIAL, borderType=cv2.BORDER_REFLECT_101))
    green = data[0, 1].float()
    return np.asarray((srgb_decode(green) if frame.domain is Domain.DISPLAY_RGB else green).cpu().numpy())


def picture_frame(pixels: NDArray[Any]) -> Frame:
    """A finished picture (H, W, 3) in [0, 1] as a DISPLAY_RGB frame without facts about its camera."""
    data = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32))[None]
    return Frame(data, Domain.DISPLAY_RGB, CameraMeta.make("RGGB", data.shape))


def _levels(frame: Frame) -> tuple[Tensor, Tensor]:
    return frame.meta.black_level, frame.meta.white_level
