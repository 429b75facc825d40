"""Separable smoothing with a reflected border (the edge pixel is not repeated, as OpenCV's REFLECT_101)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ispkit.core.errors import ParamError


def pad_reflect(image: Tensor, rows: int, columns: int | None = None) -> Tensor:
    """Mirror `rows`, `columns` pixels (default: as `rows`) around each side; any picture size.

    >>> pad_reflect(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 0, 2)
    tensor([[[[3., 2., 1., 2., 3., 2., 1.]]]])
    """
    columns = rows if columns is None else columns
    if rows < image.shape[-2] and columns < image.shape[-1]:
        return torch.nn.functional.pad(image, (columns, columns, rows, rows), mode="reflect")
    for dim, reach in ((-2, rows), (-1, columns)):
        image = image.index_select(dim, _mirrored(image.shape[dim], reach).to(image.device))
    return image


def gaussian_kernel(sigma: float | Tensor, radius: int, like: Tensor) -> Tensor:
    """Sampled Gaussian of `2 radius + 1` taps that sum to 1 -> (N, taps), N = 1 or the length of `sigma`."""
    s = torch.as_tensor(sigma, device=like.device, dtype=like.dtype).reshape(-1, 1)
    x = torch.arange(-radius, radius + 1, device=like.device, dtype=like.dtype)
    weights = torch.exp(-0.5 * (x / s).square())
    return weights / weights.sum(dim=-1, keepdim=True)


def biweight_kernel(radius: float | Tensor, reach: int, like: Tensor) -> Tensor:
    """Bell (1 - (x / (radius + 1))^2)^2, exactly 0 beyond `radius`, sum 1 -> (N, 2 reach + 1).

    Smooth in `radius` (px), and the same for every `reach` of at least `ceil(radius)`.
    """
    r = torch.as_tensor(radius, device=like.device, dtype=like.dtype).reshape(-1, 1) + 1
    x = torch.arange(-reach, reach + 1, device=like.device, dtype=like.dtype)
    weights = (1 - (x / r).square()).clamp(min=0).square()
    return weights / weights.sum(dim=-1, keepdim=True)


def box_kernel(radius: int, like: Tensor) -> Tensor:
    """`2 radius + 1` equal taps that sum to 1 -> (1, taps)."""
    return torch.full((1, 2 * radius + 1), 1 / (2 * radius + 1), device=like.device, dtype=like.dtype)


def separable(image: Tensor, kernel: Tensor) -> Tensor:
    """Filter rows and columns of (B, C, H, W) with `kernel`, (1 or B, odd number of taps).

    Sums of shifted copies: on a CPU several times faster than a depthwise convolution.
    """
    reach = kernel.shape[-1] // 2
    return separable_valid(pad_reflect(image, reach), kernel)


def separable_valid(padded: Tensor, kernel: Tensor) -> Tensor:
    """As `separable`, but of a picture that has its border already: the result is smaller by taps - 1."""
    weights = kernel.to(padded.dtype).T.reshape(-1, kernel.shape[0], 1, 1, 1)
    return _along(_along(padded, weights, -1), weights, -2)


def gaussian_blur(image: Tensor, sigma: float | Tensor, *, radius: int | None = None) -> Tensor:
    """Gaussian of standard deviation `sigma` (px, scalar or (B,)) -> a tensor of the same shape.

    Args:
        image: (B, C, H, W).
        sigma: differentiable.
        radius: half width of the kernel; needed if `sigma` is a tensor, else ceil(3 sigma).
    """
    if radius is None:
        if isinstance(sigma, Tensor):
            raise ParamError("gaussian_blur: a tensor sigma needs a fixed radius; pass radius=ceil(3 * largest sigma)")
        radius = max(1, math.ceil(3 * sigma))
    return separable(image, gaussian_kernel(sigma, radius, image))


def box_filter(image: Tensor, radius: int) -> Tensor:
    """Mean over the square of `2 radius + 1` pixels; the border is reflected."""
    return separable(image, box_kernel(radius, image))


def _along(padded: Tensor, weights: Tensor, dim: int) -> Tensor:
    size = padded.shape[dim] - len(weights) + 1
    total = padded.narrow(dim, 0, size) * weights[0]
    for i in range(1, len(weights)):
        total.addcmul_(padded.narrow(dim, i, size), weights[i])
    return total


def _mirrored(size: int, reach: int) -> Tensor:
    period = max(2 * size - 2, 1)
    index = torch.arange(-reach, size + reach).remainder(period)
    return torch.minimum(index, (period - index).remainder(period)) if size > 1 else index * 0
