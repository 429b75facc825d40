"""Pieces of a page that a reader can move: wipes, clickable scatter plots; and heat tables."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ispkit.report.page import data_url

Codes = NDArray[np.uint8]
Kind = Literal["trial", "good", "expert", "failed"]
_WIDTH, _HEIGHT = 560, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 14, 12, 40


@dataclass(frozen=True)
class Dot:
    """A point of a scatter plot."""

    x: float
    y: float
    text: str
    kind: Kind = "trial"
    shows: str = ""
    """key of the picture that a click shows, out of `picture_store`"""


def wipe(before: Codes, after: Codes, caption: str, *, names: tuple[str, str], width: int) -> str:
    """Two pictures (H, W, 3) of one size under one line that the reader drags."""
    left, right = (escape(n) for n in names)
    return (
        f'<figure><div class="wipe" tabindex="0" role="img" aria-label="{left} and {right}: {escape(caption)}">'
        f'<img alt="{left}" width="{width}" src="{data_url(before)}">'
        f'<img class="after" alt="{right}" src="{data_url(after)}">'
        f'<i></i><b class="left">{left}</b><b class="right">{right}</b></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def scatter(
    dots: Sequence[Dot], *, labels: tuple[str, str], pane: str = "", line: Sequence[tuple[float, float]] = ()
) -> str:
    """Dots on axes named by `labels`, with a line drawn through `line`; clicks show pictures in the pane named `pane`.

    What is not finite is left out; empty text if nothing is left.
    """
    seen = [d for d in dots if math.isfinite(d.x) and math.isfinite(d.y)]
    if not seen:
        return ""
    xs, ys = _Axis.over([d.x for d in seen]), _Axis.over([d.y for d in seen])
    order = {"failed": 0, "trial": 1, "good": 2, "expert": 3}
    marks = "".join(_dot(d, xs, ys) for d in sorted(seen, key=lambda d: order[d.kind]))
    path = " ".join(f"{xs.px(x):.1f},{ys.py(y):.1f}" for x, y in line)
    curve = f'<polyline class="line" points="{path}"/>' if line else ""
    place = f' data-pane="{escape(pane)}"' if pane else ""
    return (
        f'<svg class="scatter" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}"{place} role="img" '
        f'aria-label="{escape(labels[1])} over {escape(labels[0])}">{_grid(xs, ys)}{curve}{marks}'
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(labels[0])}</text>'
        f'<text transform="translate(13 {(_TOP + _HEIGHT - _BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(labels[1])}</text></svg>"
    )


def pane(name: str, hint: str) -> str:
    """Where the plot named `name` shows the picture of the point that was clicked."""
    return f'<div class="shown" id="{escape(name)}"><span class="key">{escape(hint)}</span></div>'


def picture_store(pictures: Mapping[str, Codes]) -> str:
    """The pictures that plots of the page show, once each; put it on the page once."""
    data = {key: data_url(codes) for key, codes in pictures.items()}
    return f'<script type="application/json" id="pictures">{json.dumps(data)}</script>'


def heat_table(rows: Sequence[str], columns: Mapping[str, Sequence[float | None]], *, head: str) -> str:
    """Numbers on a color that tells their share of the largest of their column; None is a dash."""
    tops = {name: max((v for v in values if v is not None), default=0.0) for name, values in columns.items()}
    heads = "".join(f'<th class="number">{escape(name)}</th>' for name in columns)
    body = ""
    for i, row in enumerate(rows):
        cells = "".join(_heat(values[i], tops[name]) for name, values in columns.items())
        body += f"<tr><td>{escape(row)}</td>{cells}</tr>"
    return f'<table class="heat"><thead><tr><th>{escape(head)}</th>{heads}</tr></thead><tbody>{body}</tbody></table>'


def range_bar(old: float, new: float) -> str:
    """Where two values sit in their range, both as shares in [0, 1]."""
    places = [f"{100 * min(max(v, 0.0), 1.0):.1f}%" for v in (old, new)]
    return f'<div class="span"><i style="left:{places[0]}"></i><i class="new" style="left:{places[1]}"></i></div>'


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float

    @classmethod
    def over(cls, values: Sequence[float]) -> _Axis:
        low, high = min(values), max(values)
        margin = 0.04 * (high - low) or max(abs(high), 1.0) * 0.05
        return cls(low - margin, high + margin)

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)

    def px(self, value: float) -> float:
        return _LEFT + self.share(value) * (_WIDTH - _LEFT - _RIGHT)

    def py(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - self.share(value) * (_HEIGHT - _TOP - _BOTTOM)

    def ticks(self) -> list[float]:
        """About five round numbers inside."""
        rough = (self.high - self.low) / 5
        base = 10.0 ** math.floor(math.log10(rough))
        step = next(base * m for m in (1, 2, 5, 10) if base * m >= rough)
        first = math.ceil(self.low / step)
        return [k * step for k in range(first, math.floor(self.high / step) + 1)]


def _grid(xs: _Axis, ys: _Axis) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for x in xs.ticks():
        parts.append(f'<line class="grid" x1="{xs.px(x):.1f}" x2="{xs.px(x):.1f}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{xs.px(x):.1f}" y="{bottom + 15}" text-anchor="middle">{x:.5g}</text>')
    for y in ys.ticks():
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{ys.py(y):.1f}" y2="{ys.py(y):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{ys.py(y) + 4:.1f}" text-anchor="end">{y:.4g}</text>')
    return "".join(parts)


def _dot(dot: Dot, xs: _Axis, ys: _Axis) -> str:
    text = escape(dot.text)
    shows = f' data-shows="{escape(dot.shows)}" tabindex="0"' if dot.shows else ""
    radius = 3 if dot.kind == "trial" else 5
    return (
        f'<circle class="{dot.kind}" cx="{xs.px(dot.x):.1f}" cy="{ys.py(dot.y):.1f}" r="{radius}"{shows} '
        f'data-text="{text}"><title>{text}</title></circle>'
    )


def _heat(value: float | None, top: float) -> str:
    if value is None:
        return '<td class="number">–</td>'
    return f'<td class="heat" style="--h:{value / top if top else 0:.3f}">{value:.3g}</td>'
