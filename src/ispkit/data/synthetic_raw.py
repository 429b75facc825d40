"""Finished pictures to RAW frames: a camera, light and noise are drawn for each, then made of the picture.

The steps are those of Brooks et al. 2019 (`sensor.unprocess`) with a sensor's calibrated noise; low light is a share
of the exposure, a quarter in Schwartz et al. 2018 (DeepISP), section IV.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, get_args

import torch
from torch import Tensor

from ispkit.core.cfa import check_cfa
from ispkit.core.errors import ParamError, ShapeError, nearest
from ispkit.core.frame import Domain, Frame
from ispkit.core.profile import PsfGrid
from ispkit.data.augment import item_seed
from ispkit.ops.encode import srgb_decode, srgb_encode
from ispkit.sensor.catalog import load_sensor
from ispkit.sensor.model import LINEAR_SRGB, NO_FALLOFF, Sensor
from ispkit.sensor.noise import check_draw, poisson_gaussian
from ispkit.sensor.simulate import Shot, add_noise, expected_signal, quantize, readout
from ispkit.sensor.unprocess import (
    Camera,
    Truth,
    camera_of,
    check_picture,
    draw_camera,
    draw_noise,
    inverse_smoothstep,
    sensed,
)

Colors = Literal["random", "sensor", "srgb"]
Light = Literal["linear", "encoded"]
Span = tuple[float, float]
T = TypeVar("T")
Drawn = TypeVar("Drawn")
_D65_CCT_K = 6504.0
_EXPOSURE_TIME_S = 0.01


@dataclass(frozen=True)
class SyntheticSettings:
    """How samples are made of pictures. Spans (low, high) are drawn anew for each sample; equal ends fix a value."""

    patch: tuple[int, int] = (128, 128)
    """height, width, even"""
    sensor: Sensor | str | None = None
    """whose noise, levels and blur (RAW frames), by name or itself; None: the noise of Brooks et al. (MOSAIC)"""
    colors: Colors = "random"
    """random: a mix of four cameras; sensor: its own under `cct_k`; srgb: those of linear sRGB, no white balance"""
    cct_k: Span = (_D65_CCT_K, _D65_CCT_K)
    """color temperature of the light, uniform in its reciprocal"""
    gain: Span = (1.0, 16.0)
    """ISO / 100 of the sensor, log-uniform: noise at the same brightness"""
    exposure: Span = (1.0, 1.0)
    """share of the light, log-uniform: 0.25 is a RAW of a quarter of the brightness with the targets as they were"""
    sigma: Span | None = None
    """plain Gaussian noise on the linear mosaic in place of any other, in 1/255 of white, uniform; not clipped"""
    shot: Span | None = None
    """plain photon noise on the linear mosaic x in place of any other, of variance shot * x, uniform; `sigma` adds to
    it, and `draw` says how it is drawn"""
    smoothstep: bool = False
    """undo the tone curve 3 x^2 - 2 x^3, too"""
    turn: bool = True
    """mirror and (square patches) rotate the picture; the CFA of the samples stays"""
    windows: int = 1
    """samples of each picture in an epoch"""
    cfa: str = "RGGB"
    """where no sensor has its own"""
    draw: Literal["poisson", "normal"] = "poisson"
    """photon noise counted, or the faster normal of the same variance"""
    light: Light = "linear"
    """linear: the picture is decoded to light; encoded: its encoded values are taken for light, as Diamond et al. 2021
    do in their simulation, which makes dark parts brighter"""

    def __post_init__(self) -> None:
        for name in ("patch", *_SPANS):
            if (pair := getattr(self, name)) is not None:
                object.__setattr__(self, name, _pair(name, pair))
        if min(self.patch) < 2 or any(side % 2 for side in self.patch):
            raise ShapeError(f"patch={self.patch} must be even numbers of at least 2, so that patches keep their CFA")
        if self.colors not in get_args(Colors):
            raise ParamError(f"colors={self.colors!r} is not known; {nearest(str(self.colors), get_args(Colors))}")
        if self.colors == "sensor" and self.sensor is None:
            raise ParamError("colors='sensor' needs a sensor; give its name, or take colors='random'")
        for name in _SPANS:
            if (span := getattr(self, name)) is not None:
                _check_span(name, span)
        if self.windows < 1:
            raise ParamError(f"windows={self.windows} must be at least 1")
        check_cfa(self.cfa)
        if self.light not in get_args(Light):
            raise ParamError(f"light={self.light!r} is not known; {nearest(str(self.light), get_args(Light))}")
        check_draw(self.draw)


_SPANS = ("cct_k", "gain", "exposure", "sigma", "shot")


class Maker(Protocol[Drawn]):
    """Makes the frames of finished pictures, each under conditions of its own."""

    def draw(self, chance: torch.Generator) -> Drawn:
        """Conditions of one frame; what is left to chance goes on with the same generator."""

    def make(self, picture: Tensor, drawn: Sequence[Drawn]) -> tuple[Frame, Truth]:
        """(B, 3, H, W) encoded sRGB in [0, 1] -> one frame for each of B or B x views conditions, and what is behind.

        Views of one picture follow each other. Raises `ShapeError`.
        """


def draw_views(maker: Maker[Drawn], chance: torch.Generator, seed: int, views: int) -> list[Drawn]:
    """Conditions of each view of one picture: the first goes on with `chance`, the others have seeds from `seed`.

    So the first is what it is where there is only one.
    """
    others = [torch.Generator().manual_seed(item_seed(seed, 0, view)) for view in range(1, views)]
    return [maker.draw(own) for own in (chance, *others)]


def checked_views(views: int) -> int:
    """The number itself. Raises `ParamError` below 1."""
    if views < 1:
        raise ParamError(f"views={views} must be at least 1")
    return views


class Conditions(NamedTuple):
    """What chance decided for one frame."""

    gain: float
    exposure: float
    sigma: float
    """of white"""
    cct_k: float
    camera: Camera | None
    chance: torch.Generator
    """goes on to the noise"""
    shot: float = 0.0
    """variance of photon noise at white"""


class RawMaker:
    """Pictures to frames under conditions that are drawn for each.

    Falloff, defects and fixed patterns of the sensor belong to places on it and are left out. Raises `ParamError`.
    """

    def __init__(self, settings: SyntheticSettings) -> None:
        self.settings = settings
        self.sensor = _movable(settings.sensor)
        self.cfa = check_cfa(settings.cfa if self.sensor is None else self.sensor.cfa)

    def draw(self, chance: torch.Generator) -> Conditions:
        """Conditions of one frame; its noise goes on with the same generator."""
        s = self.settings
        u = torch.rand(4, generator=chance, dtype=torch.float64).tolist()
        camera = draw_camera(1, chance) if s.colors == "random" else None
        return Conditions(
            gain=s.gain[0] * (s.gain[1] / s.gain[0]) ** u[0],
            exposure=s.exposure[0] * (s.exposure[1] / s.exposure[0]) ** u[1],
            sigma=0.0 if s.sigma is None else (s.sigma[0] + (s.sigma[1] - s.sigma[0]) * u[2]) / 255,
            cct_k=1 / (1 / s.cct_k[0] + (1 / s.cct_k[1] - 1 / s.cct_k[0]) * u[3]),
            camera=camera,
            chance=chance,
            # last and only where asked for, so that the noise of all others stays what it was
            shot=0.0 if s.shot is None else _between(s.shot, torch.rand((), generator=chance, dtype=torch.float64)),
        )

    def make(self, picture: Tensor, drawn: Sequence[Conditions]) -> tuple[Frame, Truth]:
        """(B, 3, H, W) encoded sRGB in [0, 1] -> RAW, or MOSAIC without a sensor, and what is behind it.

        `drawn` has B or B x views conditions, views of a picture following each other: its light is decoded once.
        Plain noise can be made on a GPU: it is drawn on the CPU and moved to where the picture is.
        """
        camera = self._camera(drawn)
        linear = self._light(picture).repeat_interleave(max(1, len(drawn) // len(picture)), 0)
        check_picture(linear, camera)
        frame, truth = sensed(linear, camera, self.cfa, protect=True)
        return self._noisy(frame, truth, drawn), truth

    def _light(self, picture: Tensor) -> Tensor:
        """As `unprocess` decodes it."""
        lit = srgb_encode(picture) if self.settings.light == "encoded" else picture
        return srgb_decode(inverse_smoothstep(lit) if self.settings.smoothstep else lit)

    def _camera(self, drawn: Sequence[Conditions]) -> Camera:
        random = [d.camera for d in drawn if d.camera is not None]
        if random:
            parts = zip(*((c.to_sensor, c.color_matrix, c.exposure_ev, c.cct_k) for c in random), strict=True)
            return Camera(*(torch.cat(part) for part in parts))
        cct = torch.tensor([d.cct_k for d in drawn], dtype=torch.float64)
        if self.settings.colors == "sensor" and self.sensor is not None:
            return camera_of(self.sensor, cct)
        count, own = len(drawn), torch.eye(3, dtype=torch.float64)
        matrix = torch.tensor(LINEAR_SRGB, dtype=torch.float64)
        light = torch.full((count,), _D65_CCT_K, dtype=torch.float64)
        return Camera(own.expand(count, 3, 3), matrix.expand(count, 3, 3), torch.zeros_like(light), light)

    def _noisy(self, frame: Frame, truth: Truth, drawn: Sequence[Conditions]) -> Frame:
        share = torch.tensor([d.exposure for d in drawn], dtype=torch.float64)
        ev = frame.meta.baseline_exposure - share.log2().to(frame.meta.baseline_exposure)
        frame = frame.with_data(frame.data * share.to(frame.data)[:, None, None, None], baseline_exposure=ev)
        if self.settings.shot is not None:
            return _with_photons(frame, drawn, self.settings.draw)
        if self.settings.sigma is not None:
            return _with_gaussian(frame, drawn)
        if self.sensor is None:
            return _with_brooks(frame, drawn)
        iso = torch.tensor([100 * d.gain for d in drawn], dtype=torch.float64)
        shot = Shot(self.sensor, truth.camera.response(), iso, _EXPOSURE_TIME_S)
        light = truth.sensor_rgb * share.to(truth.sensor_rgb)[:, None, None, None]
        return self._exposed(frame, light, shot, drawn)

    def _exposed(self, frame: Frame, light: Tensor, shot: Shot, drawn: Sequence[Conditions]) -> Frame:
        """As `simulate.expose`, each picture with noise of its own generator."""
        sensor = shot.sensor
        signal = expected_signal(light, shot)
        read = [
            readout(signal[k : k + 1], replace(shot, iso=shot.iso[k : k + 1]), d.chance, self.settings.draw)
            for k, d in enumerate(drawn)
        ]
        stored = quantize(torch.cat(read), shot)
        black, profile = sensor.black_at(shot.iso), sensor.noise_at(shot.iso)
        step = 1 / (sensor.white_level - black.mean(-1))
        profile[..., 1] += step.square()[:, None] / 12  # rounding is noise, too
        return frame.with_data(
            stored,
            Domain.RAW,
            black_level=black.float(),
            white_level=torch.full_like(black, sensor.white_level).float(),
            noise_profile=profile.float(),
            iso=shot.iso.float(),
            exposure_time_s=torch.full((len(drawn),), _EXPOSURE_TIME_S),
        )


def _with_gaussian(frame: Frame, drawn: Sequence[Conditions]) -> Frame:
    noise = [torch.randn(frame.data.shape[1:], generator=d.chance) * d.sigma for d in drawn]
    return frame.with_data(frame.data + torch.stack(noise).to(frame.data), **_plain_law(frame, drawn))


def _with_photons(frame: Frame, drawn: Sequence[Conditions], draw: Literal["poisson", "normal"]) -> Frame:
    """Drawn on the CPU: a generator of its own draws other noise on a GPU."""
    signal = frame.data.cpu()
    noisy = [
        poisson_gaussian(signal[k : k + 1], torch.tensor(d.shot), torch.tensor(d.sigma**2), d.chance, draw)
        for k, d in enumerate(drawn)
    ]
    return frame.with_data(torch.cat(noisy).to(frame.data), **_plain_law(frame, drawn))


def _plain_law(frame: Frame, drawn: Sequence[Conditions]) -> dict[str, Any]:
    law = torch.tensor([[d.shot, d.sigma**2] for d in drawn])[:, None].expand(-1, 3, -1)
    return {"noise_profile": law.to(frame.data.device)}


def _with_brooks(frame: Frame, drawn: Sequence[Conditions]) -> Frame:
    profiles = [draw_noise(1, d.chance) for d in drawn]
    noisy = [
        add_noise(frame.data[k : k + 1], profile, frame.meta.cfa, d.chance)
        for k, (d, profile) in enumerate(zip(drawn, profiles, strict=True))
    ]
    return frame.with_data(torch.cat(noisy), noise_profile=torch.cat(profiles).float())


def _movable(sensor: Sensor | str | None) -> Sensor | None:
    """The sensor without what belongs to places on it: a patch has none."""
    own = load_sensor(sensor) if isinstance(sensor, str) else sensor
    if own is None:
        return None
    middle = None if own.psf is None else {c: ((_middle(_middle(k)),),) for c, k in own.psf.kernels.items()}
    psf = None if middle is None else PsfGrid(middle)
    return replace(own, vignetting=NO_FALLOFF, shading=(), defects=(), prnu=0.0, column_pattern=0.0, psf=psf)


def _middle(row: Sequence[T]) -> T:
    return row[len(row) // 2]


def _pair(name: str, pair: Sequence[float] | float) -> tuple[float, float]:
    values = tuple(pair) if isinstance(pair, Sequence) else (pair, pair)
    if len(values) != 2:
        raise ParamError(f"{name}={list(values)} must be two numbers, low and high (for patch: height and width)")
    return values


def _between(span: Span, u: Tensor) -> float:
    return span[0] + (span[1] - span[0]) * float(u)


def _check_span(name: str, span: Span) -> None:
    low, high = span
    least = 0.0 if name in ("sigma", "shot") else 1e-6
    if not (math.isfinite(high) and least <= low <= high):
        raise ParamError(
            f"{name}={list(span)} must be low <= high, {'not negative' if name == 'sigma' else 'positive'}"
        )
    if name == "cct_k" and not 1667 <= low <= high <= 25000:
        raise ParamError(f"cct_k={list(span)} is outside [1667, 25000] (unit: K)")
