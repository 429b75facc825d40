"""Objectives that compare a picture with the scene's target, pixel by pixel or as the eye does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ispkit.data.scenes import Scene
from ispkit.metrics import METRICS
from ispkit.metrics.color import cie1976, ciede2000, srgb_to_lab
from ispkit.metrics.nlpd import nlpd_bands
from ispkit.metrics.scielab import scielab_map
from ispkit.tune.contracts import Residual
from ispkit.tune.objectives.base import Need, as_residual, target_of

Pair = Callable[[Tensor, Tensor], Tensor]
_NONE = 1e-10  # mean squared error that counts as none: 100 dB
_PIXEL = 2 / 255  # below these differences a robust residual is straight
_BAND = 0.05
_JND = 1.0


@dataclass(frozen=True)
class Compared:
    """A distance to the target, with its residual and its loss from plain functions of (picture, target)."""

    name: str
    distance: Pair
    """(1, 3, H, W) twice -> a scalar, lower is better; differentiable"""
    vector: Callable[[Tensor, Tensor], Sequence[Tensor]] | None = None
    """the same pair -> tensors whose squared length falls and rises with the distance"""
    unit: str = ""

    @property
    def needs(self) -> tuple[Need, ...]:
        """A target."""
        return ("target",)

    def score(self, picture: Tensor, scene: Scene) -> float:
        """The distance."""
        with torch.no_grad():
            return float(self.distance(picture, target_of(scene)))

    def residual(self, picture: Tensor, scene: Scene) -> Residual | None:
        """The vector's parts end to end."""
        if self.vector is None:
            return None
        with torch.no_grad():
            return np.concatenate([as_residual(v) for v in self.vector(picture, target_of(scene))])

    def loss(self, picture: Tensor, scene: Scene) -> Tensor | None:
        """The distance with its gradient."""
        return self.distance(picture, target_of(scene).to(picture))


def mse(picture: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of the encoded pixels."""
    return (picture - target).square().mean()


def negative_psnr(picture: Tensor, target: Tensor) -> Tensor:
    """Minus PSNR in dB; not below -100."""
    return 10 * torch.log10(mse(picture, target).clamp(min=_NONE))


def l1(picture: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the encoded pixels."""
    return (picture - target).abs().mean()


def metric(name: str) -> Pair:
    """One of `METRICS` as a distance: a similarity whose best value is 1 becomes 1 minus it."""
    known = METRICS[name]

    def distance(picture: Tensor, target: Tensor) -> Tensor:
        value = known(picture, target, data_range=1.0)[0]
        return 1 - value if known.higher_is_better else value

    return distance


def pixels(picture: Tensor, target: Tensor) -> Sequence[Tensor]:
    """Differences; the squared length is `mse`."""
    difference = picture - target
    return (difference / math.sqrt(difference.numel()),)


def robust_pixels(picture: Tensor, target: Tensor) -> Sequence[Tensor]:
    """Differences shrunk so that the squared length is a smooth `l1`: pseudo-Huber, straight below two codes."""
    difference = picture - target
    return (shrunk(difference, difference.abs(), _PIXEL) / math.sqrt(difference.numel()),)


def bands(picture: Tensor, target: Tensor) -> Sequence[Tensor]:
    """Differences in the pyramid of `nlpd`, each level shrunk as one; the squared length is about the distance."""
    return shrunk_bands(nlpd_bands(picture, target))


def shrunk_bands(levels: Sequence[Tensor]) -> list[Tensor]:
    """The same of differences in the pyramid."""
    scale = [math.sqrt(level.numel() * len(levels)) for level in levels]
    return [shrunk(level, level.square().mean().sqrt(), _BAND) / s for level, s in zip(levels, scale, strict=True)]


def color_steps(picture: Tensor, target: Tensor) -> Sequence[Tensor]:
    """Per pixel the direction in CIELAB at the length of ΔE00, shrunk; the squared length is about its mean."""
    lab, true = srgb_to_lab(picture), srgb_to_lab(target)
    length, straight = ciede2000(lab, true)[:, None], cie1976(lab, true)[:, None]
    step = (lab - true) * length / straight.clamp(min=1e-9)
    return (shrunk(step, length, _JND) / math.sqrt(length.numel()),)


def seen_from_afar(picture: Tensor, target: Tensor) -> Sequence[Tensor]:
    """The S-CIELAB difference of every pixel, which has no sign, shrunk; the squared length is about its mean."""
    difference = scielab_map(picture, target, data_range=1.0)
    return (shrunk(difference, difference, _JND) / math.sqrt(difference.numel()),)


def shrunk(vector: Tensor, length: Tensor, straight: float) -> Tensor:
    """`vector` scaled from `length` to the root of its pseudo-Huber norm sqrt(length² + straight²) - straight."""
    norm = (length.square() + straight**2).sqrt() + straight  # length² / (sqrt(...) - straight), without cancellation
    return vector / norm.sqrt()


REFERENCE: dict[str, Compared] = {
    "psnr": Compared("psnr", negative_psnr, pixels, "dB"),
    "mse": Compared("mse", mse, pixels),
    "l1": Compared("l1", l1, robust_pixels),
    "nlpd": Compared("nlpd", metric("nlpd"), bands),
    "ssim": Compared("ssim", metric("ssim")),
    "ms_ssim": Compared("ms_ssim", metric("ms_ssim")),
    "gmsd": Compared("gmsd", metric("gmsd")),
    "delta_e00": Compared("delta_e00", metric("delta_e00"), color_steps, "ΔE00"),
    "scielab": Compared("scielab", metric("scielab_distribution"), seen_from_afar, "ΔE*ab"),
}
"""name -> objective, lower is better: PSNR is negated, similarities are taken from 1"""
