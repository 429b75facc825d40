"""Finished pictures through a learned ISP that reads them: restoration of pictures of any size."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ispkit.core.errors import DomainError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.isp.learned.learned_isp import LearnedISP
from ispkit.isp.learned.tiles import Execution
from ispkit.ops.luma import luminance

LEAST = 64
"""px a side; smaller pictures are continued by mirrors to so many, since nets mirror at their edges themselves"""


def restore_picture(
    pixels: NDArray[np.float32], isp: LearnedISP, *, execution: Execution | None = None
) -> NDArray[np.float32]:
    """The restored picture: (H, W, 3) encoded sRGB in [0, 1] -> the same, in tiles by default.

    A gray picture, whose three channels are equal, stays gray: it gets the luma of what the net makes of it. Raises
    `DomainError` for an ISP that does not make pictures of pictures, `ShapeError`.
    """
    check_restores(isp)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape or pixels.dtype.kind != "f":
        raise ShapeError(f"a picture to restore is (H, W, 3) of numbers in [0, 1], got {pixels.dtype} {pixels.shape}")
    height, width = pixels.shape[:2]
    below, right = max(0, LEAST - height), max(0, LEAST - width)
    whole = np.pad(pixels, ((0, below), (0, right), (0, 0)), "symmetric") if below or right else pixels
    data = torch.from_numpy(np.array(whole.transpose(2, 0, 1)[None], np.float32, order="C")).clamp_(0.0, 1.0)
    frame = Frame(data, Domain.DISPLAY_RGB, CameraMeta.make("RGGB", (whole.shape[0], whole.shape[1])))
    made = isp.render(frame, execution).data[..., :height, :width]
    if is_gray(pixels):
        made = luminance(made).expand_as(made)
    out: NDArray[np.float32] = made[0].permute(1, 2, 0).contiguous().cpu().float().numpy()
    return out


def check_restores(isp: LearnedISP) -> None:
    """Raise `DomainError` unless the ISP makes finished pictures of finished pictures."""
    for side, domain in (("reads", isp.reads), ("writes", isp.writes)):
        if domain is not Domain.DISPLAY_RGB:
            raise DomainError(f"this ISP {side} {domain.value}; one that restores reads and writes display_rgb")


def is_gray(pixels: NDArray[np.float32]) -> bool:
    """Whether the three channels of (H, W, 3) are the same."""
    return bool((pixels[..., :1] == pixels[..., 1:]).all())
