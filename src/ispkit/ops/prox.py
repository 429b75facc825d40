"""Soft projections: the picture nearest to a guess that also explains what a sensor measured.

Diamond et al., Dirty Pixels, 2021, section 4.1: argmin_x fidelity / 2 |M (y - K x)|^2 + pull / 2 |x - v|^2, with M the
color filter array's masks and K the blur of the lens. Without blur it is exact in each pixel, without mask it is exact
in each frequency; with both, the normal equations (fidelity K^T M K + pull) x = fidelity K^T M y + pull v are solved by
a fixed number of steps from v, so that the solution can be differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError, nearest
from ispkit.ops.values import per_image

Number = float | Tensor
Operator = Callable[[Tensor], Tensor]
Edge = Literal["open", "periodic"]
"""open: what is past the picture is not assumed, and a measurement whose kernel reaches there does not count;
periodic: the picture goes on with its other side, as in the Fourier transform"""
Method = Literal["cg", "chebyshev"]
"""cg: conjugate gradients, whose steps depend on sums over each whole picture; chebyshev: steps known beforehand from
the bounds of the spectrum, slower by little, and local: a tile with its margin is what the whole picture is there"""


@dataclass(frozen=True)
class Blur:
    """Convolution with odd kernels (1 or C, k, k), one a color, not negative, sum 1. Raises `ParamError`."""

    kernels: Tensor
    edge: Edge = "open"

    def __post_init__(self) -> None:
        shape = self.kernels.shape
        if len(shape) != 3 or shape[-1] != shape[-2] or shape[-1] % 2 == 0:
            raise ParamError(f"blur kernels of shape {tuple(shape)} must be (1 or C, k, k) with odd k")
        if self.edge not in ("open", "periodic"):
            raise ParamError(f"edge={self.edge!r} is unknown; {nearest(self.edge, ('open', 'periodic'))}")

    @property
    def reach(self) -> int:
        """Pixels to each side that a measurement depends on."""
        return int(self.kernels.shape[-1]) // 2

    def see(self, x: Tensor) -> Tensor:
        """K x of (B, C, H, W); with an open edge what lies within `reach` of it means nothing."""
        mode = "circular" if self.edge == "periodic" else "constant"
        return F.conv2d(F.pad(x, (self.reach,) * 4, mode=mode), self._weights(x).flip(-1, -2), groups=x.shape[1])

    def adjoint(self, x: Tensor) -> Tensor:
        """K^T x of (B, C, H, W)."""
        mode = "circular" if self.edge == "periodic" else "constant"
        return F.conv2d(F.pad(x, (self.reach,) * 4, mode=mode), self._weights(x), groups=x.shape[1])

    def counted(self, mask: Tensor) -> Tensor:
        """The mask without measurements that depend on what is past an open edge."""
        rows, columns = mask.shape[-2:]
        r = self.reach
        if self.edge == "periodic" or r == 0:
            return mask
        if min(rows, columns) <= 2 * r:
            raise ShapeError(f"a picture of {rows}x{columns} pixels is too small for kernels of {2 * r + 1} px")
        return F.pad(mask[..., r : rows - r, r : columns - r], (r,) * 4)

    def _weights(self, x: Tensor) -> Tensor:
        kernels = self.kernels.to(x)
        if kernels.shape[0] not in (1, x.shape[1]):
            raise ShapeError(f"{kernels.shape[0]} blur kernels do not fit {x.shape[1]} colors; use 1 or as many")
        return kernels.expand(x.shape[1], -1, -1)[:, None]


@dataclass(frozen=True)
class Weights:
    """How much a solution keeps to what was measured, and how much to the guess; numbers or (B,), above 0."""

    fidelity: Number = 1.0
    pull: Number = 2.0


def project(v: Tensor, measured: Tensor, mask: Tensor, weights: Weights) -> Tensor:
    """Exact and pixel by pixel, for a filter array without blur: (fidelity M y + pull v) / (fidelity M + pull).

    `v` is (B, C, H, W); `measured` (B, 1 or C, H, W) and `mask` (0 or 1, or a weight) broadcast to it.

    >>> one = torch.ones(1, 1, 1, 1)
    >>> float(project(4 * one, one, one, Weights(fidelity=2.0, pull=1.0)))
    2.0
    """
    fidelity, pull = per_image(weights.fidelity, v) * mask, per_image(weights.pull, v)
    return (fidelity * measured + pull * v) / (fidelity + pull)


def project_blurred(
    v: Tensor, measured: Tensor, mask: Tensor, *, blur: Blur, weights: Weights, steps: int = 8, method: Method = "cg"
) -> Tensor:
    """For a filter array behind a lens that blurs; as `project`, approached from v in `steps` of `method`.

    Differentiable in everything but `steps`. An error shrinks by about (sqrt(q) - 1) / (sqrt(q) + 1) a step,
    q = 1 + fidelity / pull. Raises `ParamError`, `ShapeError`.
    """
    if steps < 1 or method not in ("cg", "chebyshev"):
        raise ParamError(f"steps={steps} must be at least 1 and method={method!r} one of cg, chebyshev")
    fidelity, pull = (per_image(n, v) for n in (weights.fidelity, weights.pull))
    counted = blur.counted(mask.expand_as(v))

    def normal(x: Tensor) -> Tensor:
        return fidelity * blur.adjoint(counted * blur.see(x)) + pull * x

    residual = fidelity * blur.adjoint(counted * (measured - blur.see(v)))  # the pull vanishes at v
    if method == "cg":
        return v + _conjugate_gradients(normal, residual, steps)
    return v + _chebyshev(normal, residual, (pull, pull + fidelity), steps)


def project_deblur(v: Tensor, measured: Tensor, blur: Blur, weights: Weights) -> Tensor:
    """Exact and frequency by frequency, where every pixel of every color was measured and the edge is periodic.

    `v` and `measured` are (B, C, H, W). Raises `ParamError` for an open edge.
    """
    if blur.edge != "periodic":
        raise ParamError("the Fourier transform continues pictures periodically; use Blur(edge='periodic')")
    height, width = (int(n) for n in v.shape[-2:])
    if min(height, width) <= 2 * blur.reach:
        raise ShapeError(f"a picture of {height}x{width} pixels is too small for kernels of {2 * blur.reach + 1} px")
    padded = F.pad(blur.kernels.to(v), (0, width - 2 * blur.reach - 1, 0, height - 2 * blur.reach - 1))
    transfer = torch.fft.rfft2(padded.roll((-blur.reach, -blur.reach), (-2, -1)))
    fidelity, pull = (per_image(n, v) for n in (weights.fidelity, weights.pull))
    top = fidelity * transfer.conj() * torch.fft.rfft2(measured) + pull * torch.fft.rfft2(v)
    solved: Tensor = torch.fft.irfft2(top / (fidelity * transfer.abs().square() + pull), s=(height, width))
    return solved


def _conjugate_gradients(normal: Operator, residual: Tensor, steps: int) -> Tensor:
    """Solve normal(x) = residual from 0 (Hestenes and Stiefel 1952), each picture with steps of its own."""
    x, along = torch.zeros_like(residual), residual
    tiny = torch.finfo(residual.dtype).tiny
    power = _inner(residual, residual)
    for _ in range(steps):
        seen = normal(along)
        step = power / _inner(along, seen).clamp(min=tiny)
        x, residual = x + step * along, residual - step * seen
        last, power = power, _inner(residual, residual)
        along = residual + power / last.clamp(min=tiny) * along
    return x


def _chebyshev(normal: Operator, residual: Tensor, bounds: tuple[Tensor, Tensor], steps: int) -> Tensor:
    """Solve normal(x) = residual from 0, for eigenvalues within `bounds` (Saad 2003, algorithm 12.1)."""
    middle, half = (bounds[1] + bounds[0]) / 2, (bounds[1] - bounds[0]) / 2
    rho, along = half / middle, residual / middle
    x = torch.zeros_like(residual)
    for i in range(steps):
        x = x + along
        if i == steps - 1:
            break
        residual = residual - normal(along)
        last, rho = rho, 1 / (2 * middle / half - rho)
        along = rho * last * along + 2 * rho / half * residual
    return x


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Of each picture, (B, 1, 1, 1)."""
    return (a * b).sum((-3, -2, -1), keepdim=True)
