"""Variance stabilisation of Poisson-Gaussian noise: the generalized Anscombe transform and its inverse.

With variance S x + O (S > 0 photons' share, O >= 0 read noise, x in [0, 1] but negatives allowed), `forward`
gives values of standard deviation about 1 whatever x is. The classical transform
(2 / S) sqrt(S x + 3/8 S^2 + O) is shifted here so that x = 0 gives 0, which keeps digits and also holds for
S = 0. References: Starck, Murtagh, Bijaoui 1998; Foi 2009 (clipped and raw data); Makitalo and Foi,
"Optimal inversion of the generalized Anscombe transformation for Poisson-Gaussian noise", 2013.
"""

from __future__ import annotations

import math

from torch import Tensor

_FLOOR = 1e-12
"""smallest variance: a noise-free signal would have no finite stabilisation"""


def forward(signal: Tensor, shot: Tensor, read: Tensor) -> Tensor:
    """Stabilized signal, of the shape of `signal`; `shot` S and `read` O broadcast to it.

    >>> import torch
    >>> forward(torch.tensor([0.0, 1.0]), torch.tensor(0.0), torch.tensor(0.25))
    tensor([0., 2.])
    """
    offset = _offset(shot, read)
    root = (shot * signal + offset).clamp(min=_FLOOR).sqrt()
    # = (2 / S)(root - sqrt(offset)) without the division, and the floor for values far below black
    return 2 * signal.maximum(-offset / shot.clamp(min=_FLOOR)) / (root + offset.sqrt())


def inverse_algebraic(stabilized: Tensor, shot: Tensor, read: Tensor) -> Tensor:
    """The plain inverse of `forward`; biased low for an average of stabilized values."""
    return stabilized * (0.25 * shot * stabilized + _offset(shot, read).sqrt())


def inverse_unbiased(stabilized: Tensor, shot: Tensor, read: Tensor) -> Tensor:
    """Signal whose stabilized *mean* is `stabilized`: closed form of the exact unbiased inverse.

    D = stabilized + its shift; x = S (D^2 / 4 + sqrt(3/2) / (4 D) - 11 / (8 D^2) + 5 sqrt(3/2) / (8 D^3)
    - 1 / 8) - O / S. For S = 0 it is the algebraic inverse. Values below the transform of an infinitely dark
    signal continue algebraically.
    """
    root = _offset(shot, read).sqrt()
    per_d = shot / (shot * stabilized + 2 * root).clamp(min=2 * math.sqrt(_FLOOR))
    # the series holds for D >= 2 sqrt(3/8 + O/S^2), which is where a signal of 0 lies
    per_d = per_d.minimum(0.5 * shot / root)
    a = math.sqrt(1.5)
    correction = 0.25 + per_d * (0.25 * a + per_d * (-11 / 8 + per_d * 0.625 * a))
    return stabilized * (0.25 * shot * stabilized + root) + shot * correction


def _offset(shot: Tensor, read: Tensor) -> Tensor:
    """3/8 S^2 + O, kept above zero."""
    return (0.375 * shot.square() + read).clamp(min=_FLOOR)
