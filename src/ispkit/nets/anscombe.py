"""Anscombe networks: a picture of a noisy mosaic, found where the noise is the same everywhere.

Diamond, Sitzmann, Julca-Aguilar, Boyd, Wetzstein, Heide, "Dirty Pixels: Towards End-to-end Image Processing and
Perception", ACM TOG 2021, section 4, and the authors' code (MIT). The mosaic is stabilized and stretched to [0, 1]; a
residual U-Net and a soft projection onto what was measured take turns; the result is brought back to linear light.

Presets: "released" is the code: one iteration, first convolution of dilation 2, noise channel 1 / range. "paper" is the
text: the first convolution of the first iteration has stride 2, so each level has half the size and the decoder ends
with one more 2x2 transposed convolution (of the finest width, linear as the others) before the last 3x3; the noise
channel is the square. It does not say how many iterations; one fits its 4.28 million parameters with MobileNet-v1. The
"dense skip connections across iterations" of its fig. 4 are in neither. "small": 0.15 million.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import ParamError
from ispkit.nets.layers import Conv, at_least, expect, start, start_linear
from ispkit.nets.picture_net import PictureNet
from ispkit.ops import anscombe
from ispkit.ops.blur import gaussian_kernel, pad_reflect
from ispkit.ops.prox import Blur, Weights, project, project_blurred

PLANES = 8
"""mosaic, masks of R, G, B, shot noise, read noise squared, low and range of the stabilized mosaic"""
_NEAR = 2
"""px in which each color has a photosite, at the picture's edge as well; in Bayer and Quad Bayer arrays"""

_USUAL = 20.0
"""range, in standard deviations of the noise, at which both kinds of fidelity are the same"""


@dataclass(frozen=True)
class AnscombeShape:
    """Sizes and parts of an `AnscombeNet`. Raises `ParamError`."""

    width: int = 8
    """features of the prior's finest level; twice as many at each of the next two"""
    iterations: int = 1
    """pairs of prior and projection, each with its own weights"""
    first: Literal["dilation", "stride"] = "dilation"
    """how the first convolution meets the mosaic: dilation 2 in each prior, or stride 2 in the first one"""
    noise_channel: Literal["std", "variance"] = "std"
    """of the stretched mosaic: 1 / range [code], or its square [paper]"""
    inverse: Literal["asymptotic", "exact"] = "asymptotic"
    """of the transform: unbiased for strong signals [paper, code], or in closed form for all (Makitalo, Foi 2013)"""
    norm: bool = True
    """batch normalization [paper, code]; without it batches may be small"""
    stabilize: bool = True
    """False: the linear mosaic as it is and no noise channel"""
    fidelity: Literal["constant", "noise"] = "constant"
    """how much a projection keeps to what was measured: as much everywhere [paper, code], or by its signal-to-noise
    ratio: times (range / 20)^2, the range being that of the picture in standard deviations of the noise"""
    project: bool = True
    """False: what the prior makes is not drawn to what was measured"""
    deblur: bool = False
    """the lens's blur is part of what was measured; the projection is then solved in linear light"""
    kernel: int = 9
    """side of the blur kernels, odd"""
    blur_px: float = 1.0
    """sigma of the Gaussian that they are until `set_kernels`"""
    steps: int = 6
    """of the solver"""

    def __post_init__(self) -> None:
        at_least("AnscombeNet", 1, width=self.width, iterations=self.iterations, kernel=self.kernel, steps=self.steps)
        if self.kernel % 2 == 0 or not self.blur_px > 0:
            raise ParamError(f"AnscombeNet: kernel={self.kernel} must be odd and blur_px={self.blur_px:g} above 0")
        if self.deblur and not self.project:
            raise ParamError("AnscombeNet: deblur=true is a projection; leave project=false out")


PRESETS = {
    "paper": AnscombeShape(first="stride", noise_channel="variance"),
    "released": AnscombeShape(),
    "small": AnscombeShape(width=10, iterations=2),
}


