"""NIQE (Mittal, Soundararajan, Bovik 2013): how far a picture's statistics are from pristine ones."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ispkit.core.errors import FileError, ParamError, ShapeError
from ispkit.metrics.base import check_picture, luma

BLOCK = 96
"""side of the blocks in pixels"""
_FEATURES = 36
_SHARP = 0.75  # pristine blocks count only if their sharpness exceeds this share of the sharpest one
_WINDOW, _SIGMA = 7, 7 / 6


@dataclass(frozen=True)
class NiqeModel:
    """Mean (36,) and covariance (36, 36) of the features of pristine pictures, float64."""

    mean: Tensor
    covariance: Tensor

    @staticmethod
    def load(path: str | Path) -> NiqeModel:
        """Read an npz with `mu_pris_param` and `cov_pris_param`, as BasicSR's niqe_pris_params.npz."""
        try:
            with np.load(path, allow_pickle=False) as file:
                mean, covariance = file["mu_pris_param"].reshape(-1), file["cov_pris_param"]
        except FileNotFoundError:
            raise FileError(
                f"{path}: no such file; NIQE needs niqe_pris_params.npz (BasicSR) or a fitted model"
            ) from None
        except (OSError, KeyError, ValueError, EOFError, BadZipFile, AttributeError, TypeError) as error:
            raise FileError(f"{path}: not a NIQE model (npz with mu_pris_param and cov_pris_param): {error}") from None
        if mean.shape != (_FEATURES,) or covariance.shape != (_FEATURES, _FEATURES):
            raise FileError(f"{path}: a NIQE model has {_FEATURES} features, got {mean.shape} and {covariance.shape}")
        return NiqeModel(torch.from_numpy(mean).double(), torch.from_numpy(covariance).double())

    def save(self, path: str | Path) -> None:
        """Write the npz that `load` reads."""
        np.savez(path, mu_pris_param=self.mean.numpy()[None], cov_pris_param=self.covariance.numpy())

    @staticmethod
    def fit(pictures: Iterable[Tensor], *, data_range: float) -> NiqeModel:
        """Fit to pristine pictures, each (1, 3, H, W) or (1, 1, H, W), by their sharp blocks.

        The original used 125 pictures; a few hundred sharp blocks are the least that 36 features need.
        """
        rows = []
        for picture in pictures:
            features, sharpness = _features(_gray(picture, data_range)[0, 0])
            rows.append(features[sharpness > _SHARP * sharpness.max()].cpu())
        if not rows:
            raise ParamError("NIQE cannot be fitted to no pictures; pass at least one")
        mean, covariance = _statistics(torch.cat(rows))
        return NiqeModel(mean, covariance)


@torch.no_grad()
def niqe(picture: Tensor, *, data_range: float, model: NiqeModel) -> Tensor:
    """Natural image quality evaluator, (B, 3 or 1, H, W) encoded -> (B,), [0, inf), lower is better.

    No reference, not differentiable. As the authors' code: BT.601 gray rounded to 8-bit codes, blocks of
    96x96 that fit (so at least 96x192 pixels), two scales. Natural pictures lie around 2 to 6; values are
    comparable only under one `model`. NaN where no two blocks have texture.
    """
    gray = _gray(picture, data_range)
    return torch.stack([_distance(plane[0], model) for plane in gray]).to(picture.dtype)


def _gray(picture: Tensor, data_range: float) -> Tensor:
    """(B, 3 or 1, H, W) -> (B, 1, H, W) float64 in whole 8-bit codes, cut to whole blocks."""
    if picture.ndim == 4 and picture.shape[1] not in (1, 3):
        raise ShapeError(f"niqe reads (B, 3, H, W) or (B, 1, H, W), got {tuple(picture.shape)}")
    x = check_picture(picture, data_range).double()
    blocks = x.shape[-2] // BLOCK, x.shape[-1] // BLOCK
    if blocks[0] * blocks[1] < 2:
        raise ShapeError(f"niqe needs two {BLOCK}x{BLOCK} blocks at least, got {x.shape[-2]}x{x.shape[-1]} pixels")
    codes = ((luma(x) if x.shape[1] == 3 else x) * 255).round()
    return codes[..., : blocks[0] * BLOCK, : blocks[1] * BLOCK]


def _distance(gray: Tensor, model: NiqeModel) -> Tensor:
    mean, covariance = _statistics(_features(gray)[0])
    gap = model.mean.to(gray) - mean
    pooled = (model.covariance.to(gray) + covariance) / 2
    if not bool(torch.isfinite(pooled).all()):
        return gap.new_tensor(math.nan)
    distance: Tensor = (gap @ torch.linalg.pinv(pooled) @ gap).clamp(min=0).sqrt()
    return distance


