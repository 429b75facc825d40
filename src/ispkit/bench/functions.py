"""Four noisy test functions in 20 dimensions, and one run of a method on one of them (Tseng et al. 2019, Fig. 6)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ispkit.core.param import Param
from ispkit.core.space import ParamSpace
from ispkit.tune.contracts import Method, Outcome, Point, SearchSetup

DIM = 20
NOISE = 0.03
"""standard deviation of the noise over the maximum on the centered domain"""
Variant = Literal["centered", "shifted"]
VARIANTS: tuple[Variant, ...] = ("centered", "shifted")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class TestFunction:
    """A function of (..., d) with its minimum 0 at the origin of [-half, half]^d."""

    __test__ = False  # not a test case, whatever its name begins with

    name: str
    half: float
    of: Callable[[Array], Array]
    worst: float
    """all coordinates here give the maximum"""

    def maximum(self, dim: int = DIM) -> float:
        """The largest value on the centered domain."""
        return float(self.of(np.full(dim, self.worst)))


def ackley(x: Array) -> Array:
    """A funnel with ripples (Ackley 1987)."""
    radius = np.sqrt(np.mean(x * x, axis=-1))
    ripple = np.exp(np.mean(np.cos(2.0 * np.pi * x), axis=-1))
    return np.asarray(20.0 - 20.0 * np.exp(-0.2 * radius) + np.e - ripple)


def rastrigin(x: Array) -> Array:
    """A bowl full of dents (Rastrigin 1974)."""
    return np.asarray(np.sum(x * x - 10.0 * np.cos(2.0 * np.pi * x) + 10.0, axis=-1))


def step2(x: Array) -> Array:
    """A bowl of steps one unit wide (Jamil and Yang 2013, no. 139)."""
    return np.asarray(np.sum(np.floor(x + 0.5) ** 2, axis=-1))


def alpine1(x: Array) -> Array:
    """Folded waves that grow outward (Jamil and Yang 2013, no. 6)."""
    return np.asarray(np.sum(np.abs(x * np.sin(x) + 0.1 * x), axis=-1))


FUNCTIONS: dict[str, TestFunction] = {
    f.name: f
    for f in (
        TestFunction("ackley", 32.768, ackley, worst=32.500417),
        TestFunction("rastrigin", 5.12, rastrigin, worst=4.52299),
        TestFunction("step2", 100.0, step2, worst=100.0),
        TestFunction("alpine1", 10.0, alpine1, worst=7.99089),
    )
}


@dataclass(frozen=True)
class Task:
    """One function, variant and seed: the same noise, shift and start for every method."""

    function: TestFunction
    variant: Variant
    seed: int
    dim: int = DIM

    @property
    def space(self) -> ParamSpace:
        """The coordinates as knobs."""
        half = self.function.half
        knobs = {f"f.x{i}": Param(default=0.0, low=-half, high=half, doc="coordinate") for i in range(self.dim)}
        return ParamSpace(knobs)

    @property
    def optimum(self) -> Point:
        """Where the minimum is, in the unit cube."""
        if self.variant == "centered":
            return np.full(self.dim, 0.5)
        return 0.1 + 0.8 * self._chance(1).random(self.dim)

    @property
    def start(self) -> Point:
        """Never the minimum: a random point where that is in the middle, else the middle."""
        if self.variant == "centered":
            return self._chance(2).random(self.dim)
        return np.full(self.dim, 0.5)

    def _chance(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([crc32(self.function.name.encode()), self.seed, purpose])

    def value(self, point: Point) -> float:
        """Without noise."""
        return float(self.function.of(2.0 * self.function.half * (point - self.optimum)))

    def noise(self, count: int) -> Array:
        """Of the first `count` measurements."""
        deviation = NOISE * self.function.maximum(self.dim)
        return np.asarray(deviation * self._chance(3).standard_normal(count))


@dataclass(frozen=True)
class Reached:
    """What a method recommends after `budget` measurements."""

    budget: int
    value: float
    """noiseless, at the recommended point"""
    observed: float
    """noiseless, at the point with the best noisy value"""
    seconds: float
    """of processor time inside the method so far"""


def run_task(
    method: Method, task: Task, budgets: Sequence[int], *, options: Mapping[str, Any] | None = None
) -> list[Reached]:
    """Ask, measure with noise, tell; at each budget take down what the method recommends."""
    setup = SearchSetup(task.space, task.start, max(budgets), task.seed, options=options or {})
    searcher, reached, seconds = method(setup), [], 0.0
    noise, best_seen, best_point = task.noise(max(budgets)), np.inf, task.start
    for k in range(max(budgets)):
        began = time.process_time()
        point = searcher.ask()
        seconds += time.process_time() - began
        seen = task.value(point) + noise[k]
        if seen < best_seen:
            best_seen, best_point = seen, point
        began = time.process_time()
        searcher.tell(Outcome(point, seen))
        if k + 1 in budgets:
            recommended = searcher.best()
            seconds += time.process_time() - began
            reached.append(Reached(k + 1, task.value(recommended), task.value(best_point), seconds))
        else:
            seconds += time.process_time() - began
    return reached
