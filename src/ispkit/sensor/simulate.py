"""A sensor looking at a linear picture: color response, blur, shading, filter array, noise, quantization.

Image formation follows Diamond et al., Dirty Pixels (2021), eq. 1: y = clip(Poisson(k M B x) / k + N(0, s)).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ispkit.core.cfa import CfaPattern
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.core.opcodes import VignetteRadial
from ispkit.ops import blur, camera_color, color_spaces, temperature
from ispkit.ops.cfa import channel_sites, mosaic, spread_sites
from ispkit.ops.lens import centered, radial_gain

Matrix = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Sensor:
    """A camera's fixed facts; the default is an invented one of ordinary character."""

    name: str = "ispkit Simulated Camera"
    cfa: CfaPattern = "RGGB"
    bits: int = 14
    black_level: float = 512.0
    color_matrices: tuple[Matrix, Matrix] = (
        ((0.9602, -0.3823, -0.0410), (-0.4013, 1.2320, 0.1867), (-0.0513, 0.1498, 0.5620)),
        ((0.7866, -0.2108, -0.0555), (-0.4869, 1.2483, 0.2681), (-0.1176, 0.2069, 0.7501)),
    )
    """XYZ -> sensor RGB under 2856 K and 6504 K"""
    shot_at_iso100: float = 1.2e-4
    """S of the noise model variance = S x + O"""
    read_at_iso100: float = 2.0e-8
    """O of the noise model; grows with the square of the gain"""
    blur_px: float = 0.45
    """sigma of the lens and pixel blur"""
    vignetting: tuple[float, float, float, float, float] = (0.25, 0.10, 0.0, 0.0, 0.0)
    """gain that corrects the falloff: 1 + k0 r^2 + k1 r^4 ..., r = 1 in the corner"""

    @property
    def white_level(self) -> float:
        """Largest stored value."""
        return float(2**self.bits - 1)


def capture(
    scene: Tensor, sensor: Sensor, *, cct_k: float = 6504.0, iso: float = 100.0, exposure_ev: float = 0.0, seed: int = 0
) -> Frame:
    """A RAW frame of linear sRGB colors (1, 3, H, W) under a light of `cct_k`.

    The colors are those under D65; another light changes their white by Bradford. Same seed, same noise.
    """
    xy = temperature.cct_to_xy(torch.tensor([cct_k], dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    meta = _meta(scene, sensor, xy, cct_k, iso)
    light = color_spaces.apply_matrix(scene, _response(sensor, xy)) * 2.0**exposure_ev
    light = blur.separable(light, blur.gaussian_kernel(sensor.blur_px, 3, light)).clamp(min=0)
    rows, columns = meta.view[0].coordinates(scene.shape, light)
    dy, dx, _ = centered(rows, columns, scene.shape)
    signal = mosaic(light, sensor.cfa) / radial_gain(dy, dx, sensor.vignetting)
    generator = torch.Generator().manual_seed(seed)
    noisy = add_noise(signal, meta.noise_profile, sensor.cfa, generator)
    span = sensor.white_level - sensor.black_level
    stored = (noisy * span + sensor.black_level).round().clamp(0, sensor.white_level)
    return Frame(stored, Domain.RAW, meta)


def add_noise(signal: Tensor, profile: Tensor, cfa: str, generator: torch.Generator) -> Tensor:
    """Poisson-Gaussian noise of variance S x + O on a mosaic (B, 1, H, W); `profile` is (B, 3, 2)."""
    shot, read = (spread_sites(channel_sites(cfa, profile[..., i]), signal.shape) for i in (0, 1))
    electrons = torch.poisson(signal.clamp(min=0) / shot, generator=generator)
    return electrons * shot + torch.randn(signal.shape, generator=generator) * read.sqrt()


def _response(sensor: Sensor, xy: Tensor) -> Tensor:
    """Linear sRGB -> sensor RGB, scaled so that white under the light reads 1 in its largest channel."""
    pair, illuminants = _matrices(sensor)
    cct = temperature.xy_to_cct(xy)[0]
    camera = camera_color.interpolate_by_cct(pair, illuminants, cct)
    d65 = torch.tensor([color_spaces.D65_XY], dtype=torch.float64)
    response = camera @ color_spaces.adaptation(d65, xy) @ color_spaces.rgb_to_xyz("srgb")
    return response / response.sum(-1).amax(-1)[:, None, None]


def _meta(scene: Tensor, sensor: Sensor, xy: Tensor, cct_k: float, iso: float) -> CameraMeta:
    gain = iso / 100
    made = CameraMeta.make(
        sensor.cfa,
        scene.shape,
        black_level=sensor.black_level,
        white_level=sensor.white_level,
        color_matrices=sensor.color_matrices,
        illuminant_cct_k=(2856.0, 6504.0),
        noise_profile=[(sensor.shot_at_iso100 * gain, sensor.read_at_iso100 * gain**2)],
        iso=iso,
        exposure_time_s=0.01,
        opcodes=(VignetteRadial(stage=2, k=sensor.vignetting, center=(0.5, 0.5)),),
        exif={"Make": "ispkit", "Model": sensor.name, "ImageDescription": f"simulated scene under {cct_k:.0f} K"},
    )
    return replace(made, neutral=camera_color.xy_to_neutral(xy, *_matrices(sensor)).float())


def _matrices(sensor: Sensor) -> tuple[Tensor, Tensor]:
    pair = torch.tensor([sensor.color_matrices], dtype=torch.float64)
    return pair, torch.tensor([[2856.0, 6504.0]], dtype=torch.float64)
