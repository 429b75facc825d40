"""Some knobs held at the expert's value: the same problem with fewer knobs."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any

from ispkit.core.errors import ParamError
from ispkit.core.param import Values
from ispkit.core.space import ParamSpace
from ispkit.tune.contracts import Measurement, Problem
from ispkit.tune.distributions import Setting, legal


class LockedProblem:
    """A `Problem` whose locked knobs are not turned. Without locks it is the problem itself.

    Raises `ParamError` for a pattern that fits no knob and where nothing is left to turn.
    """

    def __init__(self, problem: Problem, lock: Sequence[str] = (), unlock: Sequence[str] = ()) -> None:
        self.inner = problem
        everything = problem.space
        for pattern in (*lock, *unlock):
            everything.select(pattern)
        locked = {n for n in everything if _fits(n, lock) and not _fits(n, unlock)}
        if len(locked) == len(everything):
            raise ParamError("every knob is locked; unlock at least one")
        free = [n for n in everything if n not in locked]
        kept = [o for o in everything.orderings if not locked & set(o)]
        self.space = ParamSpace({n: everything[n] for n in free}, kept)
        self.locked = tuple(n for n in everything if n in locked)

    def __getattr__(self, name: str) -> Any:
        """What else the problem has: inputs, loss of pictures, ISP, for methods that look inside."""
        if name.startswith("_") or name == "inner":  # asked for before there is one, when it is unpickled
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def objectives(self) -> tuple[str, ...]:
        """As the problem's."""
        return self.inner.objectives

    @property
    def pictures(self) -> tuple[str, ...]:
        """As the problem's."""
        return self.inner.pictures

    @property
    def megapixels(self) -> float:
        """As the problem's."""
        return self.inner.megapixels

    def full(self, values: Values) -> Setting:
        """Free knobs -> all knobs, as they are measured: a free one gives way where a locked one orders it."""
        setting = {**self.inner.space.defaults(), **values}
        for lower, higher in self.inner.space.orderings:
            if higher in self.locked and lower not in self.locked:
                setting[lower] = min(float(setting[lower]), float(setting[higher]))
        return legal(self.inner.space, setting)

    def measure(self, values: Values, *, pictures: Sequence[int] | None = None, seed: int = 0) -> Measurement:
        """Measure with the locked knobs at the expert's value."""
        return self.inner.measure(self.full(values), pictures=pictures, seed=seed)


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, p) for p in patterns)
