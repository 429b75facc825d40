"""What a sensor's color filters make of a scene's colors under a light."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, nearest
from ispkit.ops import camera_color, color_spaces, temperature
from ispkit.sensor import laws
from ispkit.sensor.model import Sensor

CALIBRATED_CCT_K = (2856.0, 6504.0)
"""of `Sensor.color_matrices`"""


@dataclass(frozen=True)
class Response:
    """Colors under one light per picture; all float64."""

    matrix: Tensor
    """(B, 3, 3) linear sRGB (D65) -> sensor RGB; white reads 1 in its largest channel"""
    neutral: Tensor
    """(B, 3) the light's white in sensor RGB, largest 1"""
    color_matrices: Tensor
    """(B, 2, 3, 3) XYZ -> sensor RGB, for the file"""
    illuminant_cct_k: Tensor
    """(B, 2) of these matrices"""
    cct_k: Tensor
    """(B,) of the light"""
    forward_matrices: Tensor
    """(B, 2, 3, 3) white-balanced sensor RGB -> XYZ D50, for the file; zeros: none"""


def response(sensor: Sensor, cct_k: float | Tensor = 6504.0, light: str | None = None) -> Response:
    """The sensor's colors under lights of `cct_k`, or under the light of `sensor.lights` with that name.

    The scene's colors are those under D65; another light changes their white by Bradford adaptation. Raises
    `ParamError` for a light that the sensor does not know.
    """
    cct = laws.as_batch(cct_k)
    if light is not None:
        return _under(sensor, _named(sensor, light).expand(len(cct), -1))
    if sensor.lights:
        return _under(sensor, laws.by_light([known.cct_k for known in sensor.lights], cct))
    xy = temperature.cct_to_xy(cct, torch.zeros_like(cct))
    pair = torch.tensor([sensor.color_matrices], dtype=torch.float64)
    lights = torch.tensor([CALIBRATED_CCT_K], dtype=torch.float64)
    matrix = camera_color.interpolate_by_cct(pair, lights, temperature.xy_to_cct(xy)[0])
    neutral = camera_color.xy_to_neutral(xy, pair, lights)
    count = len(cct)
    return Response(
        _from_srgb(matrix, xy),
        neutral,
        pair.expand(count, -1, -1, -1),
        lights.expand(count, -1),
        cct,
        torch.zeros(count, 2, 3, 3, dtype=torch.float64),
    )


def _named(sensor: Sensor, name: str) -> Tensor:
    names = [known.name for known in sensor.lights]
    if name not in names:
        hint = nearest(name, names) if names else "it knows none by name; give a color temperature"
        raise ParamError(f"sensor {sensor.name!r} knows no light {name!r}; {hint}")
    return torch.eye(len(names), dtype=torch.float64)[names.index(name)][None]


def _under(sensor: Sensor, weights: Tensor) -> Response:
    """The measured lights mixed by `weights` (B, N)."""
    matrices = torch.tensor([known.color_matrix for known in sensor.lights], dtype=torch.float64)
    neutrals = torch.tensor([known.neutral for known in sensor.lights], dtype=torch.float64)
    whites = torch.linalg.solve(matrices, neutrals[..., None])[..., 0]
    whites = weights @ (whites / whites[:, 1:2])
    matrix = torch.einsum("bn,nij->bij", weights, matrices)
    neutral = (matrix @ whites[..., None])[..., 0]
    mired = weights @ torch.tensor([1e6 / known.cct_k for known in sensor.lights], dtype=torch.float64)
    cct = 1e6 / mired
    return Response(
        _from_srgb(matrix, whites[:, :2] / whites.sum(-1, keepdim=True)),
        neutral / neutral.amax(-1, keepdim=True),
        matrix[:, None].expand(-1, 2, -1, -1),
        cct[:, None].expand(-1, 2),
        cct,
        torch.zeros(len(cct), 2, 3, 3, dtype=torch.float64),
    )


def _from_srgb(color_matrix: Tensor, xy: Tensor) -> Tensor:
    d65 = torch.tensor([color_spaces.D65_XY], dtype=torch.float64)
    matrix = color_matrix @ color_spaces.adaptation(d65, xy) @ color_spaces.rgb_to_xyz("srgb")
    return matrix / matrix.sum(-1).amax(-1)[:, None, None]
