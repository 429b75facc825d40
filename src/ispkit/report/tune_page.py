"""The page of a tuning study, made from its run folder alone: what was gained, where, how, and at what cost."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ispkit.core.errors import FileError
from ispkit.report.moving import picture_store, range_bar, wipe
from ispkit.report.page import Section, cell, row, table, warnings, write_report
from ispkit.report.tune_plots import convergence, front, sensitivity_map
from ispkit.report.tune_trials import TrialRow, read_trials, shown_pictures
from ispkit.report.tune_unfinished import result_so_far
from ispkit.tune.artifacts import ArtifactStore
from ispkit.tune.result import Candidate, KnobChange, Result
from ispkit.tune.run_folder import RunFolder, read_json
from ispkit.tune.sensitivity import Sensitivity

_WIPES = 8
_WIPE_WIDTH = 512
_SMALLEST_SHOWN = 2  # a picture is enlarged by whole factors


def write_tune_page(folder: str | os.PathLike[str], path: str | os.PathLike[str] | None = None) -> Path:
    """Write the report of a study, `report.html` in its folder unless `path` names another; where it is.

    Of a study without a result it shows what the trials say so far. Raises `FileError` if there is none.
    """
    room = RunFolder(folder)
    result = result_so_far(room.path)
    trials = read_trials(room)
    pictures = shown_pictures(room, trials)
    where = Path(path) if path is not None else room.path / "report.html"
    lead = f"{_isp_name(room)}, method {result.method}, {cell(result.spent)} renders of {len(result.pictures)} pictures"
    write_report(where, "Tuning", lead, _sections(room, result, trials, pictures), extra="moving")
    return where


def _sections(
    room: RunFolder, result: Result, trials: Sequence[TrialRow], pictures: Mapping[str, Any]
) -> list[Section]:
    effects = _sensitivity(room)
    proxy = room.path / "proxy.json"
    several = front(result, trials, pictures)
    return [
        Section("Result", _wide(_verdict(result)) + warnings(result.warnings)),
        *([Section("Pictures", _wipes(room, result))] if _pairs(room, result) else []),
        Section("Convergence", convergence(result, trials, pictures) + picture_store(pictures)),
        *([Section("Pareto front", several)] if several else []),
        Section("Knobs", _wide(_knobs(result.knobs))),
        *([Section("Sensitivity", _wide(sensitivity_map(effects)))] if effects is not None else []),
        *([Section("Proxy", _facts(read_json(proxy)))] if proxy.is_file() else []),
        Section("Cost", _wide(_cost(result) + _made_by(room))),
    ]


def _wide(html: str) -> str:
    """Scrolls by itself where the window is narrower, so that the page does not."""
    return f'<div class="scroll">{html}</div>'


def _verdict(result: Result) -> str:
    rows: list[dict[str, Any]] = []
    sets: list[tuple[str, Candidate, Candidate]] = [("tuning set", result.expert, result.best)]
    if result.held_out is not None:
        sets.append(("held out", result.held_out.expert, result.held_out.best))
    for name, expert, best in sets:
        for objective in result.objectives:
            change = best.scores[objective] - expert.scores[objective]
            interval = result.held_out.interval.get(objective) if result.held_out and name == "held out" else None
            spread = f"{interval[0]:+.4g} to {interval[1]:+.4g}" if interval else "–"
            old, new = expert.scores[objective], best.scores[objective]
            rows.append({"on": name, "objective": objective, "expert": old, "tuned": new, "change": change})
            rows[-1]["95 % interval"] = spread
    marks = ["good" if r["change"] < 0 else "bad" if r["change"] > 0 else "" for r in rows]
    note = '<p class="key">Lower is better; PSNR is negated. The interval is a paired bootstrap over the pictures.</p>'
    return f"<p>{escape(_in_words(result))}</p>{table(rows, row_class=marks)}{note}{_guard(result)}"


def _in_words(result: Result) -> str:
    changed = len(result.changed)
    if not changed:
        return "Nothing better than the expert's setting was found; it stays."
    first = result.objectives[0]
    text = f"{changed} of {len(result.knobs)} knobs were changed"
    if result.held_out is None:
        return f"{text}. There are no held-out pictures: how far this carries beyond the tuning set is not known."
    low, high = result.held_out.interval[first]
    if high < 0:
        return f"{text}; on pictures that were not tuned on, {first} is better, beyond chance."
    return (
        f"{text}; on pictures that were not tuned on, {first} is {'worse, beyond chance' if low > 0 else 'not sure'}."
    )


def _guard(result: Result) -> str:
    if result.guard is None:
        return ""
    limit = f"{100 * result.guard.worse_by:g} %" if result.guard.relative else f"{result.guard.worse_by:g}"
    text = (
        f"Guard: no picture may be worse than the expert's by more than {limit}. It refused {result.guard.refused} "
        f"better settings and cost {result.guard.cost:.4g} of the score; the picture that gains least is "
        f"{result.guard.worst_picture} ({result.guard.worst_change:+.4g})."
    )
    return f"<p>{escape(text)}</p>"


def _pairs(room: RunFolder, result: Result) -> list[tuple[str, str, str, float]]:
    """Name, digest of the expert's and the tuned picture, and the change of the first objective; held out if there."""
    held = result.held_out
    names, expert, best = (
        (held.pictures, held.expert, held.best) if held is not None else (result.pictures, result.expert, result.best)
    )
    first = result.objectives[0]
    changes = [b - a for a, b in zip(expert.per_picture[first], best.per_picture[first], strict=True)]
    if not len(expert.rendered) == len(best.rendered) == len(names):
        return []
    rows = list(zip(names, expert.rendered, best.rendered, changes, strict=True))
    return [r for r in rows if all(room.store.picture_path(d).is_file() for d in r[1:3])]


