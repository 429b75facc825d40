"""Regression of a long residual on the knobs by inner products alone: linear plus smooth, relevance learned.

Every number of the residual follows the same Gaussian process: a linear and a squared-exponential part whose
relevances (one a feature) are found by maximum marginal likelihood. What is modeled are the differences D from the
residual r of the center, so that no constant has to be known. With the inner products G = D Dᵀ the squared length of
the predicted residual at u is |r|² + 2 wᵀ D r + wᵀ G w, w = K⁻¹ k(u): its cost does not depend on the length.
The composition of a known outer function with a modeled inner vector is that of Astudillo and Frazier (2019),
"Bayesian Optimization of Composite Functions", https://proceedings.mlr.press/v97/astudillo19a.html.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.optimize import minimize
from torch import Tensor

Array = NDArray[np.float64]

WEIGHT = 30.0
"""how many independent outputs the likelihood believes in: pixels are far from independent"""
JITTER = 1e-8
_LEAST = 1e-20  # a squared length that counts as none
RELEVANCE, LINEAR, NUGGET = np.log(0.7), 0.0, np.log(0.03)
"""means of the normal priors of the logarithms"""


@dataclass(frozen=True)
class Kernel:
    """Relevance of each feature (p,), weight of the linear part and noise, all as logarithms in one vector."""

    theta: Array

    @classmethod
    def prior(cls, features: int) -> Kernel:
        """The prior's mean."""
        return cls(np.concatenate([np.full(features, RELEVANCE), [LINEAR, NUGGET]]))

    @property
    def relevance(self) -> Array:
        """(p,): squared inverse length of each feature."""
        return np.exp(2 * self.theta[:-2])

    @property
    def linear(self) -> float:
        """Variance of the linear part."""
        return float(np.exp(2 * self.theta[-2]))

    @property
    def nugget(self) -> float:
        """Variance of the noise, and of what neither part explains."""
        return float(np.exp(2 * self.theta[-1]))

    def parts(self, a: Array, b: Array) -> tuple[Array, Array]:
        """Linear (unweighted) part and squared exponential, (Na, Nb) each, between points relative to the center."""
        scaled = a * self.relevance
        products = scaled @ b.T
        squares = (scaled * a).sum(1)[:, None] + (b * b * self.relevance).sum(1)[None] - 2 * products
        return products, np.exp(-0.5 * np.maximum(squares, 0.0))

    def decay(self, x: Array) -> Array:
        """(N,): the squared exponential between points and the center."""
        return np.asarray(np.exp(-0.5 * (x * x * self.relevance).sum(1)))

    def covariance(self, x: Array) -> tuple[Array, Array, Array]:
        """Of the differences from the center, with noise that they share through it: (N, N), and its two parts."""
        products, smooth = self.parts(x, x)
        decay = self.decay(x)
        total = self.linear * products + smooth - decay[:, None] - decay[None] + 1.0 + self.nugget
        total[np.diag_indices(len(x))] += self.nugget + JITTER
        return total, products, smooth


def _inverse(matrix: Array) -> tuple[Array, float]:
    """Inverse and half the log determinant of a positive definite matrix. Raises `LinAlgError`."""
    factor = np.linalg.cholesky(matrix)
    lower, _ = lapack.dpotri(factor, lower=1)
    inverse: Array = np.tril(lower) + np.tril(lower, -1).T
    return inverse, float(np.log(np.diag(factor)).sum())


def misfit(theta: Array, x: Array, gram: Array) -> tuple[float, Array]:
    """Negative log posterior of the kernel (up to a constant, scale profiled out) and its gradient."""
    kernel, count = Kernel(theta), len(x)
    covariance, products, smooth = kernel.covariance(x)
    try:
        inverse, half_logdet = _inverse(covariance)
    except np.linalg.LinAlgError:
        return 1e12, np.zeros_like(theta)
    weighed = inverse @ gram
    power = max(float(np.trace(weighed)), _LEAST)
    w = WEIGHT * (0.5 * inverse - 0.5 * count * (weighed @ inverse) / power)
    ws = w * smooth
    curved = 2 * ((ws.sum(1)[:, None] * x * x).sum(0) - (x * (ws @ x)).sum(0))
    curved -= 2 * ((w.sum(1) * kernel.decay(x))[:, None] * x * x).sum(0)
    gradient = np.empty_like(theta)
    gradient[:-2] = kernel.relevance * (2 * kernel.linear * (x * (w @ x)).sum(0) - curved)
    gradient[-2] = 2 * kernel.linear * (w * products).sum()
    gradient[-1] = 2 * kernel.nugget * (np.trace(w) + w.sum())
    away = theta - Kernel.prior(len(theta) - 2).theta
    spread = np.concatenate([np.ones(len(theta) - 2), [1.5, 1.5]])
    value = WEIGHT * (half_logdet + 0.5 * count * np.log(power)) + 0.5 * float(((away / spread) ** 2).sum())
    return value, gradient + away / spread**2


