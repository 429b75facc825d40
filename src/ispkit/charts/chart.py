"""`Chart`: a picture whose truth is known, region by region; what KPIs, calibration and the rig are checked with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

RegionKind = Literal[
    "edge",
    "star",
    "dead_leaves",
    "ellipses",
    "patch",
    "gray",
    "flat",
    "zone_plate",
    "wedge",
    "gradient",
    "skin",
    "noise",
]


@dataclass(frozen=True)
class Region:
    """A rectangle of a chart and what is true inside it."""

    name: str
    """unique in its chart, e.g. "edge/center/vertical", "colorchecker/dark skin", "gray/03" """
    kind: RegionKind
    box: tuple[float, float, float, float]
    """top, left, height, width in chart pixels; pixel (0, 0) covers [0, 1) x [0, 1)"""
    truth: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able facts of this kind, as in the table of docs/guide/charts.md"""


@dataclass(frozen=True)
class Chart:
    """A linear picture with its regions. `parameters` rebuild it: `CHARTS[name](**parameters)` is the same chart."""

    name: str
    picture: Tensor
    """(3, H, W) float32, linear sRGB (D65), 1 = perfect white; never negative"""
    regions: tuple[Region, ...]
    parameters: Mapping[str, Any]
    """JSON-able keyword arguments of the builder: height, width, seed, ..."""
    markers: Mapping[int, tuple[float, float, float]] = field(default_factory=dict)
    """ArUco markers (DICT_4X4_50) by id: top, left and side of the black square in chart pixels; empty if none"""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.picture.shape[-2]), int(self.picture.shape[-1])

    def of_kind(self, *kinds: RegionKind) -> tuple[Region, ...]:
        """The regions of these kinds, in order."""
        return tuple(r for r in self.regions if r.kind in kinds)

    def truth(self) -> dict[str, Any]:
        """Everything but the pixels, JSON-able; `charts.catalog.from_truth` builds the chart again."""
        return {
            "version": 1,
            "chart": self.name,
            "size": list(self.size),
            "parameters": dict(self.parameters),
            "markers": {str(k): list(v) for k, v in self.markers.items()},
            "regions": [
                {"name": r.name, "kind": r.kind, "box": list(r.box), "truth": dict(r.truth)} for r in self.regions
            ],
        }
