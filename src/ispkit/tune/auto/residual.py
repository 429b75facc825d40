"""Tuning by the residual itself: which knob moves which part of the picture, learned as the search goes.

A trust-region Gauss-Newton method without derivatives. After a few random orthogonal directions the residual vector
is regressed on the runs near the best one (`residual_model`), the predicted squared length is minimized within a box,
and the step is judged by the true score. On a stall choices are flipped one by one, then the search restarts nearby.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ispkit.core.errors import ParamError, nearest
from ispkit.tune.auto.residual_flips import Flips
from ispkit.tune.auto.residual_gram import Evidence, Site
from ispkit.tune.auto.residual_lattice import Flags, Key, Lattice
from ispkit.tune.auto.residual_model import Array, Kernel, ResidualModel, differences, fit_kernel
from ispkit.tune.contracts import Outcome, Point, SearchSetup

_SALT = 0xA070
"""keeps the chance of the method apart from that of the problem"""


@dataclass(frozen=True)
class ResidualOptions:
    """Settings of the residual method; benchmarks/auto_residual.py compares others (`--options`)."""

    directions: int = 16
    """random orthogonal directions before the first model step (at most the number of knobs)"""
    step: float = 0.08
    """root mean square of a direction's coordinates"""
    radius: float = 0.15
    """half the side of the first trust region"""
    largest: float = 0.6
    smallest: float = 0.012
    """below it the radius starts again at `again`"""
    again: float = 0.06
    caution: float = -0.05
    """how much of the model's own variance is added to what is minimized; negative explores"""
    nearest: int = 200
    """runs that the model is made of"""
    refit: int = 5
    """new runs before the relevances are learned again; a twentieth of all runs where that is more"""
    gain: float = 0.003
    """share of the score that a model step must win to count as progress"""
    patience: int = 1
    """radius resets without progress before a restart"""
    jumps: int = 3
    """knobs that a restart draws anew; the others keep the best point's values"""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> ResidualOptions:
        """From a study's options. Raises `ParamError` for an unknown name."""
        known = [f.name for f in fields(cls)]
        for name in options:
            if name not in known:
                raise ParamError(f"no option {name!r} of the residual method; {nearest(name, known)}")
        return cls(**options)


class TrustRegion:
    """The radius rules: times 1.6 after progress, 0.7 after a failure, again from the middle when too small."""

    def __init__(self, options: ResidualOptions) -> None:
        self.options, self.radius, self.resets = options, options.radius, 0

    def progress(self) -> None:
        """A model step was better than all before."""
        self.radius, self.resets = min(1.6 * self.radius, self.options.largest), 0

    def failure(self) -> None:
        """A model step was not."""
        self.radius *= 0.7
        if self.radius < self.options.smallest:
            self.radius, self.resets = self.options.again, self.resets + 1

    def restart(self) -> None:
        """A new neighborhood."""
        self.radius, self.resets = self.options.radius, 0


