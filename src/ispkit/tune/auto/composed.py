"""Tuning by predicted pictures, where the score has no residual but a loss on pictures with a gradient.

The pictures are regressed on the knobs as residuals are (`residual_model`); the problem's own loss is minimized on the
predicted pictures by its gradient, within the trust region, and the true score decides on every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from ispkit.core.errors import ParamError
from ispkit.tune.auto.residual import ResidualSearcher
from ispkit.tune.auto.residual_gram import Site
from ispkit.tune.auto.residual_model import Array, ResidualModel
from ispkit.tune.contracts import Outcome, SearchSetup
from ispkit.tune.sketch import LIMIT, count_sketch

PictureLoss = Callable[[Tensor | Sequence[Tensor]], Tensor]
Codes = tuple[NDArray[np.uint8], ...]
_MEMORY = 2**28
"""bytes of pictures that a prediction is made of"""
_STEPS = 15


def picture_loss_of(problem: Any, pictures: Codes) -> PictureLoss | None:
    """The problem's loss on pictures, if it has one that carries a gradient."""
    loss: PictureLoss | None = getattr(problem, "picture_loss", None)
    if loss is None or not pictures:
        return None
    try:
        found = loss(_as_tensors(torch.from_numpy(_flat(pictures)).float().requires_grad_() / 255, pictures))
    except ParamError:
        return None
    return loss if found.requires_grad else None


class ComposedSearcher(ResidualSearcher):
    """The residual method with the picture in place of the residual and the problem's loss in place of its length."""

    def __init__(self, setup: SearchSetup, loss: PictureLoss) -> None:
        super().__init__(setup)
        self._loss = loss
        self._pictures: dict[int, Codes] = {}
        self._loaders: dict[int, Callable[[], Codes]] = {}

    def tell(self, outcome: Outcome) -> None:
        """Take note of a trial and of its pictures; one without pictures only counts as a score."""
        load = outcome.rendered
        if load is None or not math.isfinite(outcome.score):
            super().tell(replace(outcome, residual=None))
            return
        pictures = load()
        flat = _flat(pictures).astype(np.float32) / np.float32(255)
        super().tell(replace(outcome, residual=count_sketch(flat, LIMIT, seed=0)))
        row = self.evidence.sites[-1].row  # a repeat keeps the pictures of its first time
        if row not in self._loaders:
            self._loaders[row] = load
            if (len(self._pictures) + 1) * flat.size <= _MEMORY:
                self._pictures[row] = pictures

    def _near(self, center: Site) -> list[Site]:
        sites = super()._near(center)
        size = sum(p.size for p in self._load(sites[0]))
        return sites[: max(8, _MEMORY // max(4 * size, 1))]

    def _load(self, site: Site) -> Codes:
        return self._pictures.get(site.row) or self._loaders[site.row]()

    def _lowest(self, model: ResidualModel, sites: list[Site], bounds: Array, caution: float) -> Array:
        """The step (p,) with the lowest loss of the predicted pictures; `caution` plays no part."""
        like = self._load(sites[0])
        stack = torch.from_numpy(np.stack([_flat(self._load(site)) for site in sites])).float() / 255
        offset, apart = stack[0], stack[1:] - stack[0]

        def value(step: Array) -> tuple[float, Array]:
            u = torch.from_numpy(step).requires_grad_()
            loss = self._loss(_as_tensors((offset + model.weights(u).float() @ apart).clamp(0, 1), like))
            (gradient,) = torch.autograd.grad(loss, u)
            return float(loss.detach()), gradient.numpy().astype(np.float64)

        start = np.zeros(len(bounds))
        found = minimize(value, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": _STEPS})
        return np.asarray(found.x)


def _flat(pictures: Codes) -> NDArray[np.uint8]:
    """All pictures end to end, (3, H, W) each."""
    return np.concatenate([p.transpose(2, 0, 1).ravel() for p in pictures])


def _as_tensors(flat: Tensor, like: Codes) -> Tensor | list[Tensor]:
    """(n, 3, H, W), or n of (1, 3, H, W) where their sizes differ."""
    parts = torch.split(flat, [p.size for p in like])
    pictures = [part.view(1, 3, *p.shape[:2]) for part, p in zip(parts, like, strict=True)]
    return torch.cat(pictures) if len({p.shape for p in pictures}) == 1 else pictures
