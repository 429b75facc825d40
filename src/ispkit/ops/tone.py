"""Tone curves on linear light; each is monotone and keeps black at black."""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.ops.values import per_image

_TINY = 1e-6
_SHADOW_RANGE = 0.08


def knee_power(x: Tensor, knee: float | Tensor, white: float | Tensor, power: float | Tensor) -> Tensor:
    """Straight to `knee`, then a smooth shoulder that reaches 1 at `white`; the result to `power`.

    With t = (x - knee) / (white - knee) the shoulder is knee + (1 - knee) (1 - (1 - t)^n); the exponent
    n = (white - knee) / (1 - knee) joins it with slope 1. Needs knee < 1 <= white. Clips to [0, 1].
    """
    k, w = per_image(knee, x), per_image(white, x)
    t = ((x - k) / (w - k)).clamp(0.0, 1.0 - _TINY)
    shoulder = k + (1 - k) * (1 - (1 - t) ** ((w - k) / (1 - k)))
    y = torch.where(x <= k, x, shoulder).clamp(_TINY, 1.0)
    return torch.where(x <= 0, torch.zeros_like(x), y ** per_image(power, x))


def lift_shadows(x: Tensor, amount: float | Tensor) -> Tensor:
    """Gain 1 + amount at black that fades with exp(-x / 0.08); monotone for amount in (-1, 7)."""
    return x * (1 + per_image(amount, x) * torch.exp(-x.clamp(min=0) / _SHADOW_RANGE))


def sigmoid(x: Tensor, contrast: float | Tensor, pivot: float | Tensor, white: float | Tensor) -> Tensor:
    """Log-logistic film curve s(x) = x^c / (x^c + k), scaled so that `white` becomes 1; `pivot` stays put.

    k = p^c w^c (1 - p) / (p w^c - p^c) for contrast c >= 1, pivot p < 1 <= white w. With c = w = 1 it is the
    straight line. Negative light becomes 0, light above `white` 1.
    """
    c, p, w = (per_image(v, x) for v in (contrast, pivot, white))
    top, middle = w**c, p**c
    k = middle * top * (1 - p) / (p * top - middle).clamp(min=_TINY)
    powered = torch.minimum(x.clamp(min=_TINY), w) ** c
    y = powered * (top + k) / ((powered + k) * top)
    return torch.where(x <= _TINY, torch.zeros_like(x), y)
