"""One plot of curves for a result page: learning curves, sweeps, one number a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from ispkit.io.atomic import write_bytes

Curve = tuple[Sequence[float], Sequence[float]]
"""x, y"""


def draw_curves(
    path: Path, curves: Mapping[str, Curve], *, labels: tuple[str, str], dashed: Sequence[str] = (), log_x: bool = False
) -> None:
    """Write a PNG with one line a curve, in order; `labels` are those of the axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=110, layout="constrained")
    axes = figure.subplots()
    for name, (x, y) in curves.items():
        axes.plot(x, y, label=name, linestyle="--" if name in dashed else "-", linewidth=1.4, marker=".", markersize=4)
    if log_x:
        axes.set_xscale("log")
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_bytes(path, buffer.getvalue())
