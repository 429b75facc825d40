"""What a study may spend and has spent, in renders of the whole set, and when it will be done."""

from __future__ import annotations

import math
import time

_SLACK = 1e-9


class Budget:
    """Renders x megapixels, counted over all sittings of a study; the clock is of this sitting alone."""

    def __init__(self, total: float, set_megapixels: float, *, reserve: float = 0.0) -> None:
        self.total, self.set_megapixels = total, set_megapixels
        self.reserve = reserve
        """kept for the re-measurement at the end"""
        self.spent = 0.0
        self.running = 0
        """trials under way, each counted as a whole set"""
        self._began, self._spent_before = time.monotonic(), 0.0

    def resume(self, spent: float) -> None:
        """Start with what earlier sittings spent."""
        self.spent = self._spent_before = spent
        self._began = time.monotonic()

    def renders(self, megapixels: float, renders: int = 1) -> float:
        """Megapixels -> renders of the set; a problem without pixels counts its renders."""
        return megapixels / self.set_megapixels if self.set_megapixels > 0 else float(renders)

    def charge(self, renders: float) -> None:
        """Spend; also what could not be foreseen, so the total may be exceeded by less than one trial."""
        self.spent += renders

    def room(self, renders: float = 1.0, *, final: bool = False) -> bool:
        """Whether so much may be started now; `final` opens the reserve."""
        kept = 0.0 if final else self.reserve
        return self.spent + self.running + renders <= self.total - kept + _SLACK

    def eta_s(self) -> float:
        """Seconds until the budget is spent, by this sitting's speed; NaN before there is one."""
        done = self.spent - self._spent_before
        if done <= 0:
            return math.nan
        return max(0.0, self.total - self.spent) * (time.monotonic() - self._began) / done
