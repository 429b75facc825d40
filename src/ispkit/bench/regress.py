"""Regression of a tuning: the same chart shots through two ISPs, every KPI side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from torch import Tensor

from ispkit.bench.chart_shots import ChartShot
from ispkit.bench.tolerances import DEFAULTS, Change, Tolerance, compare_results
from ispkit.bench.tunings import Tuning
from ispkit.core.errors import FileError, IspkitError, nearest
from ispkit.kpi.locate import locate
from ispkit.kpi.measure import measure
from ispkit.kpi.result import Result
from ispkit.kpi.view import Settings


@dataclass(frozen=True)
class ShotChange:
    """One shot through A and B: the developed pictures, what was measured, and the verdicts."""

    shot: str
    pictures: tuple[Tensor, Tensor]
    """encoded (3, H, W)"""
    results: tuple[Result, Result]
    changes: tuple[Change, ...]

    def of(self, *verdicts: str) -> tuple[Change, ...]:
        """The changes with one of these verdicts."""
        return tuple(c for c in self.changes if c.verdict in verdicts)

    def main(self) -> tuple[Change, ...]:
        """Without the single regions of a KPI that has a mean over them."""
        means = {c.a.name for c in self.changes if not c.a.region}
        return tuple(c for c in self.changes if not c.a.region or c.a.name not in means)


def regress(
    shots: Iterable[ChartShot],
    a: Tuning,
    b: Tuning,
    *,
    settings: Settings,
    tolerances: Sequence[tuple[str, Tolerance]] = DEFAULTS,
) -> tuple[ShotChange, ...]:
    """Every shot through both ISPs and all KPIs; lower layers' errors pass through."""
    return tuple(_one(shot, a, b, settings, tolerances) for shot in shots)


def got_worse(changes: Iterable[ShotChange]) -> bool:
    """Whether any KPI of any shot worsened beyond its tolerance, or can no longer be measured."""
    return any(change.of("worse", "lost") for change in changes)


def check_patterns(own: Sequence[tuple[str, Tolerance]], changes: Iterable[ShotChange], *, where: str | Path) -> None:
    """Raise `FileError` if a user's pattern names no KPI that was measured: a misspelt one would judge nothing."""
    names = {c.a.name for shot in changes for c in shot.changes}
    for pattern, _ in own:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise FileError(f"{where}: no KPI of these shots is called {pattern!r}; {nearest(pattern, names)}")


def _one(
    shot: ChartShot, a: Tuning, b: Tuning, settings: Settings, tolerances: Sequence[tuple[str, Tolerance]]
) -> ShotChange:
    try:
        return _measured(shot, a, b, settings, tolerances)
    except IspkitError as error:
        raise type(error)(f"{shot.name}: {error}") from error


def _measured(
    shot: ChartShot, a: Tuning, b: Tuning, settings: Settings, tolerances: Sequence[tuple[str, Tolerance]]
) -> ShotChange:
    pictures = a.develop(shot.frame, cct_k=shot.cct_k), b.develop(shot.frame, cct_k=shot.cct_k)
    results = []
    for picture in pictures:
        place = locate(picture, shot.chart)
        results.append(measure(picture, shot.chart, place, settings=settings))
    return ShotChange(
        shot.name, pictures, (results[0], results[1]), compare_results(results[0], results[1], tolerances)
    )