class ResidualSearcher:
    """Trust-region Gauss-Newton on regressed residuals; its state is what it was told."""

    def __init__(self, setup: SearchSetup) -> None:
        self.options = ResidualOptions.of(setup.options)
        self.lattice = Lattice(setup.space)
        self.evidence = Evidence(self.lattice)
        self.region = TrustRegion(self.options)
        self.stalls = 0
        """how often the search has come to an end and began again nearby"""
        self._start = self.lattice.legal(np.asarray(setup.start, dtype=np.float64))
        self._seed, self._told, self._budget = setup.seed, 0, setup.budget
        self._rng = np.random.default_rng(setup.seed)
        self._flips = Flips(self.lattice)
        self._roles: dict[Key, str] = {}
        self._left = 1 + min(self.options.directions, int(self.lattice.numeric.sum()), setup.budget // 6)
        self._queue: list[Array] = []
        self._center: Site | None = None
        self._kernel: Kernel | None = None
        self._fitted = 0

    # what comes in

    def tell(self, outcome: Outcome) -> None:
        """Take note of a trial; raises `ShapeError` if its residual has another length than those before."""
        point = np.asarray(outcome.point, dtype=np.float64)
        role = self._roles.pop(self.lattice.key(point), "foreign")
        site = self.evidence.add(outcome)
        self._told += 1
        better = site is not None and site.row >= 0 and self._beats(site, role)
        if role == "model":
            self._judge(site if better else None)
        elif role == "flip":
            self._flips.told(site, paid=better)
        elif role == "foreign":
            self._left -= 1
        if better:
            self._center = site
        elif site is not None and site.count > 1 and site.row >= 0:  # its mean has changed: luck may have been exposed
            self._center = min((s for s in self.evidence.sites if s.row >= 0), key=self._cautious)

    def _judge(self, better: Site | None) -> None:
        """The trust region after a model step; a gain that is not worth a render counts as none."""
        before = math.inf if self._center is None else self._center.score
        if better is not None and before - better.score > self.options.gain * abs(before):
            self.region.progress()
        else:
            self.region.failure()

    def _beats(self, site: Site, role: str) -> bool:
        if self._center is None or role == "restart":
            return True
        return site is not self._center and site.score < self._center.score

    def best(self) -> Point:
        """The best measured point (the mean of repeats counts), or the start."""
        sites = self.evidence.sites
        return min(sites, key=self._cautious).point if sites else self._start

    def _cautious(self, site: Site) -> float:
        """The score, worse by its standard error: a lucky single measurement does not win for good."""
        return site.score + self.evidence.noise / math.sqrt(site.count)

    # what goes out

    def ask(self, pending: Sequence[Point] = ()) -> Point:
        """The next point: a direction, a model step, a flip or a restart; never one already measured."""
        self._rng = np.random.default_rng([_SALT, self._seed, self._told, len(pending)])
        taken = {self.lattice.key(self.lattice.legal(np.asarray(p, dtype=np.float64))) for p in pending}
        point, role = self._propose(taken)
        key = self.lattice.key(point)
        if self.evidence.knows(key) or key in taken:
            point, role = self._other(point, taken), "direction"
            key = self.lattice.key(point)
        self._roles[key] = role
        return point

    def _propose(self, taken: set[Key]) -> tuple[Point, str]:
        center = self._center
        if center is None:
            return self._start, "direction"
        waiting = sum(self._roles.get(key) == "model" for key in taken)
        if self._left > 1 or waiting % 2:
            self._left -= 1
            return self._direction(center), "direction"
        flipped = self._flipped(center)
        if flipped is not None:
            return flipped
        if self.region.resets >= self.options.patience:
            return self._restart(), "restart"
        if len(self._near(center)) < 2:  # a budget too small for directions: nothing to regress on yet
            return self._direction(center), "direction"
        return self._model_step(center, wide=waiting > 0), "model"

    def _flipped(self, center: Site) -> tuple[Point, str] | None:
        """A flip or the refit of one, where it is time for one."""
        if not self.lattice.choices:
            return None
        if self.region.resets > 0 or self._told > self._budget // 3:
            self._flips.begin(center, self.stalls)
        point = self._flips.next_point(center, self.evidence)
        if point is not None:
            return point, "flip"
        site = self._flips.next_refit(self._best_of)
        return None if site is None else (self._model_step(site, wide=False), "refit")

    def _best_of(self, options: tuple[int, ...]) -> Site:
        return min((s for s in self.evidence.sites if s.row >= 0 and s.options == options), key=lambda s: s.score)

    def _direction(self, center: Site) -> Point:
        """A step along the next of a random orthogonal set, to the side with more room."""
        free = self._free(center)
        if not self._queue:
            count = self.lattice.space.dim
            self._queue = list(np.linalg.qr(self._rng.normal(size=(count, count)))[0].T)
        step = np.where(free, self._queue.pop(), 0.0)
        step *= self.options.step * np.sqrt(max(int(free.sum()), 1)) / max(float(np.linalg.norm(step)), 1e-12)
        ends = [np.clip(center.point + sign * step, 0.0, 1.0) for sign in (1, -1)]
        return self.lattice.legal(max(ends, key=lambda end: float(np.abs(end - center.point).sum())))

    def _free(self, center: Site) -> Flags:
        return self.lattice.numeric & self.lattice.active(center.point)

    def _other(self, point: Point, taken: set[Key]) -> Point:
        """A legal point near `point` that nobody has measured: wider and wider noise until one is found."""
        free = self.lattice.numeric & self.lattice.active(point)
        candidate = point
        for spread in (*np.geomspace(0.01, 0.5, 40), *(math.inf for _ in range(200))):
            drawn = self._rng.random(point.shape)
            if spread < math.inf:
                drawn = point + np.where(free, self._rng.normal(scale=spread, size=point.shape), 0.0)
            candidate = self.lattice.legal(drawn)
            key = self.lattice.key(candidate)
            if not self.evidence.knows(key) and key not in taken:
                break
        return candidate

    def _restart(self) -> Point:
        """The best point with a few knobs anywhere, and a new neighborhood round it: the others were found dearly."""
        self.region.restart()
        self.stalls += 1
        best = self.best()
        free = self.lattice.numeric & self.lattice.active(best)
        moved = self._rng.permutation(np.flatnonzero(free))[: self.options.jumps]
        point = best.copy()
        point[moved] = self._rng.random(len(moved))
        return self.lattice.legal(point)

    def _model_step(self, center: Site, *, wide: bool) -> Point:
        sites = self._near(center)
        x = np.array([site.features for site in sites]) - center.features
        gram = self.evidence.gram(sites)
        count = len(self.evidence.sites)
        if self._kernel is None or count - self._fitted >= max(self.options.refit, count // 20):
            first = self._kernel is None
            kernel = self._kernel or Kernel.prior(x.shape[1])
            self._kernel = fit_kernel(kernel, x[1:], differences(gram), iterations=40 if first else 20)
            self._fitted = count
        caution = self.options.caution * (4.0 if wide else 1.0)
        bounds = self._bounds(center, self.region.radius * (2.0 if wide else 1.0))
        found = self._lowest(ResidualModel(self._kernel, x, gram), sites, bounds, caution)
        step = np.zeros_like(center.point)
        step[self.lattice.numeric] = found[: int(self.lattice.numeric.sum())]
        return self.lattice.legal(center.point + step)

    def _bounds(self, center: Site, radius: float) -> Array:
        """(p, 2): the trust region within the cube, relative to the center; choices and dead knobs stay."""
        numeric = self.lattice.numeric
        reach = np.where(self._free(center), radius, 0.0)
        low, high = np.maximum(-reach, -center.point), np.minimum(reach, 1.0 - center.point)
        bounds = np.zeros((len(center.features), 2))
        bounds[: int(numeric.sum())] = np.stack([np.minimum(low, 0.0), np.maximum(high, 0.0)], axis=1)[numeric]
        return bounds

    def _lowest(self, model: ResidualModel, sites: list[Site], bounds: Array, caution: float) -> Array:
        """The step (p,) with the shortest predicted residual, from the center and two random points."""
        starts = [np.zeros(len(bounds)), *(self._rng.uniform(bounds[:, 0], bounds[:, 1]) for _ in range(2))]
        return min((model.lowest(start, bounds, caution=caution) for start in starts), key=lambda pair: pair[1])[0]

    def _near(self, center: Site) -> list[Site]:
        """The runs nearest to the center, itself first."""
        sites = [s for s in self.evidence.sites if s.row >= 0]
        far = np.linalg.norm(np.array([s.features for s in sites]) - center.features, axis=1)
        return [sites[i] for i in np.argsort(far, kind="stable")[: self.options.nearest]]
