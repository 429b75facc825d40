"""A `Scene` is what a black box is judged on: a frame it renders, and what the picture should be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ispkit.charts.chart import Chart
from ispkit.core.frame import Frame


@dataclass(frozen=True)
class Scene:
    """One frame with its truth; the picture that an ISP makes of it has the frame's height and width."""

    name: str
    frame: Frame
    """one picture (B = 1), in the domain that the ISP reads"""
    target: Tensor | None = None
    """(1, 3, H, W), encoded sRGB in [0, 1], pixel for pixel what the ISP should give"""
    chart: Chart | None = None
    """the chart that fills the frame, where it is a chart shot"""
    labels: Any = None
    """what a task network should find, e.g. `perceive.Boxes`"""
    conditions: Mapping[str, float] = field(default_factory=dict)
    """facts by which settings may differ: gain (1 = base), cct_k"""
