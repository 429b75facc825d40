"""Finished pictures back to RAW, with the truth: the steps of a developer undone by the ISP's own maths.

Source: Brooks, Mildenhall, Xue, Chen, Sharlet, Barron, "Unprocessing Images for Learned Raw Denoising", CVPR 2019:
its ranges of gains, its highlight protection and its noise. The steps are those of the preset `neutral` backwards, so
that what was not protected comes back to rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ispkit.core.cfa import CfaPattern
from ispkit.core.errors import ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.ops.cfa import mosaic
from ispkit.ops.color_spaces import apply_matrix, linear_srgb_to, rgb_to_xyz
from ispkit.ops.encode import srgb_decode
from ispkit.sensor import laws
from ispkit.sensor.color import Response, response
from ispkit.sensor.model import Sensor

# ColorMatrix (XYZ -> sensor RGB) of four cameras, as the authors' code mixes them (google-research/unprocessing).
_XYZ_TO_CAMERA = (
    ((1.0234, -0.2969, -0.2266), (-0.5625, 1.6328, -0.0469), (-0.0703, 0.2188, 0.6406)),
    ((0.4913, -0.0541, -0.0202), (-0.6130, 1.3513, 0.2906), (-0.1564, 0.2151, 0.7183)),
    ((0.8380, -0.2630, -0.0639), (-0.2887, 1.0725, 0.2496), (-0.0627, 0.1427, 0.5438)),
    ((0.6596, -0.2079, -0.0562), (-0.4782, 1.3016, 0.1933), (-0.0970, 0.1581, 0.5181)),
)
_RED, _BLUE = (1.9, 2.4), (1.5, 1.9)
_GAIN_MEAN, _GAIN_STD = 0.8, 0.1
_GAIN_RANGE = (0.5, 1.0)  # not in the paper: a draw above 1 would darken
_PROTECTED = 0.9
_D65_CCT_K = 6504.0


@dataclass(frozen=True)
class Camera:
    """B cameras as a developer sees them."""

    to_sensor: Tensor
    """(B, 3, 3) float64, linear sRGB -> sensor RGB; white reads 1 in its largest channel"""
    color_matrix: Tensor
    """(B, 3, 3) XYZ -> sensor RGB, for the file"""
    exposure_ev: Tensor
    """(B,) what the developer adds, so that its picture is brighter than the RAW"""
    cct_k: Tensor
    """(B,) the light that `color_matrix` is for"""

    @property
    def neutral(self) -> Tensor:
        """(B, 3) the light's white in sensor RGB, largest 1."""
        white = self.to_sensor.sum(-1)
        return white / white.amax(-1, keepdim=True)

    @property
    def wb_gains(self) -> Tensor:
        """(B, 3) the white-balance gains, smallest 1."""
        return 1 / self.neutral

    def response(self) -> Response:
        """As `simulate.expose` takes it; the forward matrix makes a developer undo `to_sensor` exactly."""
        to_srgb = torch.linalg.inv(self.to_sensor / self.neutral[..., None])
        forward = linear_srgb_to("xyz").to(to_srgb) @ to_srgb
        pair = [t[:, None].expand(-1, 2, -1, -1) for t in (self.color_matrix, forward)]
        cct = self.cct_k
        return Response(self.to_sensor, self.neutral, pair[0], cct[:, None].expand(-1, 2), cct, pair[1])


@dataclass(frozen=True)
class Truth:
    """What is behind the RAW of a finished picture."""

    camera: Camera
    linear: Tensor
    """(B, 3, H, W) linear sRGB in [0, 1] before the tone curve, with the developer's exposure"""
    sensor_rgb: Tensor
    """(B, 3, H, W) sensor RGB at full resolution, before the filter array; white level 1, not clipped"""

    def facts(self, index: int = 0) -> dict[str, Any]:
        """Numbers of one picture, for JSON."""
        camera = self.camera
        return {
            "wb_gains": camera.wb_gains[index].tolist(),
            "neutral": camera.neutral[index].tolist(),
            "linear_srgb_to_sensor": camera.to_sensor[index].tolist(),
            "color_matrix": camera.color_matrix[index].tolist(),
            "exposure_ev": float(camera.exposure_ev[index]),
        }


def draw_camera(count: int, generator: torch.Generator) -> Camera:
    """Random cameras: a mix of four color matrices, red gain 1.9-2.4, blue 1.5-1.9, digital gain about 1 / 0.8."""
    matrices = torch.tensor(_XYZ_TO_CAMERA, dtype=torch.float64)
    share = _uniform((count, len(matrices)), 0.0, 1.0, generator)
    color_matrix = torch.einsum("bn,nij->bij", share / share.sum(-1, keepdim=True), matrices)
    red, blue = (_uniform((count,), *span, generator) for span in (_RED, _BLUE))
    gains = torch.stack([red, torch.ones_like(red), blue], -1)
    drawn = torch.randn(count, generator=generator, device=generator.device, dtype=torch.float64).cpu()
    darker = (_GAIN_MEAN + _GAIN_STD * drawn).clamp(*_GAIN_RANGE)
    balanced = color_matrix @ rgb_to_xyz("srgb")
    balanced = balanced / balanced.sum(-1, keepdim=True)
    cct = torch.full((count,), _D65_CCT_K, dtype=torch.float64)
    return Camera(balanced / gains[..., None], color_matrix, -darker.log2(), cct)


