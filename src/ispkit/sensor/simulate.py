"""A sensor looking at a linear picture: color response, blur, shading, filter array, noise, quantization.

Image formation follows Diamond et al., Dirty Pixels (2021), eq. 1: y = clip(Poisson(k M B x) / k + N(0, s)),
with what a data sheet adds to it: falloff, PRNU, dark current, row noise, defects.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta, View
from ispkit.core.opcodes import Opcode, VignetteRadial
from ispkit.core.profile import PsfGrid
from ispkit.ops import color_spaces
from ispkit.ops.cfa import channel_sites, mosaic, spread_sites
from ispkit.ops.lens import centered, radial_gain
from ispkit.ops.values import per_image
from ispkit.sensor import laws, noise, optics
from ispkit.sensor.color import Response, response
from ispkit.sensor.model import Defect, Sensor, SiteShading

__all__ = [
    "Defect",
    "Sensor",
    "Shot",
    "SiteShading",
    "add_noise",
    "capture",
    "expected_signal",
    "expose",
    "quantize",
    "readout",
]


def capture(
    scene: Tensor,
    sensor: Sensor,
    *,
    cct_k: float | Tensor = 6504.0,
    iso: float | Tensor = 100.0,
    exposure_ev: float | Tensor = 0.0,
    seed: int = 0,
    light: str | None = None,
    exposure_time_s: float = 0.01,
    psf: PsfGrid | Tensor | None = None,
    space: Literal["srgb", "sensor"] = "srgb",
    draw: noise.Draw = "poisson",
    generator: torch.Generator | None = None,
) -> Frame:
    """RAW frames of linear colors (B, 3, H, W), 1 = white, on the device of the scene.

    The colors are those under D65; another light changes their white by Bradford. Same seed, same noise.

    Args:
        scene: what fills the whole sensor; one picture goes with any number of settings.
        sensor: the camera.
        cct_k: color temperature of the light, scalar or (B,).
        iso: gain, scalar or (B,); it changes noise and levels, not the brightness.
        exposure_ev: +1 doubles the light, scalar or (B,).
        seed: of the noise, where no `generator` is given.
        light: name of one of `sensor.lights`, in place of `cct_k`.
        exposure_time_s: for the dark current, and for the file.
        psf: in place of the sensor's own blur: a grid, or one kernel (1 or 3, k, k).
        space: "sensor" says that the scene's channels are already the sensor's R, G, B.
        draw: "poisson", "normal" (faster) or "none" (no noise that changes between pictures).
        generator: on the scene's device; it goes on from call to call.
    """
    batch = _batch(scene, cct_k, iso, exposure_ev)
    shot = Shot(sensor, response(sensor, _spread(cct_k, batch), light), _spread(iso, batch), exposure_time_s)
    seen = (scene * per_image(exposure_ev, scene).exp2()).expand(batch, -1, -1, -1)
    if space == "srgb":
        seen = color_spaces.apply_matrix(seen, shot.colors.matrix)
    elif space != "sensor":
        raise ParamError(f"space={space!r} is neither 'srgb' nor 'sensor'")
    chance = generator or torch.Generator(scene.device).manual_seed(seed)
    return expose(seen, shot, chance, psf=psf, draw=draw)


@dataclass(frozen=True)
class Shot:
    """A sensor and the settings of B pictures."""

    sensor: Sensor
    colors: Response
    iso: Tensor
    """(B,)"""
    exposure_time_s: float


def expose(
    light: Tensor,
    shot: Shot,
    generator: torch.Generator,
    *,
    psf: PsfGrid | Tensor | None = None,
    draw: noise.Draw = "poisson",
) -> Frame:
    """RAW frames of sensor colors (B, 3, H, W): lens, pixels, readout, quantization."""
    signal = expected_signal(light, shot, psf)
    stored = quantize(readout(signal, shot, generator, noise.check_draw(draw)), shot)
    return Frame(stored, Domain.RAW, _meta(light, shot))


def expected_signal(light: Tensor, shot: Shot, psf: PsfGrid | Tensor | None = None) -> Tensor:
    """The mean signal (B, 1, H, W), black 0, white 1, of sensor colors (B, 3, H, W); not clipped.

    Blur, filter array, falloff, then the pixels' own response.
    """
    sensor, view = shot.sensor, View((int(light.shape[-2]), int(light.shape[-1])))
    image = optics.blur_image(light, sensor.blur_px, psf if psf is not None else sensor.psf)
    signal = mosaic(image, sensor.cfa)
    if any(sensor.vignetting):
        dy, dx, _ = centered(*view.coordinates(light.shape, light), light.shape[-2:])
        signal = signal / radial_gain(dy, dx, sensor.vignetting)
    if sensor.shading:
        signal = signal / optics.falloff(sensor.shading, shot.colors.cct_k, view, signal)
    if sensor.prnu:
        signal = signal * noise.response_pattern(signal, sensor.prnu, sensor.serial)
    return noise.weaken_dead(signal, sensor.defects, view)


def readout(signal: Tensor, shot: Shot, generator: torch.Generator, draw: noise.Draw = "poisson") -> Tensor:
    """What the electronics make of a mean signal (B, 1, H, W): dark current, noise, lines, stuck pixels."""
    sensor, view = shot.sensor, View((int(signal.shape[-2]), int(signal.shape[-1])))
    scale, read = _noise_fields(sensor.noise_at(shot.iso), sensor.cfa, signal)
    dark = noise.dark_electrons(signal, sensor.dark_current_e_s, sensor.defects, view)
    if dark is not None:
        signal = signal + scale * dark * shot.exposure_time_s
    noisy = noise.poisson_gaussian(signal, scale, read, generator, draw)
    if sensor.row_noise and draw != "none":
        noisy = noisy + noise.row_offsets(noisy, sensor.row_noise_at(shot.iso), generator)
    if sensor.column_pattern:
        noisy = noisy + noise.column_offsets(noisy, sensor.column_pattern, sensor.serial)
    return noise.hold_stuck(noisy, sensor.defects, view)


def quantize(signal: Tensor, shot: Shot) -> Tensor:
    """Stored whole numbers (B, 1, H, W) between 0 and the white level of a signal in [0, 1]."""
    black = spread_sites(shot.sensor.black_at(shot.iso, shot.exposure_time_s).to(signal), signal.shape)
    white = shot.sensor.white_level
    return torch.addcmul(black, signal, white - black).round_().clamp_(0, white)


def add_noise(signal: Tensor, profile: Tensor, cfa: str, generator: torch.Generator) -> Tensor:
    """Poisson-Gaussian noise of variance S x + O on a mosaic (B, 1, H, W); `profile` is (B, 3, 2)."""
    return noise.poisson_gaussian(signal, *_noise_fields(profile, cfa, signal), generator)


def _noise_fields(profile: Tensor, cfa: str, signal: Tensor) -> tuple[Tensor, Tensor]:
    """S and O at each pixel, or (B, 1, 1, 1) where all colors have the same."""
    own = profile.to(signal)
    if profile.device.type == "cpu" and bool((profile == profile[:, :1]).all()):
        return own[:, 0, 0, None, None, None], own[:, 0, 1, None, None, None]
    shot, read = (spread_sites(channel_sites(cfa, own[..., i]), signal.shape) for i in (0, 1))
    return shot, read


def _meta(scene: Tensor, shot: Shot) -> CameraMeta:
    sensor, colors, batch = shot.sensor, shot.colors, len(shot.iso)
    black = sensor.black_at(shot.iso, shot.exposure_time_s)
    profile = sensor.noise_at(shot.iso)
    step = 1 / (sensor.white_level - black.mean(-1))
    profile[..., 1] += step.square()[:, None] / 12  # rounding is noise, too
    size = (int(scene.shape[-2]), int(scene.shape[-1]))
    made = CameraMeta.make(sensor.cfa, size, white_level=sensor.white_level, exposure_time_s=shot.exposure_time_s)
    facts: dict[str, Any] = {
        "black_level": black,
        "noise_profile": profile,
        "iso": shot.iso,
        "neutral": colors.neutral,
        "color_matrices": colors.color_matrices,
        "forward_matrices": colors.forward_matrices,
        "illuminant_cct_k": colors.illuminant_cct_k,
    }
    exif = [
        {"Make": "ispkit", "Model": sensor.name, "ImageDescription": f"simulated scene under {cct:.0f} K"}
        for cct in colors.cct_k.tolist()
    ]
    opcodes = tuple(_corrections(sensor, cct[None], size) for cct in colors.cct_k)
    meta = replace(made.select([0] * batch), exif=tuple(exif), opcodes=opcodes)
    return replace(meta, **{name: fact.float() for name, fact in facts.items()}).map(lambda t: t.to(scene.device))


def _corrections(sensor: Sensor, cct_k: Tensor, size: tuple[int, int]) -> tuple[Opcode, ...]:
    """The falloff as the file tells it to a developer."""
    radial = (VignetteRadial(stage=2, k=sensor.vignetting, center=(0.5, 0.5)),) if any(sensor.vignetting) else ()
    return (*radial, *(optics.gain_maps(sensor.shading, cct_k, size) if sensor.shading else ()))


def _batch(scene: Tensor, *settings: float | Tensor) -> int:
    if scene.ndim != 4 or scene.shape[1] != 3:
        raise ShapeError(f"a scene is (B, 3, H, W), got {tuple(scene.shape)}")
    counts = {int(scene.shape[0]), *(int(s.numel()) for s in settings if isinstance(s, Tensor))} - {1}
    if len(counts) > 1:
        raise ShapeError(f"{sorted(counts)} pictures and settings do not fit together; use 1 or one number for all")
    return counts.pop() if counts else 1


def _spread(value: float | Tensor, batch: int) -> Tensor:
    return laws.as_batch(value).expand(batch)