def fit_kernel(kernel: Kernel, x: Array, gram: Array, *, iterations: int) -> Kernel:
    """A few L-BFGS steps on the log posterior, from `kernel`."""
    bounds = [(-6.0, 3.0)] * (len(kernel.theta) - 2) + [(-4.0, 4.0), (-7.0, 1.0)]
    found = minimize(
        misfit,
        kernel.theta,
        args=(x, gram),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": iterations},
    )
    return Kernel(np.asarray(found.x))


def differences(gram: Array) -> Array:
    """(N, N) inner products of residuals -> (N - 1, N - 1) of their differences from the first."""
    own = gram[1:, :1]
    apart: Array = gram[1:, 1:] - own - own.T + gram[0, 0]
    return apart


@dataclass(frozen=True)
class Form:
    """What is minimized as a quadratic in k(u): k @ pulled @ k + 2 * slope @ k + level, plus caution * variance(u)."""

    pulled: Array
    slope: Array
    level: float
    caution: float


class ResidualModel:
    """Predicts the residual round a center from the runs near it; the center is the first row of `x` and `gram`."""

    def __init__(self, kernel: Kernel, x: Array, gram: Array) -> None:
        self._kernel, self._x = kernel, x[1:]
        self.inverse, _ = _inverse(kernel.covariance(self._x)[0])
        apart = differences(gram)
        self._pulled = self.inverse @ apart @ self.inverse
        self._slope = self.inverse @ (gram[1:, 0] - gram[0, 0])
        self._level = float(gram[0, 0])
        self._power = float(np.trace(self.inverse @ apart)) / len(apart)

    def form(self, caution: float) -> Form:
        """Squared length of the mean, plus `caution` times the variance."""
        pulled = self._pulled - caution * self._power * self.inverse
        return Form(pulled, self._slope, self._level, caution * self._power)

    def value(self, u: Array, form: Form) -> tuple[float, Array]:
        """The form at one point (p,) relative to the center, and its gradient."""
        kernel = self._kernel
        products, smooth = kernel.parts(u[None], self._x)
        near = kernel.decay(u[None])[0]
        k = kernel.linear * products[0] + smooth[0] - near - kernel.decay(self._x) + 1.0 + kernel.nugget
        pulled = form.pulled @ k
        square = float((u * u * kernel.relevance).sum())
        own = kernel.linear * square + 2.0 * (1.0 - near) + kernel.nugget
        value = float(k @ pulled + 2.0 * form.slope @ k) + form.level + form.caution * own
        each = pulled + form.slope
        bent = smooth[0] * each
        linear = kernel.linear * (each @ self._x + form.caution * u)
        curved = bent @ self._x - u * bent.sum() + u * near * (each.sum() + form.caution)
        return value, 2 * kernel.relevance * (linear + curved)

    def lowest(self, start: Array, bounds: Array, *, caution: float) -> tuple[Array, float]:
        """The minimum within `bounds` (p, 2) that L-BFGS reaches from `start`, and its value."""
        form = self.form(caution)
        scale = max(self._level, self._power, _LEAST)

        def scaled(u: Array) -> tuple[float, Array]:
            value, gradient = self.value(u, form)
            return value / scale, gradient / scale

        found = minimize(scaled, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 100})
        return np.asarray(found.x), float(found.fun) * scale

    def weights(self, u: Tensor) -> Tensor:
        """(N - 1,): share of each difference in the prediction at one point (p,), float64 and with a gradient."""
        kernel, x = self._kernel, torch.from_numpy(self._x)
        relevance = torch.from_numpy(kernel.relevance)
        smooth = torch.exp(-0.5 * ((x - u).square() * relevance).sum(1))
        near = torch.exp(-0.5 * (u.square() * relevance).sum())
        decay = torch.from_numpy(kernel.decay(self._x))
        k = kernel.linear * (x * relevance) @ u + smooth - near - decay + 1.0 + kernel.nugget
        return torch.from_numpy(self.inverse) @ k