class AnscombeNet(PictureNet):
    """Planes (B, 8, H, W) of a mosaic of any filter array -> linear colors (B, 3, H, W), white 1, not clipped.

    The planes: the mosaic, black 0 and white 1; where R, G, B were measured, 0 or 1; S and O of the variance
    S x + O of each photosite; low and range of the stabilized mosaic of the whole picture, constant, by which it is
    stretched (min and max with 0, as in the authors' code; the paper divides by the maximum). Light of a color where it
    was not measured has the S and O of its nearest photosites. With `deblur` each projection solves for what a lens of
    `kernels` blurred, in linear light, since a blur mixes light and not stabilized values; it is approached in fixed
    steps (Chebyshev), because those of conjugate gradients would depend on the whole picture.
    """

    def __init__(self, shape: AnscombeShape | None = None) -> None:
        super().__init__()
        self.inputs, self.shape = PLANES, shape or PRESETS["paper"]
        s = self.shape
        firsts = ["dilation"] * s.iterations if s.first == "dilation" else ["stride", *["plain"] * (s.iterations - 1)]
        self.priors = nn.ModuleList(PriorUNet(4 if s.stabilize else 3, s.width, first, norm=s.norm) for first in firsts)
        if s.project:
            # logarithms stay above 0; the pull doubles from iteration to iteration [code]
            self.log_fidelity = nn.Parameter(torch.zeros(()))
            self.log_pull = nn.Parameter((torch.arange(s.iterations) + 1.0) * math.log(2))
        if s.deblur:
            row = gaussian_kernel(s.blur_px, s.kernel // 2, torch.zeros(()))
            self.register_buffer("kernels", (row.mT @ row).expand(3, -1, -1).clone())
        self.multiple = max(prior.multiple for prior in self._priors())
        self.halo = sum(prior.halo for prior in self._priors())
        self.halo += s.iterations * 2 * (s.kernel // 2) * s.steps if s.deblur else 0

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Make the picture; nothing is pooled. Raises `ShapeError`."""
        expect(self, x)
        mosaic, mask, shot, read, low, extent = x[:, :1], x[:, 1:4], *(x[:, i : i + 1] for i in range(4, PLANES))
        if not self.shape.stabilize:
            return self._unrolled(_Light(mosaic, mask, None), None)
        squared = self.shape.noise_channel == "variance"
        scale = _Scale(*_of_colors(shot, read, mask), low, extent)
        stretched = (anscombe.forward(mosaic, shot, read) - low) / extent
        found = self._unrolled(_Light(mosaic, mask, scale), stretched, extent ** (-2 if squared else -1))
        return scale.linear(found, self.shape.inverse)

    def set_kernels(self, kernels: Tensor) -> None:
        """What the lens does: (1 or 3, k, k) of the shape's `kernel`, not negative; sums become 1.

        Raises `ParamError`.
        """
        own = self.get_buffer("kernels") if self.shape.deblur else None
        if own is None or kernels.shape not in (own.shape, (1, *own.shape[1:])):
            law = "no blur to learn of; build it with deblur=true" if own is None else f"(1 or 3, {own.shape[1:]})"
            raise ParamError(f"blur kernels {tuple(kernels.shape)} do not fit this net: {law}")
        if not bool((kernels >= 0).all()) or not bool((kernels.sum((-2, -1)) > 0).all()):
            raise ParamError("blur kernels must not be negative, nor all 0")
        own.copy_(kernels / kernels.sum((-2, -1), keepdim=True))

    def _priors(self) -> list[PriorUNet]:
        return [prior for prior in self.priors if isinstance(prior, PriorUNet)]

    def _unrolled(self, light: _Light, stretched: Tensor | None, noise: Tensor | None = None) -> Tensor:
        """Prior and projection in turns, from the masked mosaic on (algorithm 1)."""
        measured = light.mosaic if stretched is None else stretched
        found = light.mask * measured
        for k, prior in enumerate(self.priors):
            guess = found - prior(found if noise is None else torch.cat([found, noise], 1))
            found = self._projected(guess, measured, light, k) if self.shape.project else guess
        return found

    def _projected(self, guess: Tensor, measured: Tensor, light: _Light, k: int) -> Tensor:
        weights = Weights(self.log_fidelity.exp(), self.log_pull[k].exp())
        if self.shape.fidelity == "noise" and light.scale is not None:
            weights = Weights(weights.fidelity * (light.scale.extent / _USUAL).square(), weights.pull)
        if not self.shape.deblur:
            return project(guess, measured, light.mask, weights)
        linear = guess if light.scale is None else light.scale.linear(guess, "algebraic")
        solved = project_blurred(
            linear,
            light.mosaic,
            light.mask,
            blur=Blur(self.get_buffer("kernels")),
            weights=weights,
            steps=self.shape.steps,
            method="chebyshev",
        )
        return solved if light.scale is None else light.scale.stretched(solved)


class PriorUNet(nn.Module):
    """The residual U-Net of one iteration: (B, inputs, H, W) -> what to take away, (B, 3, H, W).

    Three levels of two 3x3 convolutions, 2x2 means down and 2x2 transposed convolutions up, batch normalization (decay
    0.95, eps 1e-4, no factor) but in the first and the last layer; 47,659 parameters for 4 inputs and width 8.
    """

    def __init__(self, inputs: int, width: int, first: str, *, norm: bool = True) -> None:
        super().__init__()
        w, stride, rate = width, 2 if first == "stride" else 1, 2 if first == "dilation" else 1
        self.first = _Halving(inputs, w) if stride == 2 else Conv(inputs, w, rate=rate)
        self.second = _Normed(w, w, norm)
        self.down = nn.ModuleList([_pair(w, 2 * w, norm), _pair(2 * w, 4 * w, norm)])
        self.up = nn.ModuleList([_pair(4 * w, 4 * w, norm), _pair(4 * w, 2 * w, norm)])
        self.grow = nn.ModuleList(nn.ConvTranspose2d(b, b // 2, 2, 2) for b in (4 * w, 2 * w))
        self.join = _Normed(2 * w, w, norm)
        self.whole = nn.ConvTranspose2d(w, w, 2, 2) if stride == 2 else nn.Identity()
        self.last = Conv(w, 3)
        self.multiple = 4 * stride
        # 2 convolutions at the finest level, 4 at each next; a coarse cell reaches past itself
        self.halo = rate + 1 + stride * (2 + 2 * 4 + 4 * 4) + self.multiple - 1
        start(self)
        start_linear(self.last, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """One pass."""
        fine = self.second(F.relu(self.first(x)))
        middle = self.down[0](F.avg_pool2d(fine, 2))
        x = self.grow[0](self.up[0](self.down[1](F.avg_pool2d(middle, 2))))
        x = self.grow[1](self.up[1](torch.cat([x, middle], 1)))
        out: Tensor = self.last(self.whole(self.join(torch.cat([x, fine], 1))))
        return out


class _Halving(nn.Conv2d):
    """A 3x3 convolution of stride 2 of even sides; padded before alone, so that an exporter sees half the side."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 3, 2)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.pad(input, (1, 0, 1, 0), mode="reflect"))


class _Normed(nn.Module):
    """A 3x3 convolution, batch normalization (or none) with an offset alone, ReLU."""

    def __init__(self, before: int, after: int, norm: bool) -> None:
        super().__init__()
        self.convolve = Conv(before, after)
        self.convolve.bias = None  # the offset comes after the normalization
        self.norm = nn.BatchNorm2d(after, eps=1e-4, momentum=0.05, affine=False) if norm else nn.Identity()
        self.offset = nn.Parameter(torch.zeros(after))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.convolve(x)) + self.offset[:, None, None])


