"""Chart KPIs as an objective: each as its distance from what is wanted, in units of what is tolerated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import Tensor

from ispkit.core.errors import BlackBoxError, ParamError, nearest
from ispkit.data.scenes import Scene
from ispkit.kpi.measure import measure
from ispkit.kpi.placement import identity
from ispkit.kpi.result import Result
from ispkit.kpi.view import Settings
from ispkit.ops.encode import srgb_encode
from ispkit.tune.contracts import Residual
from ispkit.tune.objectives.base import Need


@dataclass(frozen=True)
class Goal:
    """What one KPI should be."""

    kpi: str
    """its name in `kpi.measure`; the mean over the chart's regions if it has several"""
    group: str
    """of `kpi.measure.GROUPS`"""
    wanted: float
    tolerance: float
    """a distance from `wanted` that counts as 1"""
    better: Literal["lower", "higher", "near"] = "near"
    """lower, higher: beyond `wanted` nothing more is gained"""

    def distance(self, value: float) -> float:
        """Signed, in tolerances; 0 where the goal is reached."""
        gap = (value - self.wanted) / self.tolerance
        return max(gap, 0.0) if self.better == "lower" else min(gap, 0.0) if self.better == "higher" else gap


KPIS: dict[str, Goal] = {
    "color": Goal("color.delta_e00.mean", "color", 0.0, 1.0, "lower"),
    "color76": Goal("color.delta_e76.mean", "color", 0.0, 2.0, "lower"),
    "saturation": Goal("color.saturation", "color", 1.0, 0.05),
    "white": Goal("wb.delta_c", "wb", 0.0, 1.0, "lower"),
    "exposure": Goal("color.exposure", "color", 0.0, 0.1),
    "zipper": Goal("zipper.share", "zipper", 0.0, 2.0, "lower"),
    "moire": Goal("moire.integral", "moire", 0.0, 0.5, "lower"),
    "texture": Goal("texture.acutance_cross", "texture", 1.0, 0.05),
    "detail": Goal("texture.gap", "texture", 0.0, 0.05),
    "sharpness": Goal("sfr.mtf50", "sfr", 0.35, 0.03),
    "overshoot": Goal("sfr.overshoot", "sfr", 0.0, 5.0, "lower"),
    "noise": Goal("noise.visual_noise", "noise", 0.0, 1.0, "lower"),
    "snr": Goal("noise.snr_db", "noise", 40.0, 2.0, "higher"),
    "scielab": Goal("scielab.mean", "scielab", 0.0, 1.0, "lower"),
    "contrast": Goal("cdp.michelson", "cdp", 1.0, 0.05, "higher"),
}
"""short name -> what is wanted. Goals and tolerances are ours: starting points, to be changed with `KpiObjective`"""


@dataclass(frozen=True)
class KpiObjective:
    """The mean square distance of some KPIs from their goals; a scene counts those that its chart shows."""

    name: str
    goals: tuple[Goal, ...]
    unit: str = ""
    needs: tuple[Need, ...] = ("chart",)
    _shown: dict[str, tuple[Goal, ...]] = field(default_factory=dict, compare=False, repr=False)
    _last: list[tuple[Tensor, Scene, tuple[float, ...]]] = field(default_factory=list, compare=False, repr=False)

    def residual(self, picture: Tensor, scene: Scene) -> Residual:
        """The distances over the root of their number; the squared length is the score."""
        goals = self.shown(scene)
        distances = [goal.distance(value) for goal, value in zip(goals, self.values(picture, scene), strict=True)]
        return (np.array(distances) / math.sqrt(len(goals))).astype(np.float32)

    def values(self, picture: Tensor, scene: Scene) -> tuple[float, ...]:
        """The KPIs themselves, of `shown(scene)`. Raises `BlackBoxError` if one cannot be measured."""
        last = self._last[0] if self._last else None
        if last is not None and last[0] is picture and last[1] is scene:  # score and residual ask one after the other
            return last[2]
        goals = self.shown(scene)
        result = _measured(picture, scene, goals)
        found = tuple(_value(result, goal, scene.name) for goal in goals)
        self._last[:] = [(picture, scene, found)]
        return found

    def score(self, picture: Tensor, scene: Scene) -> float:
        """Mean square of the distances, in tolerances."""
        return float(np.square(self.residual(picture, scene), dtype=np.float64).sum())

    def loss(self, picture: Tensor, scene: Scene) -> Tensor | None:
        """None: KPIs are measured without a gradient."""
        return None

    def shown(self, scene: Scene) -> tuple[Goal, ...]:
        """The goals that a perfect picture of the scene's chart allows to measure. Raises `ParamError` for none."""
        if scene.chart is None:
            raise ParamError(f"scene {scene.name!r} has no chart to measure {self.name!r} on")
        if scene.chart.name not in self._shown:
            ideal = srgb_encode(scene.chart.picture[None].clamp(0, 1))
            result = _measured(ideal, scene, self.goals)
            names = {k.name for k in result.kpis}
            found = tuple(g for g in self.goals if g.kpi in names)
            if not found:
                wanted = ", ".join(g.kpi for g in self.goals)
                raise ParamError(f"chart {scene.chart.name!r} of scene {scene.name!r} shows none of {wanted}")
            self._shown[scene.chart.name] = found
        return self._shown[scene.chart.name]


def kpi_objective(names: Sequence[str], *, name: str | None = None) -> KpiObjective:
    """An objective of some of `KPIS`. Raises `ParamError` for an unknown name."""
    for kpi in names:
        if kpi not in KPIS:
            raise ParamError(f"no KPI {kpi!r}; {nearest(kpi, KPIS)}")
    return KpiObjective(name or f"kpi:{','.join(names)}", tuple(KPIS[n] for n in dict.fromkeys(names)))


def kpi_value(picture: Tensor, scene: Scene, name: str) -> float:
    """One of `KPIS` of one picture of a chart. Raises `BlackBoxError` if it cannot be measured."""
    goal = KPIS[name]
    return _value(_measured(picture, scene, (goal,)), goal, scene.name)


def _measured(picture: Tensor, scene: Scene, goals: Sequence[Goal]) -> Result:
    if scene.chart is None:
        raise ParamError(f"scene {scene.name!r} has no chart")
    groups = tuple(dict.fromkeys(g.group for g in goals))
    place = identity((int(picture.shape[-2]), int(picture.shape[-1])))
    try:
        return measure(picture[0].detach().cpu(), scene.chart, place, settings=Settings(groups=groups))
    except ParamError:  # the chart shows none of them: an empty result says so
        return Result()


def _value(result: Result, goal: Goal, where: str) -> float:
    """The mean over the regions that could be measured."""
    found = [k for k in result.kpis if k.name == goal.kpi]
    single = [k for k in found if k.region] or found
    values = [k.value for k in single if math.isfinite(k.value)]
    if not values:
        told = "; ".join(result.warnings[:2]) or "its region shows nothing"
        raise BlackBoxError(f"{goal.kpi} cannot be measured on {where}: {told}")
    return sum(values) / len(values)
