"""What every KPI gives: named numbers, curves to plot, and warnings; nothing else leaves this folder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Better = Literal["higher", "lower", "zero", "one", "none"]
"""which way is good: larger, smaller, nearer to 0, nearer to 1, or neither (a fact, not a score)"""


@dataclass(frozen=True)
class Kpi:
    """One number."""

    name: str
    """group and quantity, e.g. "sfr.mtf50", "color.delta_e00.mean" """
    value: float
    """NaN if it could not be measured; a warning then says why"""
    unit: str
    better: Better
    region: str = ""
    """the region of the chart, or "" for the whole picture"""
    doc: str = ""
    """what it is in a few words, with its source"""

    @property
    def key(self) -> str:
        """Unique in a result: name, and region if there is one."""
        return f"{self.name}[{self.region}]" if self.region else self.name


@dataclass(frozen=True)
class Curve:
    """One line of a plot; curves with the same `plot` are drawn together."""

    plot: str
    """e.g. "SFR" """
    label: str
    x: Sequence[float]
    y: Sequence[float]
    x_label: str
    y_label: str
    style: Literal["line", "points", "bars"] = "line"


@dataclass(frozen=True)
class Result:
    """The numbers of one or several KPIs."""

    kpis: tuple[Kpi, ...] = ()
    curves: tuple[Curve, ...] = ()
    warnings: tuple[str, ...] = ()

    @staticmethod
    def join(results: Iterable[Result]) -> Result:
        """All in one, in order."""
        parts = list(results)
        return Result(
            tuple(k for r in parts for k in r.kpis),
            tuple(c for r in parts for c in r.curves),
            tuple(w for r in parts for w in r.warnings),
        )

    def value(self, key: str) -> float:
        """The number of that key. Raises `KeyError`."""
        return {k.key: k.value for k in self.kpis}[key]

    def as_json(self) -> dict[str, Any]:
        """Plain data: `kpis`, `curves`, `warnings`; NaN becomes None."""
        kpis = [
            {
                "name": k.name,
                "region": k.region,
                "value": None if math.isnan(k.value) else k.value,
                "unit": k.unit,
                "better": k.better,
                "doc": k.doc,
            }
            for k in self.kpis
        ]
        curves = [
            {
                "plot": c.plot,
                "label": c.label,
                "x": list(c.x),
                "y": list(c.y),
                "x_label": c.x_label,
                "y_label": c.y_label,
                "style": c.style,
            }
            for c in self.curves
        ]
        return {"kpis": kpis, "curves": curves, "warnings": list(self.warnings)}


def folded(warnings: Iterable[str]) -> list[str]:
    """Warnings of the form "region: text" with the same text as one, which names the regions; order is kept.

    >>> folded(["a: too noisy", "chart is blurred", "b: too noisy"])
    ['a, b: too noisy', 'chart is blurred']
    """
    places: dict[str, list[str]] = {}
    for warning in warnings:
        region, colon, text = warning.partition(": ")
        is_region = bool(colon) and " " not in region
        places.setdefault(text if is_region else warning, []).extend([region] * is_region)
    shown = []
    for text, regions in places.items():
        names = list(dict.fromkeys(regions))
        where = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        shown.append(f"{where}: {text}" if where else text)
    return shown