def _pair(before: int, after: int, norm: bool) -> nn.Sequential:
    return nn.Sequential(_Normed(before, after, norm), _Normed(after, after, norm))


@dataclass(frozen=True)
class _Scale:
    """How light of each color is stabilized and stretched at each pixel."""

    shot: Tensor
    read: Tensor
    low: Tensor
    extent: Tensor

    def stretched(self, linear: Tensor) -> Tensor:
        """(B, 3, H, W) linear -> stabilized, in about [0, 1]."""
        return (anscombe.forward(linear, self.shot, self.read) - self.low) / self.extent

    def linear(self, stretched: Tensor, inverse: str) -> Tensor:
        """Back: what it was ("algebraic"), or what its mean was before noise ("asymptotic", "exact")."""
        stabilized = stretched * self.extent + self.low
        if inverse == "exact":
            return anscombe.inverse_unbiased(stabilized, self.shot, self.read)
        plain = anscombe.inverse_algebraic(stabilized, self.shot, self.read)
        return plain if inverse == "algebraic" else plain + self.shot / 4


@dataclass(frozen=True)
class _Light:
    """What was measured."""

    mosaic: Tensor
    mask: Tensor
    scale: _Scale | None


def _of_colors(shot: Tensor, read: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """S and O of each color at each pixel (B, 3, H, W): means over its photosites near by."""
    near = F.avg_pool2d(pad_reflect(torch.cat([mask * shot, mask * read, mask], 1), _NEAR), 2 * _NEAR + 1, 1)
    shots, reads, share = near.chunk(3, 1)
    share = share.clamp(min=1e-6)
    return shots / share, reads / share
