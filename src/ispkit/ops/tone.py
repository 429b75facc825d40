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


def sigmoid(x: Tensor, contrast: float | Tensor, pivot: float | Tensor) -> Tensor:
    """Log-logistic film curve x^c / (x^c + k) with k such that `pivot` stays put; black 0, white 1.

    Negative light becomes 0. It is the log-logistic member of the film-like sigmoids.
    """
    c, p = per_image(contrast, x), per_image(pivot, x)
    powered = x.clamp(min=_TINY) ** c
    y = powered / (powered + p**c * (1 / p - 1))
    return torch.where(x <= _TINY, torch.zeros_like(x), y)
