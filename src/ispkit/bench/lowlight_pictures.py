"""The pictures of the low-light protocol: what heads saw, and the front of picture quality against task score."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from ispkit.io.atomic import write_bytes

Point = tuple[str, float, float]
"""method, PSNR in dB, task score in [0, 1]"""


def front_of(points: Sequence[Point]) -> list[Point]:
    """Those that no other is better than in both, by PSNR.

    >>> [name for name, _, _ in front_of([("a", 20, 0.5), ("b", 25, 0.4), ("c", 19, 0.45)])]
    ['a', 'b']
    """
    best = [p for p in points if not any(q[1] >= p[1] and q[2] >= p[2] and q[1:] != p[1:] for q in points)]
    return sorted(best, key=lambda p: p[1])


def draw_front(path: Path, levels: Mapping[str, Sequence[Point]], measure: str) -> None:
    """One panel a light: every method, and the line of those that are best at something; clean pictures left out."""
    from matplotlib.figure import Figure

    shown = {level: [p for p in points if p[1] < 60] for level, points in levels.items()}
    figure = Figure(figsize=(4.2 * len(shown) + 3.4, 4.4), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    names = list(dict.fromkeys(name for points in shown.values() for name, _, _ in points))
    for axes, (level, points) in zip(panels, shown.items(), strict=True):
        for name, x, y in points:
            at = names.index(name)
            axes.scatter([x], [100 * y], color=f"C{at % 10}", marker="osD^v"[at // 10 % 5], s=36, label=name)
        front = front_of(points)
        axes.plot([p[1] for p in front], [100 * p[2] for p in front], color="#999999", linewidth=1, zorder=0)
        axes.set_title(level, fontsize=10)
        axes.set_xlabel("PSNR of what the head sees, dB")
        axes.grid(alpha=0.25)
    panels[0].set_ylabel(f"{measure}, %")
    lines = {line: text for axes in panels for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    once = {text: line for line, text in lines.items()}
    figure.legend(list(once.values()), list(once), loc="outside right upper", fontsize=8, frameon=False)
    _write(path, figure)


def draw_pictures(path: Path, rows: Mapping[str, Sequence[Tensor]]) -> None:
    """One row a method, (3, H, W) in [0, 1] each."""
    from matplotlib.figure import Figure

    count = max(len(r) for r in rows.values())
    figure = Figure(figsize=(1.1 * count + 2.6, 1.1 * len(rows)), dpi=110)
    grid = figure.subplots(len(rows), count, squeeze=False)
    for axes_row, (name, pictures) in zip(grid, rows.items(), strict=True):
        for axes in axes_row:
            axes.axis("off")
        for axes, picture in zip(axes_row, pictures, strict=False):
            axes.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
        axes_row[0].text(-0.1, 0.5, name, transform=axes_row[0].transAxes, ha="right", va="center", fontsize=8)
    figure.subplots_adjust(
        left=2.5 / (1.1 * count + 2.6), right=0.995, top=0.995, bottom=0.005, wspace=0.04, hspace=0.04
    )
    _write(path, figure)


def _write(path: Path, figure: object) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})  # type: ignore[attr-defined]
    write_bytes(path, buffer.getvalue())
