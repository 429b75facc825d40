"""How what was measured at some gains, or under some lights, is read at others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from ispkit.core.profile import BlackPoint, NoisePoint

_TINY = 1e-30
Point = TypeVar("Point", BlackPoint, NoisePoint)


def as_batch(value: float | Tensor) -> Tensor:
    """A number or (B,) tensor as (B,) float64 on the CPU."""
    return torch.as_tensor(value, dtype=torch.float64).detach().cpu().reshape(-1)


def by_gain(iso: Sequence[float], values: Tensor, wanted: float | Tensor, powers: Tensor) -> Tensor:
    """`values` (N, ...) measured at `iso` (N), at each wanted ISO -> (B, ...).

    Straight in log-log between two ISO, beyond them proportional to ISO to the power `powers` (...).

    >>> two = torch.tensor([1.0, 3.0], dtype=torch.float64)
    >>> [round(v, 3) for v in by_gain([100, 400], two, torch.tensor([50, 200, 800]), torch.tensor(2.0)).tolist()]
    [0.25, 1.732, 12.0]
    """
    x, order = torch.tensor(list(iso), dtype=torch.float64).log().sort()
    y = values[order].clamp(min=_TINY).log()
    at = as_batch(wanted).log()
    inside = at.clamp(float(x[0]), float(x[-1]))
    beyond = (at - inside).reshape(-1, *[1] * (y.ndim - 1)) * powers
    found = torch.einsum("bn,n...->b...", _hat(x, inside), y) + beyond
    return torch.where(found < math.log(_TINY) / 2, torch.zeros_like(found), found.exp())


def black_by_gain(measured: Sequence[BlackPoint], wanted: float | Tensor, exposure_time_s: float) -> Tensor:
    """Black level (B, 4) in DN, straight in ISO, of the points nearest in exposure time; the ends are kept."""
    nearest = min((p.exposure_time_s for p in measured), key=lambda t: abs(t - exposure_time_s))
    points = sorted((p for p in measured if p.exposure_time_s == nearest), key=lambda p: p.iso)
    x = torch.tensor([p.iso for p in points], dtype=torch.float64)
    levels = torch.tensor([p.level_dn for p in points], dtype=torch.float64)
    return _hat(x, as_batch(wanted).clamp(float(x[0]), float(x[-1]))) @ levels


def nearest_iso(measured: Sequence[Point], iso: float) -> tuple[Point, ...]:
    """The points measured at the ISO nearest to `iso` (in stops)."""
    best = min((p.iso for p in measured), key=lambda i: abs(math.log(i / iso)))
    return tuple(p for p in measured if p.iso == best)


def by_light(cct_k: Sequence[float], wanted: Tensor) -> Tensor:
    """Weights (B, N) of lights of `cct_k` (N) for scenes of `wanted` (B,) kelvin: straight in 1 / CCT, ends kept."""
    x, order = (1e6 / torch.tensor(list(cct_k), dtype=torch.float64)).sort()
    weights = torch.zeros(len(wanted), len(x), dtype=torch.float64)
    weights[:, order] = _hat(x, (1e6 / as_batch(wanted)).clamp(float(x[0]), float(x[-1])))
    return weights


def _hat(knots: Tensor, at: Tensor) -> Tensor:
    """Weights (B, N) of sorted `knots` (N) in linear interpolation at (B,) places between the ends."""
    if len(knots) == 1:
        return torch.ones(len(at), 1, dtype=at.dtype)
    right = torch.searchsorted(knots, at.contiguous()).clamp(1, len(knots) - 1)
    low, high = knots[right - 1], knots[right]
    share = torch.where(high > low, (at - low) / (high - low).clamp(min=1e-12), 0.0)
    weights = torch.zeros(len(at), len(knots), dtype=at.dtype)
    rows = torch.arange(len(at))
    weights[rows, right - 1] = 1 - share
    weights[rows, right] += share
    return weights
