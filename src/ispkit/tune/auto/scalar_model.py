"""A separable model of a noisy score: a rising curve of a sum of one function a knob, all widths learned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from ispkit.tune.auto.scalar_basis import Basis
from ispkit.tune.auto.scalar_link import Link
from ispkit.tune.contracts import Point
from ispkit.tune.searchers.record import Matrix

Array = NDArray[np.float64]
_NEGLIGIBLE = 0.02
"""a group of features that explains less than this part of the noise variance is left out"""
_EVIDENCE_FROM = 400
"""outcomes from which the variances are learned; the weights are learned from all"""


@dataclass(frozen=True)
class _Seen:
    """Scores made linear by the link: (n,) each."""

    target: Array
    weight: Array
    slope: Array


class SeparableModel:
    """y = link(sum of functions of one coordinate) + noise: a generalized additive model with Gaussian weights.

    The variances of the groups of features and of the noise maximize the marginal likelihood plus a log-normal prior
    (Rasmussen and Williams 2006, 5.4.1; additive kernels: Duvenaud et al. 2011); the link is fitted in
    alternation (Breiman and Friedman 1985), and scores are linearized about it, so that a plateau counts for little.
    """

    def __init__(self, origin: Point) -> None:
        self.basis, self.dim = Basis(origin), len(origin)
        shapes = [0.05, 0.02, 0.02][: len(self.basis.widths)]
        variances = np.array([10.0 * self.dim, self.dim, 1.0, 0.1, *shapes, 0.3 * self.dim]) / self.dim
        self._prior = np.log(variances)
        self._spread = np.array([0.1, 3.0, 2.0, 2.0, *[2.5] * len(shapes), 2.0])
        self._log = self._prior.copy()
        self._link: Link | None = None
        self._shift, self._scale = 0.0, 1.0
        self._used: list[int] = []
        self._precision: Matrix = np.eye(1)

    @property
    def noise(self) -> float:
        """Standard deviation, in units of the scores."""
        return float(np.exp(0.5 * self._log[-1])) * self._scale

    def learn(self, points: Matrix, scores: Array, chance: np.random.Generator, *, steps: int = 12) -> None:
        """Learn variances, link and weights anew from (n, d) and (n,)."""
        self._rescale(scores)
        outer = (scores - self._shift) / self._scale
        seen = _Seen(outer, np.ones_like(outer), np.ones_like(outer))
        some = np.arange(len(outer))
        if len(outer) > _EVIDENCE_FROM:
            some = chance.choice(len(outer), _EVIDENCE_FROM, replace=False)
        for turn in range(3):
            self._maximize(points[some], seen.target[some], seen.weight[some], steps)
            inner = self._condition(points, seen)
            if len(outer) < 3 * self.dim or turn == 2:
                return
            self._link = Link.fit(inner, outer)
            if self._link is not None:
                self._link, factor = self._link.normalized(inner)
                inner = inner * factor
            seen = self._linearize(inner, outer)

    def update(self, points: Matrix, scores: Array) -> None:
        """Only the weights, with the variances and the link as they are."""
        outer = (scores - self._shift) / self._scale
        self._condition(points, self._linearize(self.features(points) @ self._weights, outer))

    def features(self, points: Matrix) -> Matrix:
        """(n, D), scaled to unit prior variance."""
        groups, deviations = self.basis.features(points), np.exp(0.5 * self._log)
        return np.hstack([groups[g] * deviations[g] for g in self._used])

    def information(self, features: Matrix) -> Matrix:
        """What measuring at points of these features (n, D) would add to the precision of the weights, (D, D)."""
        slope = self._slope(features @ self._weights)
        return np.asarray((features * (slope**2 / np.exp(self._log[-1]))[:, None]).T @ features)

    @property
    def precision(self) -> Matrix:
        """Of the weights, (D, D)."""
        return self._precision

    def draws(self, count: int, chance: np.random.Generator) -> np.ndarray:
        """Curves on the grid drawn from the posterior, (count, d, 257)."""
        normal = chance.standard_normal((len(self._weights), count))
        away = solve_triangular(self._factor, normal, lower=True, trans="T", check_finite=False)
        return self._curves((self._weights[:, None] + away).T)

    def curves(self) -> np.ndarray:
        """The posterior mean of what each coordinate adds, (d, 257)."""
        return np.asarray(self._curves(self._weights[None])[0])

    def predict(self, points: Matrix) -> Array:
        """Expected scores at (n, d)."""
        inner = self.features(points) @ self._weights
        outer = inner if self._link is None else self._link.at(inner)[0]
        return np.asarray(self._shift + self._scale * outer)

    def left_out(self) -> Array:
        """Log density of each score given all the others, (n,), with variances and link as they are."""
        features, seen = self._known
        half = solve_triangular(self._factor, features.T, lower=True, check_finite=False)
        noise = np.exp(self._log[-1]) / seen.weight
        leverage = np.minimum((half**2).sum(0) / noise, 1.0 - 1e-9)
        error = (seen.target - features @ self._weights) / (1.0 - leverage)
        variance = noise / (1.0 - leverage)
        density = -0.5 * (error**2 / variance + np.log(2.0 * np.pi * variance))
        return np.asarray(density - np.log(seen.slope * self._scale))

    def _curves(self, weights: Matrix) -> np.ndarray:
        parts: list[Matrix | None] = [None] * self.basis.groups
        sizes = self._sizes
        for group, part in zip(self._used, np.split(weights, np.cumsum(sizes)[:-1], axis=1), strict=True):
            parts[group] = part * np.exp(0.5 * self._log[group])
        return self.basis.curves(parts)

    def _rescale(self, scores: Array) -> None:
        """Standardize; what was learned keeps its meaning."""
        shift, scale = float(np.median(scores)), max(float(np.std(scores)), 1e-12)
        if self._used:
            ratio = scale / self._scale
            self._log = np.clip(self._log - 2.0 * np.log(ratio), self._prior - 12.0, self._prior + 5.0)
            if self._link is not None:
                self._link = self._link.rescaled(ratio, (shift - self._shift) / self._scale)
        self._shift, self._scale = shift, scale

    def _slope(self, inner: Array) -> Array:
        return np.ones_like(inner) if self._link is None else self._link.at(inner)[1]

    def _linearize(self, inner: Array, outer: Array) -> _Seen:
        if self._link is None:
            return _Seen(outer, np.ones_like(outer), np.ones_like(outer))
        value, slope = self._link.at(inner)
        return _Seen(inner + (outer - value) / slope, slope**2, slope)

    def _condition(self, points: Matrix, seen: _Seen) -> Array:
        """The posterior of the weights; gives the sum of the functions at the points."""
        variances = np.exp(self._log)
        groups = self.basis.features(points)
        share = [v * float(np.square(g).sum()) / len(points) for v, g in zip(variances, groups, strict=False)]
        self._used = [g for g, s in enumerate(share) if g < 3 or s > _NEGLIGIBLE * variances[-1]]
        self._sizes = [groups[g].shape[1] for g in self._used]
        features = np.hstack([groups[g] * np.sqrt(variances[g]) for g in self._used])
        scaled = features * (seen.weight / variances[-1])[:, None]
        self._precision = scaled.T @ features + np.eye(features.shape[1])
        self._factor = cholesky(self._precision, lower=True, check_finite=False)
        self._weights = cho_solve((self._factor, True), scaled.T @ seen.target, check_finite=False)
        self._known = (features, seen)
        return np.asarray(features @ self._weights)

    def _maximize(self, points: Matrix, target: Array, weight: Array, steps: int) -> None:
        """A few quasi-Newton steps of the variances on the marginal likelihood."""
        kernels = [g @ g.T for g in self.basis.features(points)]
        kernels.append(np.diag(1.0 / weight))
        identity = np.eye(len(target))

        def loss(log: Array) -> tuple[float, Array]:
            variances = np.exp(log)
            gram = sum((v * k for v, k in zip(variances, kernels, strict=True)), 1e-8 * identity)
            factor = cholesky(gram, lower=True, check_finite=False)
            inverse = cho_solve((factor, True), identity, check_finite=False)
            alpha = inverse @ target
            value = 0.5 * float(target @ alpha) + float(np.log(np.diag(factor)).sum())
            surplus = inverse - np.outer(alpha, alpha)
            slope = np.array([0.5 * v * np.vdot(surplus, k) for v, k in zip(variances, kernels, strict=True)])
            away = (log - self._prior) / self._spread
            return value + 0.5 * float(away @ away), slope + away / self._spread

        bounds = [(m - 12.0, m + 5.0) for m in self._prior]
        found = minimize(loss, self._log, jac=True, method="L-BFGS-B", options={"maxfun": steps}, bounds=bounds)
        self._log = np.asarray(found.x)
