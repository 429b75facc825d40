"""An inverse ISP after the in-camera model of Kim et al.: response curve, gamut mapping, matrix, white balance.

Model: encoded = f(h(T_s T_w e)), with a response curve f per channel, a gamut mapping h that moves saturated colors,
a matrix T_s to linear sRGB and white-balance gains T_w. Source: Kim, Lin, Lu, Susstrunk, Lin, Brown, "A New In-Camera
Imaging Model for Color Computer Vision and its Application", PAMI 2012; used by DiR (Guo et al. 2024) to make RAW.
The paper calibrates f and h of each camera from pairs; here they are drawn: f from a family fitted to the 201 curves
of DoRF (Grossberg, Nayar 2003), h from a one-parameter family that has an exact inverse.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ispkit.core.cfa import CfaPattern
from ispkit.core.errors import ParamError
from ispkit.core.frame import Frame
from ispkit.ops.luma import luminance
from ispkit.sensor.unprocess import Camera, Truth, check_picture, draw_camera, sensed

# Mean and covariance of (a, b, c) over the 188 of 201 DoRF curves whose fit is monotone and within 0.03 (rms).
RESPONSE_MEAN = (1.6287, 0.1817, 1.5961)
RESPONSE_COVARIANCE = ((0.4128, -0.3577, 0.4031), (-0.3577, 2.0318, -2.6651), (0.4031, -2.6651, 5.4913))
STRONGEST_GAMUT = 0.4
_TINY = 1e-6
_GRID = 256
_HALVINGS = 8
_STEPS = 30


@dataclass(frozen=True)
class Look:
    """What B cameras do to linear sRGB."""

    exponents: Tensor
    """(B, 3) a, b, c of the inverse response g(y) = y^(a + b y + c y^2)"""
    gamut: Tensor
    """(B,) how much the saturation of saturated colors is raised; 0 none"""
    inverse_curve: Tensor | None = None
    """(N,) or (B, N) samples of a measured g over y = 0 ... 1, in place of the exponents"""


def draw_look(count: int, generator: torch.Generator) -> Look:
    """Random looks: response curves as in DoRF, gamut mapping uniform in [0, 0.4]. Every curve is monotone."""
    options = {"device": generator.device, "dtype": torch.float64}
    covariance = torch.tensor(RESPONSE_COVARIANCE, dtype=torch.float64)
    normal = torch.randn(count, 3, generator=generator, **options).cpu()  # type: ignore[call-overload]
    offsets = normal @ torch.linalg.cholesky(covariance).T
    gamut = torch.rand(count, generator=generator, **options).cpu()  # type: ignore[call-overload]
    mean = torch.tensor(RESPONSE_MEAN, dtype=torch.float64)
    for _ in range(_HALVINGS):
        bent = ~is_monotone(mean + offsets)
        offsets = torch.where(bent[:, None], offsets / 2, offsets)
    return Look(mean + offsets, gamut * STRONGEST_GAMUT)


def is_monotone(exponents: Tensor) -> Tensor:
    """Whether each g of (B, 3) exponents rises everywhere, (B,)."""
    y = torch.linspace(1 / _GRID, 1, _GRID, dtype=exponents.dtype)
    return (_power(y, *(e[:, None] for e in exponents.unbind(-1))).diff(dim=-1) >= 0).all(-1)


def draw_kim(count: int, generator: torch.Generator) -> tuple[Camera, Look]:
    """Random cameras and looks."""
    return draw_camera(count, generator), draw_look(count, generator)


def unprocess_kim(picture: Tensor, camera: Camera, look: Look, *, cfa: CfaPattern = "RGGB") -> tuple[Frame, Truth]:
    """The clean mosaic behind an encoded picture (B, 3, H, W) in [0, 1], and its truth; differentiable.

    `Truth.linear` is the picture before f and h: what `neutral` makes of the mosaic.
    """
    check_picture(picture, camera)
    return sensed(undo_gamut(undo_response(picture, look), look.gamut), camera, cfa)


def render_kim(linear: Tensor, look: Look) -> Tensor:
    """f(h(x)) of linear sRGB (B, 3, H, W): the forward half that `unprocess_kim` undoes; not differentiable."""
    return respond(map_gamut(linear, look.gamut), look)


def undo_response(encoded: Tensor, look: Look) -> Tensor:
    """Encoded values -> light, both in [0, 1], the same curve for all channels."""
    y = encoded.clamp(0, 1)
    if look.inverse_curve is not None:
        return _interpolated(y, look.inverse_curve.to(y))
    a, b, c = (e.to(y).reshape(-1, 1, 1, 1) for e in look.exponents.unbind(-1))
    return torch.where(y < _TINY, torch.zeros_like(y), _power(y.clamp(min=_TINY), a, b, c))


def respond(light: Tensor, look: Look) -> Tensor:
    """Inverse of `undo_response`, by halving intervals."""
    x = light.clamp(0, 1)
    low, high = torch.zeros_like(x), torch.ones_like(x)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        below = undo_response(middle, look) < x
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def map_gamut(rgb: Tensor, amount: Tensor) -> Tensor:
    """Raise the saturation s = (max - min) / luminance to s (1 + amount s / (1 + s)); gray and luminance stay."""
    s, y = _saturation(rgb)
    return y + (rgb - y) * (1 + amount.to(rgb).reshape(-1, 1, 1, 1) * s / (1 + s))


def undo_gamut(rgb: Tensor, amount: Tensor) -> Tensor:
    """Inverse of `map_gamut`: the positive root of (1 + amount) s^2 + (1 - s') s - s' = 0."""
    mapped, y = _saturation(rgb)
    a = 1 + amount.to(rgb).reshape(-1, 1, 1, 1)
    s = (mapped - 1 + ((1 - mapped).square() + 4 * a * mapped).sqrt()) / (2 * a)
    return y + (rgb - y) * (1 + s) / (1 + a * s)


def _saturation(rgb: Tensor) -> tuple[Tensor, Tensor]:
    y = luminance(rgb)
    return (rgb.amax(1, keepdim=True) - rgb.amin(1, keepdim=True)) / y.clamp(min=_TINY), y


def _power(y: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return y ** (a + y * (b + c * y))


def _interpolated(y: Tensor, curve: Tensor) -> Tensor:
    table = curve.reshape(-1, curve.shape[-1]).expand(y.shape[0], -1)
    if table.shape[-1] < 2 or bool((table.diff(dim=-1) < 0).any()):
        raise ParamError("inverse_curve must hold two or more samples that do not fall")
    place = y.flatten(1) * (table.shape[-1] - 1)
    left = place.detach().floor().long().clamp(max=table.shape[-1] - 2)
    low, high = table.gather(1, left), table.gather(1, left + 1)
    return (low + (place - left) * (high - low)).reshape(y.shape)
