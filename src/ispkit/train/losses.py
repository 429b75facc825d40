"""Losses between a picture that a network made and the one that it should have made.

Every loss is a frozen dataclass whose fields are its options; called with (B, 3, H, W) and its target it gives a
scalar, the mean over batch and pixels, to be made small. `LOSSES` names them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.metrics.color import srgb_to_lab
from ispkit.metrics.fidelity import MS_SSIM_WEIGHTS, ms_ssim
from ispkit.ops.color_spaces import apply_matrix, rgb_to_xyz
from ispkit.train.perceptual import Perceptual

_LAB = 100.0
"""L* of white"""
_SSIM_WINDOW = 11
_PATCH = 5
_WHITE = (0.95047, 1.0, 1.08883)


class Loss(Protocol):
    """Anything that compares two pictures."""

    def __call__(self, picture: Tensor, target: Tensor) -> Tensor:
        """(B, 3, H, W) twice -> a scalar, 0 where they are equal."""


@dataclass(frozen=True)
class L1:
    """Mean absolute difference."""

    def __call__(self, picture: Tensor, target: Tensor) -> Tensor:
        """(B, C, H, W) twice -> scalar."""
        return F.l1_loss(picture, target)


@dataclass(frozen=True)
class L2:
    """Mean squared difference."""

    def __call__(self, picture: Tensor, target: Tensor) -> Tensor:
        """(B, C, H, W) twice -> scalar."""
        return F.mse_loss(picture, target)


@dataclass(frozen=True)
class DeepIspLoss:
    """(1 - a) |Lab - Lab'| + a (1 - MS-SSIM(L, L')) of encoded sRGB; Schwartz et al. 2018, equation 2.

    Lab is CIELAB over `lab_scale`, of pictures that may leave [0, 1] (nothing is clipped, so gradients reach every
    pixel). As printed the equation adds similarity; dissimilarity is meant. Sides must have at least 11 pixels.

    Not the released loss: Lab is over 100 while a = 0.5 is that of the authors' code, where Lab is not divided; so
    structure weighs about a hundred times as much here (`lab_scale=1` for the code's weight). Not the paper's either,
    whose similarity is of 5x5 patches at two scales: MS-SSIM is that of Wang, Simoncelli, Bovik 2003, 11x11 Gaussian
    windows, with as many of its five scales as fit the picture, their exponents scaled to a sum of 1. Structure gives
    no gradient for a picture with a scale whose mean contrast is negative.
    """

    alpha: float = 0.5
    """share of the structural term; not in the paper, 0.5 in the authors' code"""
    lab_scale: float = 100.0
    """what Lab is divided by in the color term; 100, L* of white, gives both terms one size"""

    def __post_init__(self) -> None:
        _check_share("alpha", self.alpha)
        if not self.lab_scale > 0:
            raise ParamError(f"lab_scale={self.lab_scale} must be positive, such as 100")

    def __call__(self, picture: Tensor, target: Tensor) -> Tensor:
        """(B, 3, H, W) encoded sRGB twice -> scalar."""
        made, wanted = srgb_to_lab(picture), srgb_to_lab(target)
        light = (made[:, :1] / _LAB, wanted[:, :1] / _LAB)
        structure = 1 - ms_ssim(*light, data_range=1.0, weights=_scales(picture)).mean()
        return (1 - self.alpha) * F.l1_loss(made, wanted) / self.lab_scale + self.alpha * structure


@dataclass(frozen=True)
class DeepIspReleasedLoss:
    """DeepISP's loss as its code computes it, with the shift by 0.5 that it comments out done.

    Values are clipped to [0, 1] and not decoded on the way to Lab, which is not divided: L is in [0, 100], also where
    the similarity has the constants of a range of 1. That similarity is of uniform 5x5 patches side by side, with the
    product of standard deviations in place of the covariance (so it does not see structure); the dissimilarities of
    two scales are summed. What is still different: the shift; the kernel between the scales, 1/9 everywhere where the
    code's, a Gaussian of sigma 2 reflected into 3x3, is that within 0.06 %; variances are those of what deviates from
    the mean, which single precision can tell from rounding, and not differences of squares.
    """

    alpha: float = 0.5
    """share of the structural term"""

    def __post_init__(self) -> None:
        _check_share("alpha", self.alpha)

    def __call__(self, picture: Tensor, target: Tensor) -> Tensor:
        """(B, 3, H, W) encoded sRGB twice, sides of at least 9 pixels -> scalar."""
        made, wanted = _undecoded_lab(picture), _undecoded_lab(target)
        structure = patch_dissimilarity(made[:, :1], wanted[:, :1])
        return (1 - self.alpha) * F.l1_loss(made, wanted) + self.alpha * structure


@dataclass(frozen=True)
class Restoration:
    """|x - y| + |log max(x, eps) - log max(y, eps)| in CIE XYZ, of linear sRGB; Liang et al. 2021, equation 1."""

    eps: float = 1e-3
    """smallest light that the logarithm sees; the code has 1e-3 for HDR+ and 1e-4 for SID"""
    released: bool = False
    """log(max(x, 0) + eps), as the code has it"""

    def __post_init__(self) -> None:
        if not self.eps > 0:
            raise ParamError(f"eps={self.eps} must be positive, such as 1e-3")

    def __call__(self, picture: Tensor, target: Tensor) -> Tensor:
        """(B, 3, H, W) linear sRGB twice -> scalar."""
        made, wanted = (apply_matrix(p, rgb_to_xyz("srgb")) for p in (picture, target))
        return F.l1_loss(made, wanted) + F.l1_loss(self._log(made), self._log(wanted))

    def _log(self, xyz: Tensor) -> Tensor:
        return torch.log(xyz.clamp(min=0) + self.eps if self.released else xyz.clamp(min=self.eps))


def patch_dissimilarity(x: Tensor, y: Tensor) -> Tensor:
    """The sum over two scales of the mean of (1 - s) / 2 over 5x5 patches, (B, 1, H, W), L of 0 to 100 -> scalar.

    s is the similarity of means and standard deviations of a patch, c1 = 0.01^2, c2 = 0.03^2; the second scale is the
    mean of 3x3 with zeros around the picture, every other pixel. Raises `ShapeError`.
    """
    if min(x.shape[-2:]) < 2 * _PATCH - 1:
        raise ShapeError(f"two scales of 5x5 patches need sides of at least 9 pixels, got {tuple(x.shape[-2:])}")
    coarse = (F.avg_pool2d(p, 3, stride=2, padding=1) for p in (x, y))
    return _patches_differ(x, y) + _patches_differ(*coarse)


def _patches_differ(x: Tensor, y: Tensor) -> Tensor:
    (mean_x, var_x), (mean_y, var_y) = (_patch_moments(p) for p in (x, y))
    luminance = (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
    spread = (2 * (var_x * var_y).sqrt() + 9e-4) / (var_x + var_y + 9e-4)
    return ((1 - luminance * spread) / 2).mean()


def _patch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance + 1e-9 of the whole 5x5 patches of (B, 1, H, W)."""
    patches = x.unfold(-2, _PATCH, _PATCH).unfold(-2, _PATCH, _PATCH)
    variance, mean = torch.var_mean(patches, dim=(-2, -1), correction=0)
    return mean, variance + 1e-9


def _undecoded_lab(encoded: Tensor) -> Tensor:
    """What the released code takes for Lab: encoded values straight into the matrix."""
    xyz = apply_matrix(encoded.clamp(0, 1), rgb_to_xyz("srgb"))
    t = xyz / xyz.new_tensor(_WHITE)[:, None, None]
    x, y, z = torch.where(t > 0.008856, t.clamp(min=0.008856) ** (1 / 3), 7.787 * t + 16 / 116).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def _scales(picture: Tensor) -> list[float]:
    """The exponents of MS-SSIM's finest scales, as many as fit, with a sum of 1."""
    side = min(picture.shape[-2:])
    fit = [w for i, w in enumerate(MS_SSIM_WEIGHTS) if (_SSIM_WINDOW - 1) * 2**i + 1 <= side]
    if not fit:
        raise ShapeError(f"MS-SSIM needs sides of at least {_SSIM_WINDOW} pixels, got {tuple(picture.shape[-2:])}")
    return [w / sum(fit) for w in fit]


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ParamError(f"{name}={value} is outside [0, 1]")


LOSSES: Mapping[str, Callable[..., Any]] = {
    "l1": L1,
    "l2": L2,
    "deepisp": DeepIspLoss,
    "deepisp-released": DeepIspReleasedLoss,
    "restoration": Restoration,
    "perceptual": Perceptual,
}
"""every loss by the name that a recipe gives it; each is a frozen dataclass of its options"""