def _wipes(room: RunFolder, result: Result) -> str:
    pairs = _pairs(room, result)
    # evenly over the order of gains: the best, the worst, and what lies between
    ranked = sorted(pairs, key=lambda p: p[3])
    count = min(_WIPES, len(ranked))
    chosen = [ranked[round(k * (len(ranked) - 1) / max(1, count - 1))] for k in range(count)]
    kind = "held out: nothing was tuned on them" if result.held_out is not None else "of the tuning set"
    hint = f"{len(chosen)} of {len(pairs)} pictures, {kind}; from the largest gain to the smallest. Drag the line."
    parts = [_one_wipe(room.store, pair, result.objectives[0]) for pair in chosen]
    return f'<p class="key">{escape(hint)}</p>{row(*parts)}'


def _one_wipe(store: ArtifactStore, pair: tuple[str, str, str, float], objective: str) -> str:
    before, after = store.picture(pair[1]), store.picture(pair[2])
    factor = max(1, _WIPE_WIDTH // before.shape[1])
    factor = min(factor, 4) if factor >= _SMALLEST_SHOWN else 1
    caption = f"{pair[0]}: {objective} {pair[3]:+.4g}"
    return wipe(before, after, caption, names=("expert", "tuned"), width=min(factor * before.shape[1], 2 * _WIPE_WIDTH))


def _knobs(knobs: Sequence[KnobChange]) -> str:
    key = '<p class="key"><b class="old">▮ expert</b> · <b class="new">▮ tuned</b>; what did not change is below.</p>'
    changed = [k for k in knobs if k.changed]
    rest = [k for k in knobs if not k.changed]
    body = "".join(_knob_row(k) for k in changed)
    head = "<tr><th>knob</th><th>expert</th><th>tuned</th><th>range</th><th></th><th>note</th></tr>"
    shown = f"{key}<table>{head}{body}</table>" if changed else "<p>No knob was changed.</p>"
    if not rest:
        return shown
    below = "".join(_knob_row(k) for k in rest)
    return f"{shown}<details><summary>{len(rest)} unchanged</summary><table>{head}{below}</table></details>"


def _knob_row(knob: KnobChange) -> str:
    notes = [
        *(["locked"] if knob.locked else []),
        *([] if knob.active else ["does not act here"]),
        *([f"at its {knob.at_bound} end: widen the range"] if knob.at_bound else []),
    ]
    if knob.low is None or knob.high is None:
        limits, bar = ", ".join(knob.options), ""
    else:
        limits = f"{knob.low:g} … {knob.high:g} {'' if knob.unit == '1' else knob.unit}"
        bar = range_bar(*((float(v) - knob.low) / (knob.high - knob.low) for v in (knob.old, knob.new)))
    texts = [knob.name, *(f"{v:.6g}" if isinstance(v, float | int) else v for v in (knob.old, knob.new)), limits]
    cells = "".join(f"<td>{escape(t)}</td>" for t in texts)
    return f"<tr>{cells}<td>{bar}</td><td>{escape('; '.join(notes))}</td></tr>"


def _cost(result: Result) -> str:
    counts = ", ".join(f"{n} {name}" for name, n in result.trials.items() if n)
    rows: dict[str, Any] = {
        "renders of the whole set": f"{result.spent:.4g} of {result.budget:g}",
        "trials": counts,
        "seconds, all sittings": round(result.seconds, 1),
        "black box": "noisy: leading settings were measured again" if result.noisy else "gives the same every time",
        **({"ended early": result.stopped} if result.stopped else {}),
    }
    return _facts(rows)


def _made_by(room: RunFolder) -> str:
    try:
        facts = read_json(room.environment)
        spec = room.spec.read_text(encoding="utf-8")
    except (OSError, FileError):
        return ""
    libraries = ", ".join(f"{k} {v}" for k, v in facts.get("libraries", {}).items())
    text = escape(f"{facts.get('system', '')}; Python {facts.get('python', '')}; {libraries}")
    return f"<p class=key>{text}</p><details><summary>study.yaml</summary><pre>{escape(spec)}</pre></details>"


def _facts(facts: Mapping[str, Any]) -> str:
    return table([{"": name, "value": _plain(value)} for name, value in facts.items()])


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {cell(v)}" for k, v in value.items())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return ", ".join(map(cell, value)) if isinstance(value, list) else value


def _sensitivity(room: RunFolder) -> Sensitivity | None:
    path = room.sensitivity
    return Sensitivity.from_json(read_json(path)) if path.is_file() else None


def _isp_name(room: RunFolder) -> str:
    import yaml

    try:
        facts = yaml.safe_load(room.spec.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return "an ISP"
    spec = (facts or {}).get("plan", {}).get("spec", {})
    return str(spec.get("isp", "an ISP"))
