"""An exact Gaussian process with a Matern-5/2 kernel and one length a coordinate, fitted by marginal likelihood."""

from __future__ import annotations

from math import log, pi

import torch
from torch import Tensor

_NOISE = (1e-4, 2.0)
_LENGTH = (0.03, 10.0)
_JITTER = 1e-6


class GaussianProcess:
    """The posterior of a function of the unit cube given noisy values, standardized inside.

    Lengths, signal and noise maximize the marginal likelihood plus a weak log-normal prior, by Adam from where the
    last fit ended (Rasmussen and Williams 2006, chapter 5).
    """

    def __init__(self, dim: int) -> None:
        self._log_length = torch.full((dim,), log(0.5 * max(dim, 1) ** 0.5), dtype=torch.float64)
        self._log_noise = torch.tensor(log(0.1), dtype=torch.float64)
        self._log_signal = torch.tensor(0.0, dtype=torch.float64)
        self._prior = self._log_length.clone()

    def fit(self, points: Tensor, scores: Tensor, *, steps: int = 30) -> None:
        """Condition on points (n, d) with scores (n,); `steps` of Adam on the hyperparameters first."""
        self._x = points
        self._shift, self._scale = scores.mean(), scores.std().clamp_min(1e-12) if len(scores) > 1 else torch.ones(())
        self._y = (scores - self._shift) / self._scale
        knobs = [self._log_length, self._log_noise, self._log_signal]
        for knob in knobs:
            knob.requires_grad_(True)
        adam = torch.optim.Adam(knobs, lr=0.1)
        for _ in range(steps):
            adam.zero_grad()
            self._loss().backward()  # type: ignore[no-untyped-call]
            adam.step()
            with torch.no_grad():
                self._log_length.clamp_(log(_LENGTH[0]), log(_LENGTH[1]))
                self._log_noise.clamp_(log(_NOISE[0]), log(_NOISE[1]))
                self._log_signal.clamp_(-3.0, 3.0)
        for knob in knobs:
            knob.requires_grad_(False)
        self._chol = self._cholesky()
        self._alpha = torch.cholesky_solve(self._y[:, None], self._chol)

    @property
    def lengths(self) -> Tensor:
        """(d,) in units of the cube."""
        return self._log_length.exp()

    def mean(self, points: Tensor) -> Tensor:
        """Posterior mean at (m, d), in units of the scores."""
        return self._shift + self._scale * (self._kernel(points, self._x) @ self._alpha)[:, 0]

    def sample(self, points: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Joint draws of the noiseless function at (m, d), (draws, m)."""
        cross = self._kernel(self._x, points)
        half = torch.linalg.solve_triangular(self._chol, cross, upper=False)
        cov = self._kernel(points, points) - half.T @ half
        cov.diagonal().add_(_JITTER * 10)
        factor, failed = torch.linalg.cholesky_ex(cov)
        if int(failed):
            cov.diagonal().add_(1e-3)
            factor = torch.linalg.cholesky(cov)
        normal = torch.randn(len(points), draws, generator=generator, dtype=torch.float64)
        drawn: Tensor = (self.mean(points)[:, None] + self._scale * (factor @ normal)).T
        return drawn

    def left_out(self) -> Tensor:
        """Log density of each score given all the others, (n,)."""
        inverse = torch.cholesky_inverse(self._chol)
        variance = 1.0 / inverse.diagonal()
        error = self._alpha[:, 0] * variance
        return -0.5 * (error.square() / variance + (2.0 * pi * variance).log()) - self._scale.log()

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        length = self._log_length.exp()
        u, v = a / length, b / length
        square = u.square().sum(1)[:, None] + v.square().sum(1)[None] - 2.0 * u @ v.T
        r = (5.0 * square.clamp_min(1e-12)).sqrt()
        return self._log_signal.exp() * (1.0 + r + r * r / 3.0) * torch.exp(-r)

    def _cholesky(self) -> Tensor:
        gram = self._kernel(self._x, self._x)
        noise = self._log_noise.exp() + _JITTER
        factor: Tensor = torch.linalg.cholesky(gram + noise * torch.eye(len(gram), dtype=torch.float64))
        return factor

    def _loss(self) -> Tensor:
        """Negative log posterior of the hyperparameters."""
        chol = self._cholesky()
        white = torch.linalg.solve_triangular(chol, self._y[:, None], upper=False)
        evidence: Tensor = 0.5 * white.square().sum() + chol.diagonal().log().sum() + 0.5 * len(self._y) * log(2 * pi)
        prior = 0.5 * ((self._log_length - self._prior) / 1.0).square().sum()
        return evidence + prior + 0.5 * ((self._log_noise - log(0.1)) / 2.0).square()
