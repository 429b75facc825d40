"""Local searches with restarts: Nelder-Mead, Powell, and Nelder-Mead one stage at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count

import numpy as np
from scipy.optimize import minimize

from ispkit.tune.contracts import Outcome, Point, SearchSetup
from ispkit.tune.searchers.inverted import Inverted, Routine
from ispkit.tune.searchers.record import Record, legal, read_options

_SAME = 1e-4
"""two points nearer than this in each coordinate are one"""
_FAILED = 1e30
"""finite, for scipy computes with it"""


class LocalSearcher(Record):
    """Runs local searches one after the other; a question is open until its answer is told.

    A further worker, and whoever asks while a question is open elsewhere, gets a uniform point.
    """

    def __init__(self, setup: SearchSetup) -> None:
        super().__init__(setup)
        self._routines = self.routines()
        self._routine: Inverted | None = None
        self._given = False
        self._strayed: float | None = None

    def routines(self) -> Iterator[Routine]:
        """The searches to run, without end."""
        raise NotImplementedError

    def ask(self, pending: Sequence[Point] = ()) -> Point:
        """The point the local search waits for."""
        turn = self.turn(pending)
        question = self._question()
        if self._given and self._strayed is not None and not pending:
            self._answer(self._strayed)  # it was measured somewhere else than asked; that is its answer
            question = self._question()
        if self._given:
            return self.chance(turn).random(self.dim)
        self._given = True
        return question.copy()

    def tell(self, outcome: Outcome) -> None:
        """Answer the open question if the outcome is of its point; else only remember it."""
        super().tell(outcome)
        question, point, score = self._question(), self._points[-1], self._scores[-1]
        score = score if np.isfinite(score) else _FAILED
        if _near(question, point) or _near(legal(self.setup.space, question), point):
            self._answer(score)
        else:
            self._strayed = score

    def _question(self) -> Point:
        while self._routine is None or self._routine.question is None:
            self._routine = Inverted(next(self._routines))
        return np.clip(self._routine.question, 0.0, 1.0)

    def _answer(self, score: float) -> None:
        if self._routine is not None:
            self._routine.answer(score)
        self._given, self._strayed = False, None


class NelderMeadSearcher(LocalSearcher):
    """Nelder-Mead (1965, adaptive: Gao and Han 2012) from the start, then from random points."""

    def __init__(self, setup: SearchSetup) -> None:
        self._step = float(read_options(setup, {"step": 0.15})["step"])
        super().__init__(setup)

    def routines(self) -> Iterator[Routine]:
        """One search from the start, the others from random points."""
        yield _simplex_search(self.start, self._step)
        for k in count(1):
            yield _simplex_search(self.chance(0, k).random(self.dim), self._step)


class PowellSearcher(LocalSearcher):
    """Powell's method of line searches (1964) from the start, then from random points."""

    def __init__(self, setup: SearchSetup) -> None:
        read_options(setup, {})
        super().__init__(setup)

    def routines(self) -> Iterator[Routine]:
        """One search from the start, the others from random points."""
        yield _powell(self.start)
        for k in count(1):
            yield _powell(self.chance(0, k).random(self.dim))


class BlockwiseSearcher(LocalSearcher):
    """Nelder-Mead over the knobs of one stage at a time (Nishimura et al. 2018), round and round.

    A stage's knobs are those with the same name before the dot; they are taken in the order of the space, from the
    best setting known, for `rounds` times (knobs + 1) measurements.
    """

    def __init__(self, setup: SearchSetup) -> None:
        options = read_options(setup, {"step": 0.15, "rounds": 8})
        self._step, self._rounds = float(options["step"]), int(options["rounds"])
        super().__init__(setup)

    def routines(self) -> Iterator[Routine]:
        """One search a block; the step halves from one tour of the blocks to the next, down to an eighth."""
        stages: dict[str, list[int]] = {}
        for i, name in enumerate(self.setup.space):
            stages.setdefault(name.partition(".")[0], []).append(i)
        for tour in count():
            for block in stages.values():
                cost = self._rounds * (len(block) + 1)
                yield _block_search(self.best(), block, self._step / 2 ** min(tour, 3), cost)


def _near(a: Point, b: Point) -> bool:
    return bool(np.abs(a - b).max(initial=0.0) < _SAME)


def _simplex(start: Point, step: float) -> np.ndarray:
    """The start and, for each coordinate, a point one step further into the cube, (d + 1, d)."""
    sign = np.where(start > 0.5, -1.0, 1.0)
    return np.vstack([start, start + np.diag(step * sign)])


def _simplex_search(start: Point, step: float, cost: int | None = None) -> Routine:
    def routine(score: Callable[[Point], float]) -> None:
        options = {"initial_simplex": _simplex(start, step), "adaptive": True, "xatol": 1e-3, "fatol": 1e-9}
        limits = {"maxfev": cost or 100_000, "maxiter": 100_000}
        minimize(score, start, method="Nelder-Mead", bounds=[(0.0, 1.0)] * len(start), options={**options, **limits})

    return routine


def _block_search(start: Point, block: list[int], step: float, cost: int) -> Routine:
    def routine(score: Callable[[Point], float]) -> None:
        def of_block(part: Point) -> float:
            point = start.copy()
            point[block] = part
            return score(point)

        _simplex_search(start[block], step, cost)(of_block)

    return routine


def _powell(start: Point) -> Routine:
    def routine(score: Callable[[Point], float]) -> None:
        options = {"xtol": 1e-3, "ftol": 1e-9, "maxfev": 100_000, "maxiter": 100_000}
        minimize(score, start, method="Powell", bounds=[(0.0, 1.0)] * len(start), options=options)

    return routine
