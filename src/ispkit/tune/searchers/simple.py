"""Methods that do not learn: the start itself, random points, Latin hypercube, Sobol sequence."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from scipy.stats import qmc

from ispkit.tune.contracts import Point, SearchSetup
from ispkit.tune.searchers.record import Record, read_options


class DefaultSearcher(Record):
    """The expert's setting, again and again: what doing nothing gives."""

    def __init__(self, setup: SearchSetup) -> None:
        super().__init__(setup)
        read_options(setup, {})

    def ask(self, pending: Sequence[Point] = ()) -> Point:
        """The start."""
        return self.start.copy()

    def best(self) -> Point:
        """The start."""
        return self.start.copy()


class RandomSearcher(Record):
    """Uniform points of the unit cube."""

    def __init__(self, setup: SearchSetup) -> None:
        super().__init__(setup)
        read_options(setup, {})

    def ask(self, pending: Sequence[Point] = ()) -> Point:
        """A uniform point."""
        return self.chance(self.turn(pending)).random(self.dim)


class LatinSearcher(Record):
    """One Latin hypercube of the whole budget (McKay 1979), then further ones."""

    def __init__(self, setup: SearchSetup) -> None:
        super().__init__(setup)
        read_options(setup, {})
        self._size = max(setup.budget, 1)
        self._sheet = -1
        self._design = np.zeros((0, self.dim))

    def ask(self, pending: Sequence[Point] = ()) -> Point:
        """The design's next point."""
        sheet, row = divmod(self.turn(pending), self._size)
        if sheet != self._sheet:
            self._sheet = sheet
            self._design = qmc.LatinHypercube(self.dim, rng=self.chance(sheet)).random(self._size)
        return np.array(self._design[row], dtype=np.float64)


class SobolSearcher(Record):
    """A scrambled Sobol sequence (Owen 1998)."""

    def __init__(self, setup: SearchSetup) -> None:
        super().__init__(setup)
        read_options(setup, {})
        self._design = np.zeros((0, self.dim))

    def ask(self, pending: Sequence[Point] = ()) -> Point:
        """The sequence's next point."""
        turn = self.turn(pending)
        if turn >= len(self._design):
            power = int(np.ceil(np.log2(max(turn + 1, self.setup.budget, 2))))
            self._design = sobol(self.dim, power, self.chance(0))
        return np.array(self._design[turn], dtype=np.float64)


def sobol(dim: int, power: int, chance: np.random.Generator) -> np.ndarray:
    """2**power scrambled Sobol points, (n, dim) in [0, 1)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # more bits than 2**30 points need
        return np.asarray(qmc.Sobol(dim, rng=chance).random_base2(power), dtype=np.float64)
