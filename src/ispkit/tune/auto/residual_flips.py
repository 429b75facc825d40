"""Choices have no slope: on a stall every other option is tried at the best point, the promising ones with a refit."""

from __future__ import annotations

from collections.abc import Callable

from ispkit.tune.auto.residual_gram import Evidence, Site
from ispkit.tune.auto.residual_lattice import Lattice
from ispkit.tune.contracts import Point

REFITTED, STEPS = 2, 4
"""how many options get a refit in a round, and its model steps"""


class Flips:
    """One round of flips after the other, each begun by a stall; a flip that pays stays."""

    def __init__(self, lattice: Lattice) -> None:
        self._lattice = lattice
        self._queue: list[tuple[int, int]] = []
        self._open = 0
        self._tried: list[Site] = []
        self._refits: list[tuple[Site, int]] = []
        self._rounds: set[tuple[int, tuple[int, ...]]] = set()

    def begin(self, center: Site, epoch: int) -> None:
        """Queue every option but the present ones; once for each epoch and setting of the choices."""
        if self._queue or self._refits or (epoch, center.options) in self._rounds:
            return
        self._rounds.add((epoch, center.options))
        sizes = zip(self._lattice.choices.items(), center.options, strict=True)
        self._queue = [(i, option) for (i, size), now in sizes for option in range(size) if option != now]
        self._tried = []

    def next_point(self, center: Site, evidence: Evidence) -> Point | None:
        """The center with one choice turned, not measured before; None when the round is through."""
        active = self._lattice.active(center.point)
        while self._queue:
            coordinate, option = self._queue.pop(0)
            point = self._lattice.with_option(center.point, coordinate, option)
            if active[coordinate] and not evidence.knows(self._lattice.key(point)):
                self._open += 1
                return point
        return None

    def next_refit(self, best_of: Callable[[tuple[int, ...]], Site]) -> Site | None:
        """Where to take the next model step with a flipped choice."""
        if not self._refits:
            return None
        site, left = self._refits.pop(0)
        if left > 1:
            self._refits.insert(0, (site, left - 1))
        return best_of(site.options)

    def told(self, site: Site | None, *, paid: bool) -> None:
        """The outcome of a flip; when all are in, those that lost least get a refit."""
        self._open -= 1
        if site is not None and site.row >= 0 and not paid:
            self._tried.append(site)
        if not self._queue and self._open <= 0:
            nearest = sorted(self._tried, key=lambda s: s.score)[:REFITTED]
            self._refits, self._tried = [(s, STEPS) for s in nearest], []