def _statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of each feature over the blocks that have it; covariance over the blocks that have all."""
    whole = rows[torch.isfinite(rows).all(1)]
    mean = torch.nanmean(torch.where(torch.isfinite(rows), rows, math.nan), dim=0)
    centered = whole - whole.mean(0)
    return mean, centered.T @ centered / (len(whole) - 1) if len(whole) > 1 else centered.new_full((36, 36), math.nan)


def _features(gray: Tensor) -> tuple[Tensor, Tensor]:
    """Per block 2 x 18 features, (N, 36), and the mean local deviation at full size, (N,)."""
    fine, deviation = _normalized(gray)
    half = _halved(gray)
    coarse, _ = _normalized(half)
    features = torch.cat([_block_features(fine, BLOCK), _block_features(coarse, BLOCK // 2)], dim=1)
    return features, _blocks(deviation, BLOCK).mean((1, 2))


def _normalized(gray: Tensor) -> tuple[Tensor, Tensor]:
    """Mean-subtracted, contrast-normalized coefficients (C = 1) and the local standard deviation."""
    mean = _blur(gray)
    deviation = (_blur(gray.square()) - mean.square()).abs().sqrt()
    gap = gray - mean
    # a pixel of a flat area belongs to neither side of the distribution, whatever the rounding
    return torch.where(gap.abs() < 1e-9, 0.0, gap) / (deviation + 1), deviation


def _blur(plane: Tensor) -> Tensor:
    weights = [math.exp(-(((i - _WINDOW // 2) / _SIGMA) ** 2) / 2) for i in range(_WINDOW)]
    taps = torch.tensor(weights, dtype=torch.float64)
    pad = _WINDOW // 2
    return _separable(F.pad(plane[None, None], (pad,) * 4, mode="replicate")[0, 0], taps / taps.sum(), 1)


def _halved(plane: Tensor) -> Tensor:
    """Half size by the bicubic kernel (a = -0.5) stretched against aliasing, edges mirrored."""
    near = [0.25, 0.75, 1.25, 1.75]
    taps = [1.5 * d**3 - 2.5 * d**2 + 1 if d < 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 for d in near]
    kernel = torch.tensor(taps[::-1] + taps, dtype=torch.float64)
    for dim in (0, 1):  # "symmetric" padding: the edge pixel is repeated
        plane = torch.cat(
            [plane.narrow(dim, 0, 3).flip(dim), plane, plane.narrow(dim, plane.shape[dim] - 3, 3).flip(dim)], dim
        )
    return _separable(plane, kernel / kernel.sum(), 2)


def _separable(plane: Tensor, taps: Tensor, step: int) -> Tensor:
    """Filter rows and columns where the kernel fits, keeping each `step`-th pixel."""
    for dim in (0, 1):
        size = plane.shape[dim] - len(taps) + 1
        parts = (float(w) * plane.narrow(dim, i, size)[_every(dim, step)] for i, w in enumerate(taps))
        plane = torch.stack(list(parts)).sum(0)
    return plane


def _every(dim: int, step: int) -> tuple[slice, ...]:
    return (slice(None),) * dim + (slice(None, None, step),)


def _blocks(plane: Tensor, side: int) -> Tensor:
    """(H, W) -> (N, side, side), row by row."""
    rows, columns = plane.shape[0] // side, plane.shape[1] // side
    return plane.reshape(rows, side, columns, side).transpose(1, 2).reshape(-1, side, side)


def _block_features(plane: Tensor, side: int) -> Tensor:
    """(N, 18): two of the coefficients, four of each product of neighbors in four directions."""
    x = _blocks(plane, side)
    shape, left, right = _fit_aggd(x)
    features = [shape, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = _fit_aggd(x * x.roll(shift, (1, 2)))
        mean = (right - left) * torch.exp(torch.lgamma(2 / shape) - torch.lgamma(1 / shape))
        features += [shape, mean, left, right]
    return torch.stack(features, dim=1)


def _fit_aggd(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Moment fit of an asymmetric generalized Gaussian to each block: shape, left and right scale, (N,)."""
    squares = x.square()
    left, right = ((squares * side).sum((1, 2)) / side.sum((1, 2)) for side in (x < 0, x > 0))
    ratio = (left / right).sqrt()
    moment = x.abs().mean((1, 2)).square() / squares.mean((1, 2))
    target = moment * (ratio**3 + 1) * (ratio + 1) / (ratio.square() + 1).square()

    grid = torch.arange(200, 10001, dtype=x.dtype, device=x.device) / 1000
    curve = torch.exp(2 * torch.lgamma(2 / grid) - torch.lgamma(1 / grid) - torch.lgamma(3 / grid))  # increasing
    above = torch.searchsorted(curve, target.contiguous()).clamp(1, len(grid) - 1)
    closer_below = (target - curve[above - 1]) <= (curve[above] - target)
    shape = torch.where(torch.isfinite(target), grid[torch.where(closer_below, above - 1, above)], math.nan)
    scale = torch.exp((torch.lgamma(1 / shape) - torch.lgamma(3 / shape)) / 2)
    return shape, left.sqrt() * scale, right.sqrt() * scale
