"""What a network is asked to make of a RAW file: the restored picture, and the finished one.

Restored: demosaiced, denoised, white-balanced linear light in known primaries, as dcraw makes it for Liang et al. 2021
(CameraNet), section IV-A. Finished: the camera's own picture, a recipe's, or that of `auto_enhance`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ispkit.core.errors import DomainError, ParamError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.recipe import from_recipe
from ispkit.ops.adjust import saturation
from ispkit.ops.encode import srgb_decode, srgb_encode
from ispkit.ops.local_laplacian import tone_map
from ispkit.ops.luma import luminance

_TINY = 1e-6


@dataclass(frozen=True)
class AutoEnhance:
    """How much `auto_enhance` does."""

    share: float = 0.005
    """of the pixels that may become black, and white"""
    black: float = 0.05
    """what may be subtracted, at most, of the light that becomes white"""
    gain: float = 16.0
    """the light is multiplied by, at most"""
    local: float = 0.7
    """slope of edges about mid gray; less than 1 lifts shadows and holds lights"""
    detail: float = 0.9
    """exponent of details; less than 1 raises them"""
    vibrance: float = 0.25
    """colors are raised by up to this share, weak ones most"""


def restoration_pipeline(method: str = "menon2007", *, denoise: float = 0.0) -> Pipeline:
    """RAW or MOSAIC -> LINEAR_RGB: levels, bad pixels, shading, white balance, demosaicing, color matrix.

    No exposure and no curve: white is 1. `denoise` is the strength of the RAW denoiser, 0 (off) to 1, by the file's
    noise profile. Raises `ParamError` for an unknown `method` of demosaicing.
    """
    if not 0 <= denoise <= 1:
        raise ParamError(f"denoise={denoise} is outside [0, 1]")
    quiet = [{"raw_denoise": {"luma": denoise, "chroma": denoise}}] if denoise else []
    stages = ["linearize", "defect_pixels", "lens_shading", *quiet, {"white_balance": {"mode": "as_shot"}}]
    stages += [{"highlights": {"mode": "clip"}}, {"demosaic": {"method": method}}, "color_matrix"]
    return from_recipe({"version": 1, "stages": stages}, where="restoration")


def restored(frame: Frame, *, denoise: float = 0.0, method: str = "menon2007") -> Frame:
    """The restored picture (LINEAR_RGB, linear sRGB in [0, 1]) of a RAW frame of little noise."""
    pipeline = restoration_pipeline(method, denoise=denoise)
    if frame.domain not in (Domain.RAW, Domain.MOSAIC, Domain.CAMERA_RGB):
        raise DomainError(f"a restored picture is made of RAW, got a {frame.domain.value} frame")
    linear = pipeline(frame)
    return linear.with_data(linear.data.clamp(0, 1))


def finished(linear: Frame, recipe: Pipeline) -> Frame:
    """What the part of a recipe after the color matrix makes of a LINEAR_RGB frame, DISPLAY_RGB in [0, 1]."""
    linear.expect(Domain.LINEAR_RGB, "finished")
    if recipe.writes is not Domain.DISPLAY_RGB:
        raise DomainError(f"a finished picture is display_rgb, this recipe writes {recipe.writes.value}")
    shown = recipe(linear)
    return shown.with_data(shown.data.clamp(0, 1))


def auto_enhance(linear: Tensor, settings: AutoEnhance | None = None) -> Tensor:
    """Linear sRGB (B, 3, H, W) -> a finished picture, encoded sRGB in [0, 1]: a free "auto" button.

    Liang et al. 2021 finish the pictures of SID by Photoshop's auto-enhancement, which is not published; this stands in
    for it and is documented whole. Each picture by itself: percentiles of its luminance are stretched to [0, 1]
    within limits, a local Laplacian filter lifts shadows and raises details, weak colors are raised, sRGB encodes. Same
    picture, same result; the percentiles are those of the whole picture, so crop afterwards.
    """
    s = settings or AutoEnhance()
    low, high = _percentiles(luminance(linear), s.share)
    black = torch.minimum(low, s.black * high).clamp(min=0)
    gain = (1 / (high - black).clamp(min=_TINY)).clamp(1 / s.gain, s.gain)
    light = ((linear - black[:, None, None, None]) * gain[:, None, None, None]).clamp(min=0)
    toned = tone_map(light, alpha=s.detail, beta=s.local)
    return srgb_encode(saturation(toned, 1.0, s.vibrance))


def finished_pictures(pictures: Mapping[str, Tensor], recipe: Pipeline | None = None) -> dict[str, Tensor]:
    """Targets of another look for finished pictures (1, 3, H, W), encoded sRGB or uint8.

    Their light is finished anew, by the part of a recipe after the color matrix, or by `auto_enhance`.
    """
    made = {}
    for name, picture in pictures.items():
        linear = srgb_decode(picture.float() / 255 if picture.dtype == torch.uint8 else picture)
        if recipe is None:
            made[name] = auto_enhance(linear)
        else:
            made[name] = finished(linear_frame(linear), recipe).data
    return made


def linear_frame(linear: Tensor) -> Frame:
    """Linear sRGB (B, 3, H, W) as a frame that no camera stands behind."""
    meta = CameraMeta.make("RGGB", linear.shape).select([0] * len(linear))
    return Frame(linear, Domain.LINEAR_RGB, meta)


def _percentiles(plane: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The values (B,) that `share` of each plane (B, 1, H, W) lies below, and above."""
    if not 0 <= share < 0.5:
        raise ParamError(f"share={share} of saturated pixels is outside [0, 0.5)")
    values = plane.flatten(1)
    last = values.shape[1] - 1
    # torch.quantile refuses more than 16 million values
    return values.kthvalue(round(share * last) + 1).values, values.kthvalue(round((1 - share) * last) + 1).values
