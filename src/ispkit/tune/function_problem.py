"""A plain function as a problem: no ISP, no pictures; for test functions and for programs that only give a number."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ispkit.core.errors import BlackBoxError, ParamError
from ispkit.core.param import Values
from ispkit.core.space import ParamSpace
from ispkit.tune.contracts import Measurement

Answer = float | Mapping[str, float] | NDArray[np.floating[Any]]
"""one score, scores by name, or a residual (m,) whose squared length is the score"""


class FunctionProblem:
    """A function of readable values, {"knob": number or option}, lower is better; one call is one render.

    `noise` is the standard deviation of normal noise added to every score, drawn from the `seed` of `measure`
    (same seed, same noise). `objectives` name the scores where the function gives several.
    """

    def __init__(
        self,
        space: ParamSpace,
        function: Callable[[dict[str, Any]], Answer],
        *,
        objectives: Sequence[str] = ("value",),
        noise: float = 0.0,
    ) -> None:
        if not objectives or len(set(objectives)) < len(objectives):
            raise ParamError(f"objectives need different names, got {list(objectives)}")
        if not (math.isfinite(noise) and noise >= 0):
            raise ParamError(f"noise={noise} must be a standard deviation, 0 or above")
        self.space = space
        self.objectives: tuple[str, ...] = tuple(objectives)
        self.noise = noise
        self._function = function

    @property
    def pictures(self) -> tuple[str, ...]:
        """One stands for the function."""
        return ("function",)

    @property
    def megapixels(self) -> float:
        """1, so that a budget counts calls."""
        return 1.0

    def measure(self, values: Values, *, pictures: Sequence[int] | None = None, seed: int = 0) -> Measurement:
        """Call the function; knobs left out have their defaults. Raises `BlackBoxError`, `ParamError`."""
        self.space.check(values)
        if pictures is not None and list(pictures) != [0]:
            raise ParamError(f"pictures={list(pictures)}: a function has one, 0")
        start = time.perf_counter()
        try:
            answer = self._function(self.space.readable({**self.space.defaults(), **values}))
        except BlackBoxError:
            raise
        except Exception as error:
            raise BlackBoxError(f"{type(error).__name__}: {error}") from error
        scores, residual = self._scored(answer, np.random.default_rng(seed))
        return Measurement(
            scores=scores,
            per_picture={name: (score,) for name, score in scores.items()},
            pictures=(0,),
            residual=residual,
            renders=1,
            megapixels=1.0,
            seconds=time.perf_counter() - start,
        )

    def _scored(
        self, answer: Answer, chance: np.random.Generator
    ) -> tuple[dict[str, float], NDArray[np.float32] | None]:
        residual = None
        if isinstance(answer, Mapping):
            missing = [n for n in self.objectives if n not in answer]
            if missing:
                raise BlackBoxError(f"the function gave no {', '.join(missing)}; it gave {', '.join(answer)}")
            exact = {name: float(answer[name]) for name in self.objectives}
        elif np.ndim(answer) == 1:
            vector = np.asarray(answer, np.float64)
            residual = vector.astype(np.float32)
            exact = {self.objectives[0]: float(vector @ vector)}
        else:
            exact = {self.objectives[0]: float(answer)}
        if len(exact) < len(self.objectives):
            raise BlackBoxError(f"the function gave one score, {len(self.objectives)} are wanted")
        scores = {n: s + self.noise * float(chance.standard_normal()) if self.noise else s for n, s in exact.items()}
        for name, score in scores.items():
            if not math.isfinite(score):
                raise BlackBoxError(f"the function gave {name}={score}")
        return scores, residual
