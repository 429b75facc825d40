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


def curves(lines: Sequence[Curve], *, log_x: bool = False, log_y: bool = False) -> str:
    """Curves of one plot in one figure."""

    def draw(axes: Any) -> None:
        for line in lines:
            axes.plot(line.x, line.y, label=line.label, linewidth=1.3, color=_COLORS.get(line.label))
        axes.set_xlabel(lines[0].x_label)
        axes.set_ylabel(lines[0].y_label)
        if log_x:
            axes.set_xscale("log")
        if log_y:
            axes.set_yscale("log")
        if 1 < len(lines) <= 12:
            axes.legend(fontsize="small", frameon=False)

    return figure(draw, lines[0].plot)
