"""The plots of a tuning report: convergence, Pareto front, sensitivity."""

from __future__ import annotations

from collections.abc import Container, Sequence
from html import escape

from ispkit.report.moving import Dot, Kind, heat_table, pane, scatter
from ispkit.report.page import row, warnings
from ispkit.report.tune_trials import TrialRow, near_front, non_dominated, running_best
from ispkit.tune.result import Result
from ispkit.tune.sensitivity import Sensitivity

_HINT = "Click a point to see what it renders."
_FRONTS = 3
_FRONT_KEY = (
    '<p class="key"><b class="old">● expert</b> · <b class="new">● no other trial is better in all objectives</b>; '
    "lower is better on every axis. <code>ispkit study RUN --trial N --export FILE</code> writes any of them.</p>"
)


def convergence(result: Result, trials: Sequence[TrialRow], pictures: Container[str]) -> str:
    """The first objective over what was spent; failed trials stand on the upper edge."""
    first = result.objectives[0]
    measured = [t for t in trials if first in t.scores and t.state != "known"]
    if not measured:
        return "<p>No trial was measured.</p>"
    top = max(t.scores[first] for t in measured)
    best = running_best(measured, first)
    good = {t.number for t in best}
    dots = [_dot(t, t.spent, t.scores[first], good, pictures) for t in measured]
    dots += [Dot(t.spent, top, f"trial {t.number} failed: {t.reason}", "failed") for t in trials if t.state == "failed"]
    line: list[tuple[float, float]] = []
    for trial in best:
        line += [(trial.spent, line[-1][1])] if line else []
        line.append((trial.spent, trial.scores[first]))
    line.append((max(t.spent for t in measured), line[-1][1]))
    plot = scatter(dots, labels=("renders of the set", first), pane="at-convergence", line=line)
    return row(plot, pane("at-convergence", _HINT))


def front(result: Result, trials: Sequence[TrialRow], pictures: Container[str]) -> str:
    """The first objective of every trial against each other one; empty text if there is one objective only.

    What no trial beats in all objectives is marked, whatever the method minimized.
    """
    if len(result.objectives) < 2:
        return ""
    first, *others = result.objectives
    good = {c.trial for c in result.front} if len(result.front) > 1 else non_dominated(trials, result.objectives)
    parts = []
    for k, other in enumerate(others[:_FRONTS]):
        at = {t.number: (t.scores[first], t.scores[other]) for t in trials if {first, other} <= set(t.scores)}
        near = near_front(at, {n for n in at if n in good} | {t.number for t in trials if t.origin == "expert"})
        dots = [_dot(t, *at[t.number], good, pictures) for t in trials if t.number in near]
        line = sorted(at[n] for n in good if n in at) if len(result.objectives) == 2 and len(good) > 1 else []
        name = f"at-front-{k}"
        parts.append(row(scatter(dots, labels=(first, other), pane=name, line=line), pane(name, _HINT)))
        if len(near) < len(at):
            parts.append(f'<p class="key">{len(at) - len(near)} trials that are far worse lie outside the plot.</p>')
    return _FRONT_KEY + "".join(parts)


def sensitivity_map(found: Sensitivity) -> str:
    """Knob by objective: the largest change when the knob goes to an end of its range, strongest knobs first."""
    ranked = found.ranked(found.objectives[0])
    acting = [e for e in ranked if e.state == "acts"]
    columns = {name: [e.swing(name) for e in acting] for name in found.objectives}
    columns["pictures, codes"] = [e.change for e in acting]
    shown = ", ".join(found.pictures)
    text = (
        f"Each knob alone went to the ends of its range, the others stayed at the expert's setting, on {shown}: "
        "the largest change of each objective, and of the pictures in 8-bit codes."
    )
    idle = [f"{e.name}: {e.state}{f', {e.reason}' if e.reason else ''}" for e in ranked if e.state != "acts"]
    return (
        f"<p class=key>{escape(text)}</p>" + heat_table([e.name for e in acting], columns, head="knob") + warnings(idle)
    )


def _dot(trial: TrialRow, x: float, y: float, good: Container[int], pictures: Container[str]) -> Dot:
    kind: Kind = "expert" if trial.origin == "expert" else "good" if trial.number in good else "trial"
    scores = ", ".join(f"{n} {v:.4g}" for n, v in trial.scores.items())
    name = "expert" if kind == "expert" else f"trial {trial.number}"
    text = f"{name}: {scores}{f' ({trial.state})' if trial.state != 'complete' else ''}"
    return Dot(x, y, text, kind, trial.picture if trial.picture in pictures else "")
