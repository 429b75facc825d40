"""The page of `ispkit regress`: the verdict, what changed, and the two developments of each shot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ispkit.bench.regress import ShotChange, got_worse
from ispkit.bench.tolerances import Change
from ispkit.kpi.result import folded
from ispkit.report.kpi_page import eight_bit
from ispkit.report.page import Section, image, row, warnings, write_report
from ispkit.report.page import table as html_table

_CLASSES = {"worse": "bad", "lost": "bad", "better": "good"}
_SHOWN_WIDTH = 355  # three beside each other


def write_regress_page(path: str | Path, changes: Sequence[ShotChange], *, a: str, b: str) -> None:
    """Write the page of a comparison of two ISPs named `a` and `b`. Raises `FileError`."""
    sections = [Section("Verdict", _verdict(changes))]
    for shot in changes:
        notes = warnings(folded(w for result in shot.results for w in result.warnings))
        body = _pictures(shot) + _changed(shot) + notes + _all(shot)
        sections.append(Section(shot.shot, body))
    write_report(path, "Regression of a tuning", f"A = {a}    B = {b}", sections)


def count(changes: Sequence[ShotChange], verdict: str) -> int:
    """How many KPIs got this verdict, over all shots."""
    return sum(len(shot.of(verdict)) for shot in changes)


def change_row(change: Change) -> dict[str, object]:
    """One line of a table: values of A and B, the change, what is tolerated, the verdict."""
    return {
        "KPI": change.a.name,
        "where": change.a.region,
        "A": change.a.value,
        "B": change.b.value,
        "unit": change.a.unit,
        "worse by": change.worsening,
        "tolerated": change.allowed,
        "verdict": change.verdict,
    }


def _verdict(changes: Sequence[ShotChange]) -> str:
    worse = got_worse(changes)
    text = "B is worse" if worse else "B is not worse"
    counts = [{"verdict": v, "KPIs": count(changes, v)} for v in ("worse", "lost", "better", "same", "gained", "fact")]
    return f'<p class="verdict {"bad" if worse else "good"}">{text}</p>' + html_table(counts)


def _changed(shot: ShotChange) -> str:
    moved = ("worse", "lost", "better", "gained")
    if not shot.of(*moved):
        return "<p>Every KPI is the same within its tolerance.</p>"
    rows = sorted((c for c in shot.main() if c.verdict in moved), key=lambda c: _CLASSES.get(c.verdict, "z"))
    hidden = len(shot.of(*moved)) - len(rows)
    note = f"<p>And {hidden} more in single regions, in the list below.</p>" if hidden else ""
    return html_table([change_row(c) for c in rows], row_class=[_CLASSES.get(c.verdict, "") for c in rows]) + note


def _pictures(shot: ShotChange) -> str:
    import cv2

    a, b = (eight_bit(p) for p in shot.pictures)
    scale = min(1.0, _SHOWN_WIDTH / a.shape[1])
    parts = [
        image(cv2.resize(p, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), label)
        for label, p in (("A", a), ("B", b))
    ]
    gap = np.clip(128 + 2 * (b.astype(np.int16) - a), 0, 255).astype(np.uint8)
    parts.append(image(cv2.resize(gap, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), "B − A, doubled"))
    return row(*parts)


def _all(shot: ShotChange) -> str:
    rows = html_table(
        [change_row(c) for c in shot.changes], row_class=[_CLASSES.get(c.verdict, "") for c in shot.changes]
    )
    return f"<details><summary>All {len(shot.changes)} KPIs</summary>{rows}</details>"