def camera_of(sensor: Sensor, cct_k: float | Tensor = _D65_CCT_K, exposure_ev: float | Tensor = 0.0) -> Camera:
    """A sensor's own colors under lights of `cct_k`, scalar or (B,)."""
    colors = response(sensor, cct_k)
    matrix = colors.color_matrices[:, 0]
    ev = laws.as_batch(exposure_ev).expand(len(colors.cct_k))
    own = Camera(colors.matrix, matrix, ev, colors.cct_k)
    scale = colors.matrix.sum(-1).amax(-1)[:, None, None]
    return replace(own, to_sensor=colors.matrix / scale)


def draw_noise(count: int, generator: torch.Generator) -> Tensor:
    """S and O per color (count, 3, 2) as Brooks et al. draw them.

    log S is uniform in [log 1e-4, log 0.012], log O = 2.18 log S + 1.20 + N(0, 0.26).
    """
    shot = _uniform((count,), math.log(1e-4), math.log(0.012), generator)
    scatter = torch.randn(count, generator=generator, device=generator.device, dtype=torch.float64).cpu()
    read = 2.18 * shot + 1.20 + 0.26 * scatter
    return torch.stack([shot, read], -1).exp()[:, None].expand(-1, 3, -1)


def unprocess(
    picture: Tensor, camera: Camera, *, cfa: CfaPattern = "RGGB", protect: bool = True, smoothstep: bool = False
) -> tuple[Frame, Truth]:
    """The clean mosaic that a camera would have seen, and the truth behind it; differentiable in the picture.

    Args:
        picture: (B, 3, H, W) encoded sRGB in [0, 1].
        camera: of B pictures, or of one for all.
        cfa: pattern of the mosaic.
        protect: bright pixels keep their level, so that white is white in the RAW; a white balance then clips them
            again, and what is between 0.9 and 1 does not come back exactly.
        smoothstep: also undo the tone curve 3 x^2 - 2 x^3 of the paper, which `neutral` does not have.

    Returns:
        `Frame(MOSAIC)` without noise, and `Truth`. Negative colors of the sensor are kept.
    """
    check_picture(picture, camera)
    light = inverse_smoothstep(picture) if smoothstep else picture
    linear = srgb_decode(light)
    return sensed(linear, camera, cfa, protect=protect)


def sensed(linear: Tensor, camera: Camera, cfa: CfaPattern, *, protect: bool = False) -> tuple[Frame, Truth]:
    """The last steps, of linear sRGB (B, 3, H, W): exposure, matrix, gains, filter array."""
    matrix = camera.to_sensor / camera.neutral[..., None]
    balanced = apply_matrix(linear, matrix.to(linear.device))
    gains = camera.neutral * (-camera.exposure_ev).exp2()[:, None]
    sensor_rgb = undo_gains(balanced, gains.to(linear), protect=protect)
    return (
        Frame(mosaic(sensor_rgb, cfa), Domain.MOSAIC, _meta(sensor_rgb, camera, cfa)),
        Truth(camera, linear, sensor_rgb),
    )


def undo_gains(balanced: Tensor, factors: Tensor, *, protect: bool = True) -> Tensor:
    """Multiply (B, 3, H, W) with `factors` (1 or B, 3) of at most 1, but leave highlights as they are.

    With m = (max(gray - 0.9, 0) / 0.1)^2, gray the mean of the colors, a pixel's factor is
    max(m + (1 - m) factor, factor).
    """
    f = factors[..., None, None]
    if not protect:
        return balanced * f
    gray = balanced.mean(1, keepdim=True)
    mask = ((gray - _PROTECTED).clamp(min=0) / (1 - _PROTECTED)).square()
    return balanced * torch.maximum(mask + (1 - mask) * f, f)


def inverse_smoothstep(encoded: Tensor) -> Tensor:
    """Solve y = 3 x^2 - 2 x^3 for x in [0, 1]."""
    return 0.5 - torch.sin(torch.asin(1 - 2 * encoded.clamp(0, 1)) / 3)


def check_picture(picture: Tensor, camera: Camera) -> None:
    """Raise `ShapeError` unless the picture is (B, 3, H, W) of as many as the camera, or of any number for one."""
    count = len(camera.exposure_ev)
    if picture.ndim != 4 or picture.shape[1] != 3 or count not in (1, picture.shape[0]):
        raise ShapeError(f"pictures (B, 3, H, W) go with 1 or B cameras, got {tuple(picture.shape)} and {count}")


def _meta(image: Tensor, camera: Camera, cfa: CfaPattern) -> CameraMeta:
    size, batch = (int(image.shape[-2]), int(image.shape[-1])), int(image.shape[0])
    made, colors = CameraMeta.make(cfa, size).select([0] * batch), camera.response()
    facts = {
        "neutral": colors.neutral,
        "color_matrices": colors.color_matrices,
        "forward_matrices": colors.forward_matrices,
        "illuminant_cct_k": colors.illuminant_cct_k,
        "baseline_exposure": camera.exposure_ev,
    }
    shared: dict[str, Any] = {name: fact.float().expand(batch, *fact.shape[1:]) for name, fact in facts.items()}
    return replace(made, **shared).map(lambda t: t.to(image.device))


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)
    return low + (high - low) * drawn.cpu()
