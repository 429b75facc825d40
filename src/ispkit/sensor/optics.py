"""What light meets before the pixels: the point spread function and the falloff toward the corners."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ispkit.core.errors import ParamError
from ispkit.core.meta import View
from ispkit.core.opcodes import GainMap
from ispkit.core.profile import PsfGrid, ShadingMap
from ispkit.ops import blur, lens
from ispkit.sensor import laws
from ispkit.sensor.model import SiteShading

_COLORS = ("R", "G", "B")
_STEPS = (24, 32)  # at least, of a gain map that says a radial law in a file


def blur_image(light: Tensor, sigma_px: float, psf: PsfGrid | Tensor | None) -> Tensor:
    """The image that the lens forms of `light` (B, 3, H, W); negative light becomes 0.

    `psf` is a grid, or one kernel (1 or 3, k, k) for the whole picture; without it a Gaussian of `sigma_px`.
    """
    if psf is None:
        seen = light if sigma_px <= 0 else blur.separable(light, blur.gaussian_kernel(sigma_px, 3, light))
    elif isinstance(psf, Tensor):
        seen = convolve(light, psf)
    else:
        seen = convolve_grid(light, psf)
    return seen.clamp(min=0)


def convolve(image: Tensor, kernel: Tensor) -> Tensor:
    """Convolution of (B, 3, H, W) with odd kernels (1 or 3, k, k), one a color; the border is reflected."""
    if kernel.ndim != 3 or kernel.shape[-1] != kernel.shape[-2] or kernel.shape[-1] % 2 == 0:
        raise ParamError(f"psf of shape {tuple(kernel.shape)} is not (1 or 3, k, k) with odd k")
    return _convolve_valid(blur.pad_reflect(image, kernel.shape[-1] // 2), kernel)


def convolve_grid(image: Tensor, grid: PsfGrid) -> Tensor:
    """Convolution of (B, 3, H, W) with kernels that change over the picture.

    Each kernel acts at the center of its cell; between centers the filtered pictures are blended bilinearly
    (Nagy, O'Leary, "Restoring images degraded by spatially variant blur", 1998), so a flat field stays flat.
    """
    kernels = grid_kernels(grid, image)
    rows, columns, reach = kernels.shape[0], kernels.shape[1], kernels.shape[-1] // 2
    padded = blur.pad_reflect(image, reach)
    vertical, horizontal = (_cell_weights(n, size, image) for n, size in ((rows, -2), (columns, -1)))
    total = torch.zeros_like(image)
    for i in range(rows):
        top, bottom = _extent(vertical[i])
        for j in range(columns):
            left, right = _extent(horizontal[j])
            part = padded[..., top : bottom + 2 * reach, left : right + 2 * reach]
            weight = vertical[i, top:bottom, None] * horizontal[j, None, left:right]
            total[..., top:bottom, left:right] += weight * _convolve_valid(part, kernels[i, j])
    return total


def grid_kernels(grid: PsfGrid, like: Tensor) -> Tensor:
    """The kernels as (rows, columns, 3, k, k); a color that is missing takes those of green."""
    known = grid.kernels
    if "G" not in known and not all(c in known for c in _COLORS):
        raise ParamError(f"a PSF grid needs kernels for G, or for R, G and B; it has {sorted(known) or 'none'}")
    stacks = [torch.tensor(known.get(c, known.get("G")), device=like.device, dtype=like.dtype) for c in _COLORS]
    if any(s.ndim != 4 or s.shape != stacks[0].shape or s.shape[-1] % 2 == 0 for s in stacks):
        raise ParamError(f"PSF kernels must be rows x columns x k x k of one odd k, got {tuple(stacks[0].shape)}")
    return torch.stack(stacks, 2)


def falloff(shading: Sequence[SiteShading | ShadingMap], cct_k: Tensor, view: View, like: Tensor) -> Tensor:
    """The gain that would correct the color shading at each photosite, (B, 1, H, W), for lights of `cct_k` (B,)."""
    fields = torch.cat([_site_gains(s, view, like) for s in shading])
    weights = laws.by_light([s.cct_k for s in shading], cct_k).to(like)
    return torch.einsum("bn,nchw->bchw", weights, fields)


def gain_maps(shading: Sequence[SiteShading | ShadingMap], cct_k: Tensor, size: tuple[int, int]) -> tuple[GainMap, ...]:
    """The same gain for one light as DNG says it: a grid per site, interpolated bilinearly by the reader."""
    steps = _steps(shading)
    rows, columns = (torch.linspace(0, n, s + 1, dtype=torch.float64) - 0.5 for n, s in zip(size, steps, strict=True))
    weights = laws.by_light([s.cct_k for s in shading], cct_k)[0]
    maps = []
    for site in range(4):
        gains = sum(w * _gain_at(s, site, rows, columns, size) for w, s in zip(weights, shading, strict=True))
        area = (site // 2, site % 2, *size)
        nested = tuple(tuple((float(g),) for g in row) for row in torch.as_tensor(gains).tolist())
        maps.append(GainMap(2, area, 0, 1, 2, 2, 1 / steps[0], 1 / steps[1], 0.0, 0.0, nested))
    return tuple(maps)


def _steps(shading: Sequence[SiteShading | ShadingMap]) -> tuple[int, int]:
    """Intervals of the gain map: whole multiples of the first mesh's, so that its nodes are kept."""
    for entry in shading:
        if isinstance(entry, ShadingMap):
            own = max(len(entry.gains[0]) - 1, 1), max(len(entry.gains[0][0]) - 1, 1)
            return own[0] * math.ceil(_STEPS[0] / own[0]), own[1] * math.ceil(_STEPS[1] / own[1])
    return _STEPS


def _site_gains(shading: SiteShading | ShadingMap, view: View, like: Tensor) -> Tensor:
    rows, columns = view.coordinates(like.shape, like)
    gain = like.new_ones(1, 1, *like.shape[-2:])
    for site in range(4):
        ys, xs = slice(site // 2, None, 2), slice(site % 2, None, 2)
        gain[0, 0, ys, xs] = _gain_at(shading, site, rows[ys], columns[xs], view.full_size)
    return gain


def _gain_at(
    shading: SiteShading | ShadingMap, site: int, rows: Tensor, columns: Tensor, size: tuple[int, int]
) -> Tensor:
    if isinstance(shading, SiteShading):
        dy, dx, _ = lens.centered(rows, columns, size, (shading.center[1], shading.center[0]))
        return lens.radial_gain(dy, dx, shading.radial[site])[0, 0]
    mesh = torch.tensor(shading.gains[site], device=rows.device, dtype=rows.dtype)
    v, u = ((p + 0.5) / n * (m - 1) for p, n, m in zip((rows, columns), size, mesh.shape, strict=True))
    return lens.interpolate_grid(mesh, v, u)


def _convolve_valid(padded: Tensor, kernel: Tensor) -> Tensor:
    own = kernel.to(padded).flip(-1, -2).expand(padded.shape[1], -1, -1)[:, None]
    return torch.nn.functional.conv2d(padded, own, groups=padded.shape[1])


def _cell_weights(count: int, dim: int, like: Tensor) -> Tensor:
    """Bilinear weights (count, N) of the centers of `count` equal cells at N pixels."""
    size = like.shape[dim]
    position = (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size * count - 0.5
    knots = torch.arange(count, device=like.device, dtype=like.dtype)
    return (1 - (position.clamp(0, count - 1) - knots[:, None]).abs()).clamp(min=0)


def _extent(weights: Tensor) -> tuple[int, int]:
    used = weights.nonzero()[:, 0]
    return (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
