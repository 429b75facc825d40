"""Plots as SVG text for our report pages, drawn by matplotlib without a display."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from ispkit.kpi.result import Curve

_COLORS = {"R": "#c62828", "G": "#2e7d32", "B": "#1565c0", "Y": "#222222"}


def figure(draw: Callable[[Any], None], caption: str, *, size: tuple[float, float] = (5.2, 3.3)) -> str:
    """A figure with what `draw(axes)` paints, as inline SVG; `size` in inches."""
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    page = Figure(figsize=size, layout="constrained")
    axes = page.add_subplot()
    axes.grid(visible=True, color="#e4e4e4", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes)
    return f"<figure>{svg(page, caption)}<figcaption>{escape(caption)}</figcaption></figure>"


def svg(page: Any, salt: str) -> str:
    """A matplotlib figure as SVG text that may stand in a page beside others: ids made of `salt`, no prolog."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        page.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # one page holds many plots: their numbered ids ("axes_1") would clash, hashed ones name equal things
    return re.sub(r' id="[A-Za-z0-9]+_[0-9]+"', "", text)


def curves(lines: Sequence[Curve], *, log_x: bool = False) -> str:
    """Curves of one plot in one figure; in a plot over frequency in cy/px Nyquist is marked."""

    def draw(axes: Any) -> None:
        for line in lines:
            _draw(axes, line)
        axes.set_xlabel(lines[0].x_label)
        axes.set_ylabel(lines[0].y_label)
        if log_x:
            axes.set_xscale("log")
        if "cy/px" in lines[0].x_label:
            axes.axvline(0.5, color="#999999", linewidth=0.8, linestyle=":")
            axes.set_ylim(bottom=0)
        if 1 < len(lines) <= 12:
            axes.legend(fontsize="x-small", frameon=False)

    return figure(draw, lines[0].plot)


def _draw(axes: Any, line: Curve) -> None:
    color = _COLORS.get(line.label)
    if line.style == "points":
        axes.plot(line.x, line.y, "o", label=line.label, markersize=4, color=color)
    elif line.style == "bars":
        axes.bar(line.x, line.y, label=line.label, color=color)
    else:
        axes.plot(line.x, line.y, label=line.label, linewidth=1.2, color=color)
