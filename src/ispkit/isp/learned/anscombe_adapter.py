"""The adapter of Anscombe networks: any filter array in, as planes that say what the noise of each photosite is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError, nearest
from ispkit.core.frame import Domain, Frame
from ispkit.isp.learned.adapters import Exposure, exposed, mosaic_of
from ispkit.nets.anscombe import PLANES
from ispkit.ops import anscombe
from ispkit.ops.camera_color import camera_to_linear_srgb
from ispkit.ops.cfa import cfa_masks
from ispkit.ops.color_spaces import apply_matrix
from ispkit.ops.encode import srgb_encode
from ispkit.sensor.catalog import load_sensor
from ispkit.sensor.light import LightLaw, blind_light_level, blind_profile, light_law
from ispkit.sensor.model import Sensor

Noise = Literal["profile", "iso", "blind", "auto", "none"]
Colors = Literal["net", "matrix"]
Curve = Literal["srgb", "none"]
_CHOICES = {
    "noise": ("profile", "iso", "blind", "auto", "none"),
    "colors": ("net", "matrix"),
    "curve": ("srgb", "none"),
}
_TOP_SLOPE = 1.055 / 2.4
_LOW_SLOPE = 12.92
_LEAST = 1e-12


@dataclass(frozen=True)
class AnscombeAdapter:
    """Eight planes of a mosaic at full size, as `nets.anscombe.AnscombeNet` reads them; Bayer or Quad Bayer.

    `balance` multiplies each color by 1 / as-shot neutral and saturates at 1; noise follows (S -> g S, O -> g^2 O), per
    photosite, as through a noise map. `exposure="baseline"` is that of `PackedAdapter`.

    `noise`: "profile" reads the frame's own, and refuses frames that have none; "iso" takes what was measured of
    `sensor` at the frame's ISO, as the paper does; "blind" tells the light level from the pixels by the linear law of
    `sensor` (`sensor.light`), whatever the frame says; "auto" is "profile" for a batch that has one, else "blind";
    "none" calls the mosaic free of noise, so that stabilizing changes nothing.

    The net works in linear light of the sensor's colors, as its projection compares it with what was measured.
    `curve="srgb"` encodes its picture afterwards ("none": the numbers are the picture, as where Dirty Pixels takes sRGB
    for light). `colors="net"` takes what it makes for sRGB, as the other adapters do: the net learns one camera's
    colors. `colors="matrix"` applies each frame's own color matrix after the net, before the curve, so that one net
    serves any camera; a matrix is a fact of the file, so an exported graph then ends before both.
    """

    whole: ClassVar[bool] = True
    """low and range are those of the whole picture, so a window cannot be rendered from itself alone"""
    writes: Domain = Domain.DISPLAY_RGB
    exposure: Exposure = "none"
    balance: bool = True
    noise: Noise = "profile"
    sensor: str = ""
    colors: Colors = "net"
    curve: Curve = "srgb"
    reads: Domain = Domain.MOSAIC
    channels: int = PLANES

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise ParamError(f"{name}={value!r} is unknown; {nearest(value, known)}")
        if self.noise in ("iso", "blind", "auto"):
            _known(self.noise, self.sensor)

    @property
    def gathers(self) -> str:
        """In words."""
        planes = (
            "mosaic (black 0, white 1), masks of R, G, B, S and O of the noise variance S x + O of each photosite, "
        )
        ends = "min with 0 and range of the whole mosaic after the generalized Anscombe transform"
        scaled = ["balanced by the as-shot neutral"] if self.balance else []
        scaled += ["multiplied by 2^baseline_exposure"] if self.exposure == "baseline" else []
        cut = f"; {' and '.join(scaled)}, cut at 1" if scaled else ""
        after = (
            "; the picture is linear in the sensor's colors, matrix and curve follow" if self.colors != "net" else ""
        )
        return planes + ends + cut + after

    def gather(self, frame: Frame) -> Tensor:
        """(B, 8, H, W). Raises `DomainError`, `ShapeError`."""
        linear = mosaic_of(frame, "AnscombeAdapter")
        masks = color_masks(linear)
        profile = self._profile(linear, masks)
        lit = exposed(linear.with_data(linear.data, noise_profile=profile), self.exposure)
        mosaic, shot, read = lit.data, *_spread(lit.meta.noise_profile, masks)
        if lit.meta.noise_map is not None:
            gain = lit.meta.noise_map.to(mosaic)
            shot, read = shot * gain, read * gain.square()
        if self.balance:
            gain = (masks * _gains(lit).to(mosaic)[..., None, None]).sum(1, keepdim=True)
            mosaic, shot, read = (mosaic * gain).clamp(max=1.0), shot * gain, read * gain.square()
        stable = anscombe.forward(mosaic, shot, read)
        low = stable.amin((-2, -1), keepdim=True).clamp(max=0.0)
        extent = (stable.amax((-2, -1), keepdim=True) - low).clamp(min=_LEAST)
        wide = (len(mosaic), -1, *mosaic.shape[-2:])
        return torch.cat([p.expand(wide) for p in (mosaic, masks, shot, read, low, extent)], 1)

    def enter(self, x: Tensor) -> Tensor:
        """The planes as they are."""
        return x

    def leave(self, out: Tensor) -> Tensor:
        """The curve, where no matrix stands before it; straight past black and white, so that a net can learn there."""
        return out if self.colors == "matrix" else self._encoded(out)

    def place(self, picture: Tensor, frame: Frame) -> Frame:
        """Cut to the frame, and in its colors where its matrix is to be applied."""
        height, width = frame.size
        picture = picture[..., :height, :width]
        m = frame.meta
        if self.colors == "matrix":
            gains = m.wb_gains * _gains(frame) if self.balance else m.wb_gains
            known = (m.neutral, gains, m.color_matrices, m.forward_matrices, m.illuminant_cct_k)
            # in float64, as the classical stage: the temperature is searched for in small steps
            matrix = camera_to_linear_srgb(*(t.double() for t in known))
            picture = self._encoded(apply_matrix(picture, matrix.to(picture)))
        facts = {"noise_profile": torch.zeros_like(m.noise_profile), "noise_map": None}
        space = ("srgb",) * m.batch
        return frame.with_data(picture, self.writes, color_space=space, neutral=torch.ones_like(m.neutral), **facts)

    def _encoded(self, linear: Tensor) -> Tensor:
        if self.curve == "none" or self.writes is not Domain.DISPLAY_RGB:
            return linear
        return srgb_encode(linear) + _LOW_SLOPE * linear.clamp(max=0.0) + _TOP_SLOPE * (linear - 1).clamp(min=0.0)

    def _profile(self, frame: Frame, masks: Tensor) -> Tensor:
        m = frame.meta
        if self.noise == "none":
            return torch.zeros_like(m.noise_profile)
        if self.noise == "profile":
            _check_profile(m.noise_profile)
        if self.noise == "profile" or (self.noise == "auto" and not _lacking(m.noise_profile)):
            return m.noise_profile
        sensor, law = _known(self.noise, self.sensor)
        if law is None:
            own = sensor.noise_at(_checked_iso(m.iso))
        else:
            own = blind_profile(light_level_of(frame, law, masks), law)
        gains = m.wb_gains[..., None]
        return own.to(gains) * torch.cat([gains, gains.square()], -1)


def color_masks(frame: Frame) -> Tensor:
    """Where a mosaic's filters are R, G, B: (1, 3, H, W) of 0 and 1, for cells of any size."""
    cell, (height, width) = frame.meta.cfa_cell, frame.size
    n = cell.size
    cells = (-(-(height + cell.y) // n), -(-(width + cell.x) // n))
    masks = cfa_masks(cells, frame.meta.cfa_pattern, frame.data)
    if n > 1:
        masks = masks.repeat_interleave(n, -2).repeat_interleave(n, -1)
    return masks[None, :, cell.y : cell.y + height, cell.x : cell.x + width]


def light_level_of(frame: Frame, law: LightLaw, masks: Tensor | None = None) -> Tensor:
    """Light levels (B,) of a MOSAIC frame, told from its pixels before the gains that it has had.

    Noise is taken for cut off at 0 DN and at white, or at the extreme values where they lie further out. Raises
    `ShapeError`.
    """
    m, masks = frame.meta, color_masks(frame) if masks is None else masks
    gains = (masks * m.wb_gains.to(frame.data)[..., None, None]).sum(1, keepdim=True)
    if m.noise_map is not None:
        gains = gains * m.noise_map.to(frame.data)
    mosaic = frame.data / gains
    black, white = m.black_level.double().mean(-1), m.white_level.double().mean(-1)
    low = (-black / (white - black)).minimum(mosaic.double().amin((-3, -2, -1)))
    high = mosaic.double().amax((-3, -2, -1)).clamp(min=1.0)
    return blind_light_level(mosaic, law, masks=masks, bounds=(low, high))


def _gains(frame: Frame) -> Tensor:
    """(B, 3), smallest 1: what white is still to be multiplied with to be gray."""
    white = frame.meta.neutral * frame.meta.wb_gains
    return white.amax(-1, keepdim=True) / white


@lru_cache
def _known(noise: str, name: str) -> tuple[Sensor, LightLaw | None]:
    """The sensor, and its law where light is to be told from it."""
    if not name:
        raise ParamError(f"noise={noise!r} needs a sensor; give sensor='nexus-6p-rear', or a YAML file of yours")
    sensor = load_sensor(name)
    return sensor, None if noise == "iso" else light_law(sensor)


def _checked_iso(iso: Tensor) -> Tensor:
    if bool((iso <= 0).any()):
        raise ShapeError("noise='iso': a frame does not know its ISO; give it (a sidecar's iso), or use noise='blind'")
    return iso


def _spread(profile: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """S and O (B, 3, 2) laid over the photosites, (B, 1, H, W) each."""
    shot, read = ((masks * profile[..., i].to(masks)[..., None, None]).sum(1, keepdim=True) for i in range(2))
    return shot, read


def _check_profile(profile: Tensor) -> None:
    """Raise `ShapeError` for pictures without one; not on a GPU while it learns, which would wait for each answer."""
    if profile.device.type != "cpu" and torch.is_grad_enabled():
        return
    if _lacking(profile):
        raise ShapeError(
            "a frame has no noise profile; give one (a sidecar's noise_profile), or build the ISP with noise='iso' or "
            "noise='blind' and its sensor, or with noise='none'"
        )


def _lacking(profile: Tensor) -> bool:
    return bool((profile <= 0).all(-1).any())
