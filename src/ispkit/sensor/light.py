"""How much light a RAW frame was taken in, told from its noise: for frames whose noise profile is not known.

Diamond et al., Dirty Pixels, 2021, take pictures at light level l (1 fills the sensor at ISO 100) with the gain 1 / l,
so that a sensor of linear law has S = a / l and O = b^2 / l^2. The noise of a mosaic of mean m is then
s^2 = a m / l + b^2 / l^2, whose root is their released code's l = 2 b^2 / (sqrt((a m)^2 + 4 b^2 s^2) - a m); s is the
median of the finest diagonal wavelet detail (Daubechies' of 6 taps) of the four sites, over 0.6745. Where much of the
noise is cut off at black or white, s and m are those of what is left, and light is taken for brighter than it was;
given `bounds`, that is put right with the moments of a cut normal distribution.

Texture counts as noise: in bright light (levels of 0.03 and more) a detailed picture is taken for several times darker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.sensor.model import Sensor

_TAPS = 6
_LEAST = 2 * _TAPS
_MAD = 0.6744897501960817  # median of |N(0, 1)|
_TOLERANCE = 0.05
_TURNS = 12
_FLAT = 1e-14


@dataclass(frozen=True)
class LightLaw:
    """Noise of a sensor at light level l: S = `shot` / l, O = (`read` / l)^2; per R, G, B, float64."""

    shot: Tensor
    read: Tensor
    name: str = ""

    def profile(self, level: Tensor) -> Tensor:
        """S and O per R, G, B (B, 3, 2) float64 at light levels (B,)."""
        gain = 1 / level.double()[:, None]
        return torch.stack([self.shot * gain, (self.read * gain).square()], -1)


def light_law(sensor: Sensor) -> LightLaw:
    """The law of a sensor whose S grows with the gain and O with its square, within 5 % at all measured ISO.

    Raises `ParamError` for a sensor that has none, or no noise at all.
    """
    iso = torch.tensor(sorted({p.iso for p in sensor.noise}) or [100.0], dtype=torch.float64)
    gain = iso[:, None] / 100
    known = sensor.noise_at(iso)
    shot, read = known[..., 0] / gain, known[..., 1].sqrt() / gain
    if not bool((known > 0).all()):
        raise ParamError(f"sensor {sensor.name!r} has a color without shot or read noise: noise cannot tell its light")
    for what, values in (("S / gain", shot), ("sqrt(O) / gain", read)):
        spread = float((values.amax(0) / values.amin(0)).max()) - 1
        if spread > _TOLERANCE:
            raise ParamError(
                f"sensor {sensor.name!r} has no linear law of gain: {what} differs by {spread:.0%} between its ISO, "
                f"more than {_TOLERANCE:.0%}; light levels need a sensor such as 'nexus-6p-rear'"
            )
    return LightLaw(shot.mean(0), read.mean(0), sensor.name)


def blind_light_level(
    mosaic: Tensor, law: LightLaw, *, masks: Tensor, bounds: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Light levels (B,) float64 of mosaics (B, 1, H, W) in the sensor's own units, black 0, white 1.

    Args:
        mosaic: without gains; negative values kept as they are.
        law: of the sensor.
        masks: (1 or B, 3, H, W), 1 where the filter is R, G, B; its mean weighs the colors of the law.
        bounds: what the sensor's smallest and largest number mean, (B,) each; None: nothing was cut off.

    Raises `ShapeError` for a picture below 24 pixels a side.
    """
    if min(mosaic.shape[-2:]) < 2 * _LEAST:
        law_ = f"at least {2 * _LEAST} pixels a side"
        raise ShapeError(f"a mosaic of {tuple(mosaic.shape[-2:])} is too small to tell its noise: {law_}")
    share = masks.double().mean((-2, -1))
    slope, floor = (share * law.shot.to(share)).sum(-1), (share * law.read.to(share).square()).sum(-1)
    variance = noise_variance(mosaic)
    mean = mosaic.double().mean((-3, -2, -1)).clamp(min=0)
    if bounds is None:
        return level_of(slope, floor, mean, variance)
    return _uncut(slope, floor, (mean, variance), bounds)


def noise_variance(mosaic: Tensor) -> Tensor:
    """Mean over the four sites of (median |diagonal detail| / 0.6745)^2, (B,) float64; site by site in memory."""
    high = _high_pass().to(mosaic)
    kernel = torch.outer(high, high)[None, None]
    found = []
    for y in range(2):
        for x in range(2):
            detail = F.conv2d(mosaic.detach()[..., y::2, x::2], kernel)
            found.append(detail.abs().flatten(1).median(-1).values.double() / _MAD)
    return torch.stack(found).square().mean(0)


def blind_profile(level: Tensor, law: LightLaw) -> Tensor:
    """Noise profile (B, 3, 2) float32 as frames carry it, of light levels (B,)."""
    return law.profile(level).float()


def level_of(slope: Tensor, floor: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """The closed form, (B,): l of variance = slope mean / l + floor / l^2.

    >>> one = torch.ones((), dtype=torch.float64)
    >>> float(level_of(2 * one, 3 * one, one, 5 * one))
    1.0
    """
    am = slope * mean
    # the released form, multiplied out so that it also holds for a floor of 0
    return ((am.square() + 4 * floor * variance).sqrt() + am) / (2 * variance.clamp(min=_FLAT))


def _uncut(slope: Tensor, floor: Tensor, seen: tuple[Tensor, Tensor], bounds: tuple[Tensor, Tensor]) -> Tensor:
    """The light level whose noise, cut off at `bounds`, has the mean and variance (B,) that were `seen`.

    The light is taken for even: exact for flat fields, and near it where the noise is larger than the picture's
    contrast, which is where it is cut off.
    """
    low, high = (edge.double().to(seen[0]) for edge in bounds)
    mean, variance = seen
    for _ in range(_TURNS):
        level = level_of(slope, floor, mean, variance)
        of_light = slope * mean / level + floor / level.square()
        cut_mean, cut_variance = _cut(mean, of_light, low, high)
        mean = (mean + seen[0] - cut_mean).clamp(min=0).minimum(high)
        variance = of_light * (seen[1] / cut_variance.clamp(min=_FLAT)).clamp(0.5, 2.0)
    return level_of(slope, floor, mean, variance)


def _cut(mean: Tensor, variance: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of a normal distribution whose values below `low` and above `high` become those."""
    std = variance.clamp(min=_FLAT).sqrt()
    a, b = (low - mean) / std, (high - mean) / std
    below, above = torch.special.ndtr(a), torch.special.ndtr(-b)
    inside, at_a, at_b = 1 - below - above, _density(a), _density(b)
    # moments about the mean, in units of the standard deviation
    first = a * below + b * above + at_a - at_b
    second = a.square() * below + b.square() * above + inside + a * at_a - b * at_b
    return mean + std * first, variance * (second - first.square()).clamp(min=_FLAT)


def _density(x: Tensor) -> Tensor:
    return (-0.5 * x.square()).exp() / math.sqrt(2 * math.pi)


def _high_pass() -> Tensor:
    """Daubechies' wavelet with three vanishing moments (1988), norm 1."""
    t, u = math.sqrt(10.0), math.sqrt(5 + 2 * math.sqrt(10.0))
    low = [1 + t + u, 5 + t + 3 * u, 10 - 2 * t + 2 * u, 10 - 2 * t - 2 * u, 5 + t - 3 * u, 1 + t - u]
    return torch.tensor([(-1) ** i * v for i, v in enumerate(reversed(low))], dtype=torch.float64) / (16 * math.sqrt(2))
