"""What is tuned, what one rendering gives, and what a method must do. Nothing here knows what a pixel is.

Scores are lower-is-better everywhere; a method sees points of the unit cube (`ParamSpace.from_vector`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ispkit.core.param import Values
from ispkit.core.space import ParamSpace

Point = NDArray[np.float64]
"""(n,) in [0, 1]"""
Residual = NDArray[np.float32]
"""(m,): differences from what is wanted, in an order that never changes within a study"""


@dataclass(frozen=True)
class Measurement:
    """What rendering the pictures of a problem under one setting gave, and what it cost."""

    scores: Mapping[str, float]
    """objective -> mean over the pictures rendered; NaN and infinity are refused by the study"""
    per_picture: Mapping[str, Sequence[float]]
    """objective -> one score a rendered picture, in their order"""
    pictures: tuple[int, ...]
    """which pictures were rendered"""
    residual: Residual | None = None
    """a vector whose squared length falls and rises with the first objective, where it has one"""
    constraints: Mapping[str, float] = field(default_factory=dict)
    """name -> amount; met where <= 0"""
    rendered: tuple[NDArray[np.uint8], ...] = ()
    """the pictures themselves, (H, W, 3), for the study to keep; methods may read them, the core does not"""
    renders: int = 0
    megapixels: float = 0.0
    seconds: float = 0.0


class Problem(Protocol):
    """Something to tune."""

    @property
    def space(self) -> ParamSpace:
        """The knobs to turn; their defaults are the expert's setting, trial 0."""

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the scores; the first one is what a single-objective method minimizes."""

    @property
    def pictures(self) -> tuple[str, ...]:
        """Names of the pictures that `measure` renders."""

    @property
    def megapixels(self) -> float:
        """Of all pictures once: the unit of a budget."""

    def measure(self, values: Values, *, pictures: Sequence[int] | None = None, seed: int = 0) -> Measurement:
        """Render (some of) the pictures and score them. Raises `BlackBoxError` if the black box fails.

        `seed` stands for the noise of a measurement that has some: same seed, same noise.
        """


@dataclass(frozen=True)
class Outcome:
    """One finished trial, as a method sees it."""

    point: Point
    """where it was really measured: registers rounded, orderings kept"""
    score: float
    """of the first objective (or the weighted sum of all); infinity for a failed trial"""
    residual: Residual | None = None
    rendered: Callable[[], tuple[NDArray[np.uint8], ...]] | None = None
    """loads the pictures, for methods that model them"""
    constrained: bool = False
    """what decides is more than the pictures' loss: a trial that misses a constraint has a worse score than its own"""


class Searcher(Protocol):
    """A method. It may be told of points it never asked for: the expert's, another worker's, a resumed study's.

    Its state is what it was told: a new searcher with the same seed that is told the same outcomes goes on
    as well as the old one. `ask` is called again before the answer comes where several workers run.
    """

    def ask(self, pending: Sequence[Point] = ()) -> Point:
        """The next point to measure; `pending` are being measured by others now."""

    def tell(self, outcome: Outcome) -> None:
        """Take note of a finished (or failed) trial."""

    def best(self) -> Point:
        """The point that the method recommends from all it was told; not always one that was measured."""


@dataclass(frozen=True)
class SearchSetup:
    """All that a method may know before the first render."""

    space: ParamSpace
    start: Point
    """the expert's setting"""
    budget: int
    """renders of the whole set that may be spent"""
    seed: int = 0
    problem: Problem | None = None
    """only for methods that look inside (the proxy); the others leave it alone"""
    options: Mapping[str, Any] = field(default_factory=dict)
    """a method's own settings; an unknown name raises `ParamError`"""


Method = Callable[[SearchSetup], Searcher]
"""tune/methods.py names them in one plain dict"""
